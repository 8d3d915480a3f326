"""Checkpoints: a run written to one file, whole or not at all, and taken up again."""

import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from attnlab.device import is_main_process
from attnlab.errors import AttnlabError, ModelError, option, worded
from attnlab.files import atomic_write, read_tensors, understood
from attnlab.training.history import History
from attnlab.training.run import Run

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 60.0  # between two checkpoints inside an epoch, at least


class Checkpoint:
    """The file a run can go on from; without a folder nothing is written.

    Parameters
    ----------
    folder : where it lies, as `CHECKPOINT`
    identity : what must be the same for a run to go on, besides recipe, number format and sizes
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, identity: dict[str, Any] | None = None
    ):
        self.path = None if folder is None else Path(folder) / CHECKPOINT
        self._identity = identity or {}
        self._saved = time.perf_counter()

    def begin(self, run: Run, resume: bool) -> None:
        """Take up what is in the file, or see to it that nobody's unfinished run is overwritten.

        Raises AttnlabError if there is nothing to go on from, or another run.
        """
        if self.path is not None:
            check_checkpoint(self.path.parent, resume)
            if resume:
                self.load(run)

    def save_now_and_then(self, run: Run) -> None:
        """Write the file if the last one is `CHECKPOINT_SECONDS` old."""
        if time.perf_counter() - self._saved >= CHECKPOINT_SECONDS:
            self.save(run)
            self._saved = time.perf_counter()

    def save(self, run: Run) -> None:
        """Write everything to one file, whole or not at all."""
        if self.path is None or not is_main_process():
            return
        tensors = {f"model/{name}": weight.detach() for name, weight in run.trainable.items()}
        tensors |= {f"best/{name}": weight for name, weight in run.best.items()}
        for index, memory in run.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in memory.items()}
        state = {
            "identity": run.identity() | self._identity,
            "step": run.step,
            "epoch": run.epoch,
            "batch": run.batch,
            "micro_batches": run.micro_batches,
            "loss_sum": run.loss_sum,
            "seen": run.seen,
            "scaler": run.scaler.state_dict(),
            "seconds": time.perf_counter() - run.started,
            "history": asdict(run.history),
        }
        whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, to_safetensors(whole, {"attnlab": json.dumps(state)}))

    def load(self, run: Run) -> None:
        """Take everything from a file that `save` wrote."""
        assert self.path is not None
        cure = f"Take it away, and begin without {option('resume', True)}."
        about, tensors = read_tensors(self.path)
        if "attnlab" not in about:
            raise AttnlabError(f"{self.path} is no checkpoint of attnlab. {cure}")
        with understood(self.path, cure):
            state = json.loads(about["attnlab"])
            self._take(run, state, tensors)

    def _take(self, run: Run, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Put a run where a checkpoint says it was; AttnlabError if it was another run."""
        self._refuse_another(state["identity"], run.identity() | self._identity)
        _restore_tensors(run, tensors)
        run.step, run.epoch, run.batch = state["step"], state["epoch"], state["batch"]
        run.micro_batches, run.loss_sum = state["micro_batches"], state["loss_sum"]
        run.seen = state.get("seen", run.batch * run.recipe.batch_size)  # older ones lack it
        if state["scaler"]:
            run.scaler.load_state_dict(state["scaler"])
        run.history = History(**state["history"])
        run.started = time.perf_counter() - state["seconds"]

    def farewell(self, run: Run) -> str:
        """Save if there is a folder, and say how to go on."""
        stopped = f"Stopped after step {run.step} of {run.steps}; "
        if self.path is None:
            return (
                f"{stopped}the model is as it was then. Nothing is on disk: name a "
                f"folder, {option('out')}, and a stopped run can go on."
            )
        self.save(run)
        return (
            f"{stopped}everything is in {self.path}. To go on, "
            f"{worded('call', 'type')} the same again with {option('resume', True)}."
        )

    def _refuse_another(self, was: dict[str, Any], now: dict[str, Any]) -> None:
        """Raise AttnlabError if the file is of another run, or of one in another number format."""
        assert self.path is not None
        other = [name for name, value in was.items() if value != now.get(name)]
        if other == ["dtype"]:
            raise AttnlabError(
                f"The run in {self.path.parent} was computed in {was['dtype']}, and here it would "
                f"be in {now['dtype']}. To go on with it, add {option('dtype', was['dtype'])}, or "
                "choose another folder."
            )
        if other:
            told = ", ".join(f"{name} was {was[name]}, is {now.get(name)}" for name in other)
            raise AttnlabError(
                f"The run in {self.path.parent} was another one: {told}. Call it with the same "
                "settings and data, or choose another folder."
            )


def check_checkpoint(folder: str | os.PathLike[str], resume: bool) -> None:
    """Raise AttnlabError unless a run may begin in a folder, or go on from what is there."""
    path = Path(folder) / CHECKPOINT
    if resume and not path.exists():
        raise AttnlabError(
            f"There is no {path} to go on from. Leave {option('resume', True)} out to begin."
        )
    if path.exists() and not resume:
        raise AttnlabError(
            f"There is an unfinished run in {path.parent}. Add {option('resume', True)} to go on "
            f"with it, or delete {path}."
        )


def begin_run(
    out: str | os.PathLike[str] | None, file: str, loader: str, resume: bool, overwrite: bool
) -> Path | None:
    """Make the folder of a run whose result will be one file, unless a result is there.

    Parameters
    ----------
    out : the folder; None for a run that keeps nothing
    file : name of the result
    loader : loads it, such as "al.load_translator"
    resume : go on from the checkpoint in the folder
    overwrite : the result may be replaced

    Returns
    -------
    the folder

    Raises
    ------
    ModelError : a finished result that would be lost, or that is to be gone on with; resume without
        a folder
    """
    if out is None:
        if resume:
            raise ModelError(
                "There is nothing to go on from: resume=True needs the folder, out=..."
            )
        return None
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    finished = (folder / file).exists()
    if finished and resume and not (folder / CHECKPOINT).exists():
        raise ModelError(f"The run in {folder} is finished. {loader} loads it.")
    if finished and not resume and not overwrite:
        raise ModelError(
            f"{folder} holds a finished {Path(file).stem}, which would be lost. Add overwrite=True "
            "to put the new one in its place, or name another folder."
        )
    return folder


def end_run(folder: Path) -> None:
    """Remove the checkpoint of a run whose result is written."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def fingerprint(data: dict[str, Any]) -> str:
    """Return a hash of a data set's fields, texts and labels among them, to know it again."""
    content = json.dumps({name: value for name, value in data.items() if isinstance(value, list)})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@torch.no_grad()
def _restore_tensors(run: Run, tensors: dict[str, Tensor]) -> None:
    """Put back weights, the best ones, and the optimizer's memory."""
    for name, parameter in run.trainable.items():
        parameter.copy_(tensors[f"model/{name}"])
    memory: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "best":
            run.best[rest] = tensor
        elif kind == "optimizer":
            index, _, key = rest.partition("/")
            memory.setdefault(int(index), {})[key] = tensor
    run.optimizer.load_state_dict(run.optimizer.state_dict() | {"state": memory})
