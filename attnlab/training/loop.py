"""One training loop, for every lesson: batches, schedule, history, checkpoints, and the best epoch kept.

`train` is the loop that lesson 05 shows, on Accelerate, with what a real run needs around it: it can be stopped
or killed at any step and goes on as if it never had been, and it makes do with less memory when there is not
enough. Everything random in a step is drawn from the seed and the number of the step, so nothing but numbers has
to be remembered.
"""

import contextlib
import hashlib
import json
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from attnlab.device import autocast
from attnlab.errors import AttnlabError, AttnlabWarning
from attnlab.files import atomic_write

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Recipe:
    """What is chosen before a run.

    Attributes
    ----------
    epochs : how often every text is seen
    batch_size : texts to a step
    learning_rate : at its highest
    head_lr_multiplier : how many times faster the layers above the encoder learn
    warmup : share of the steps over which the learning rate rises; then it falls to 0 linearly
    weight_decay : on matrices only, not on biases and norms
    max_grad_norm : longer gradients are cut to this length
    accumulation : in how many parts a batch is computed: less memory, the same step
    pool : so many batches are ordered by length together. More leave less padding, fewer mix better what is in a
        batch: where length tells the label (news in topics), take 1, and ``accumulation=4``, which computes each
        batch in parts of like length.
    patience : stop after so many epochs without a better dev accuracy; None for never
    seed : of everything that is drawn
    """

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_lr_multiplier: float = 1.0
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    accumulation: int = 1
    pool: int = 32
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulation", 1), ("pool", 1)):
            if getattr(self, name) < least:
                raise AttnlabError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if not self.learning_rate > 0 or not 0 <= self.warmup <= 1:
            raise AttnlabError(
                f"learning_rate is {self.learning_rate}, warmup {self.warmup}. The first must be positive, "
                "such as 1e-4, the second a share of the steps, from 0 to 1."
            )
        if not self.head_lr_multiplier > 0:
            raise AttnlabError(
                f"head_lr_multiplier is {self.head_lr_multiplier}; it multiplies the learning rate, "
                "so it must be above 0, such as 10."
            )
        if self.patience is not None and self.patience < 1:
            raise AttnlabError(
                f"patience is {self.patience}; it counts epochs, so 1 or more, or None."
            )


class Interrupted(AttnlabError):
    """Training was stopped by the user; the message says how to go on."""


@dataclass
class History:
    """What was seen while training.

    Attributes
    ----------
    rows : one an epoch: ``epoch`` (from 1), ``train_loss``, ``dev_accuracy``, ``dev_loss`` and ``seconds`` since
        the start
    steps : one every few steps: ``step`` (from 1), ``loss``, ``learning_rate``, ``tokens_per_second``,
        ``memory_mb`` and ``seconds``
    trainable : number of weights that were trained
    epochs : how many were planned
    chosen_by : the column of ``rows`` by which the best epoch is chosen
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    trainable: int = 0
    epochs: int = 0
    chosen_by: str = "dev_accuracy"

    def to_frame(self) -> pd.DataFrame:
        """The epochs as a table."""
        return pd.DataFrame(self.rows)

    def steps_frame(self) -> pd.DataFrame:
        """The steps as a table."""
        return pd.DataFrame(self.steps)

    @property
    def best(self) -> dict[str, float]:
        """The row of the epoch that is best by ``chosen_by``, the first of equals."""
        if not self.rows:
            raise AttnlabError("This history is empty: nothing was trained.")
        return max(self.rows, key=lambda row: row[self.chosen_by])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write epochs and steps to a .json file, or the epochs to a .csv file."""
        path = Path(path)
        if path.suffix == ".csv":
            return atomic_write(path, self.to_frame().to_csv(index=False).encode())
        if path.suffix == ".json":
            return atomic_write(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
        raise AttnlabError(f"{path} is neither .csv nor .json. Choose one of the two.")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "History":
        """Read what `save` wrote as .json."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


def shuffled_batches(
    lengths: Sequence[int], batch_size: int, generator: np.random.Generator, pool: int = 32
) -> list[np.ndarray]:
    """Batches in random order, each of texts of like length, so that little is padding.

    Texts are shuffled, cut into pools of so many batches, ordered by length inside a pool, cut into
    batches, and the batches shuffled. Every text appears once.
    """
    order = generator.permutation(len(lengths))
    by_length = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), pool * batch_size):
        some = order[start : start + pool * batch_size]
        some = some[np.argsort(by_length[some], kind="stable")]
        batches += [some[at : at + batch_size] for at in range(0, len(some), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def linear_schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate at a step (from 0): up over the warm-up, then down to 0 after the last step."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(steps - rising, 1)


def parameter_groups(
    model: nn.Module, weight_decay: float, top: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What trains, for an optimizer: matrices with weight decay, biases and norms without.

    Parameters named in ``top`` stand in groups of their own, marked ``"top": True``.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, one in model.named_parameters():
        if one.requires_grad:
            groups.setdefault((name in top, one.dim() > 1), []).append(one)
    return [
        {"params": some, "weight_decay": weight_decay if matrices else 0.0, "top": above}
        for (above, matrices), some in groups.items()
    ]


def train(
    model: nn.Module,
    lengths: Sequence[int],
    batch: Callable[[np.ndarray], dict[str, Tensor]],
    evaluate: Callable[[], dict[str, float]],
    recipe: Recipe | None = None,
    *,
    number_format: torch.dtype = torch.float32,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    choose_by: str = "dev_accuracy",
    identity: dict[str, Any] | None = None,
    top: Collection[str] = (),
    objective: Callable[[Any, dict[str, Tensor]], Tensor] | None = None,
    after_step: Callable[[int], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    watch: Callable[[History, int], None] | None = None,
) -> History:
    """Train ``model`` in place, leave it at its best epoch, and return what was seen.

    Parameters
    ----------
    model : anything that returns ``.loss``, a mean over the batch, for ``model(**batch)``; parameters that do not
        require gradients stay as they are
    lengths : tokens in each training text
    batch : makes the tensors of one batch, ``labels`` included, from the places of its texts
    evaluate : measures on dev after every epoch; returns at least ``dev_accuracy``
    recipe : default `Recipe()`
    number_format : of what is computed; weights stay float32. In float16 gradients are scaled, so that small ones
        are not lost, and a step that overflows is left out.
    folder : where a checkpoint is kept, after every epoch and every ``checkpoint_seconds``
    resume : go on from the checkpoint in ``folder``; the result is that of a run that was never stopped
    choose_by : which of the figures of ``evaluate`` decides on the best epoch; "epoch" keeps the last
    identity : what else must be the same for a run to go on: base, data, method, whatever JSON can hold
    top : names of the parameters above the encoder; they learn ``recipe.head_lr_multiplier`` times faster
    objective : the loss, a mean over the texts of a batch, from what the model returns and its inputs; default
        ``.loss`` of what it returns
    after_step : called with the number of the step, from 0, before its gradients are forgotten
    progress : called as progress(step, steps, text) after every step
    watch : called as watch(history, steps) whenever the history has grown: by a live curve, or a tracker of
        experiments

    Raises
    ------
    AttnlabError : a loss that is not a number, with the step and what to try; a checkpoint of another run
    Interrupted : after Ctrl-C, once the step is finished and saved
    """
    recipe = recipe or Recipe()
    accelerator = Accelerator(cpu=next(model.parameters()).device.type == "cpu")
    objective = objective or (lambda outputs, inputs: outputs.loss)
    run = _Run(model, lengths, recipe, accelerator, number_format, objective, after_step, top)
    run.history.chosen_by, run.others = choose_by, identity or {}
    if watch is None or not is_main_process():
        watch = _unseen
    path = None if folder is None else Path(folder) / CHECKPOINT
    if path is not None and resume:
        run.load(path)
    elif path is not None and path.exists():
        raise AttnlabError(
            f"There is an unfinished run in {path.parent}. Add resume=True to go on with it, or delete {path}."
        )
    saved = time.perf_counter()
    with _interrupts() as interrupted:
        while run.epoch < recipe.epochs and not run.out_of_patience:
            batches = run.batches()
            model.train()
            while run.place < len(batches):
                if run.step(batches[run.place], batch):
                    watch(run.history, run.steps)
                if progress:
                    progress(run.done, run.steps, run.words)
                if path is not None and time.perf_counter() - saved >= checkpoint_seconds:
                    run.save(path)
                    saved = time.perf_counter()
                if interrupted:
                    raise Interrupted(run.farewell(path))
            model.eval()
            run.finish_epoch(evaluate())
            watch(run.history, run.steps)
            if path is not None:
                run.save(path)
    run.restore_best()
    return run.history


def fingerprint(data: dict[str, Any]) -> str:
    """A hash of a data set's fields, texts and labels among them, to know it again."""
    content = json.dumps({name: one for name, one in data.items() if isinstance(one, list)})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def is_main_process() -> bool:
    """Whether this process is the one that writes and speaks: the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def _unseen(history: History, steps: int) -> None:
    """Nobody watches."""


class _Run:
    """What changes while training: all of it is numbers, and goes into a checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        lengths: Sequence[int],
        recipe: Recipe,
        accelerator: Accelerator,
        number_format: torch.dtype,
        objective: Callable[[Any, dict[str, Tensor]], Tensor],
        after_step: Callable[[int], None] | None,
        top: Collection[str],
    ):
        self.model, self.lengths, self.recipe = model, lengths, recipe
        self.accelerator, self.number_format, self.after_step = (
            accelerator,
            number_format,
            after_step,
        )
        self.objective = objective
        self.device = next(model.parameters()).device
        self.trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        several = accelerator.num_processes > 1
        self.wrapped = accelerator.prepare_model(model) if several else model
        groups = parameter_groups(model, recipe.weight_decay, top)
        # one pass over each weight's numbers instead of ten: on a processor four times faster
        fused = True if self.device.type in ("cpu", "cuda") else None
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)
        # float16 has so short a range that small gradients would be lost: they are made larger, then smaller
        half = number_format == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half, init_scale=2.0**12)
        self.steps = recipe.epochs * math.ceil(len(lengths) / recipe.batch_size)
        self.parts = recipe.accumulation
        self.done = self.epoch = self.place = (
            0  # steps, epochs, and steps in this epoch that are over
        )
        self.loss_sum, self.words = 0.0, ""
        self.others: dict[str, Any] = {}
        self.history, self.best = History(trainable=self._trainable(), epochs=recipe.epochs), {}
        self.started = time.perf_counter()

    # --- one step --------------------------------------------------------------------------------

    def batches(self) -> list[np.ndarray]:
        """The batches of this epoch, from its seed."""
        generator = np.random.default_rng([self.recipe.seed, self.epoch])
        return shuffled_batches(self.lengths, self.recipe.batch_size, generator, self.recipe.pool)

    def step(self, places: np.ndarray, batch: Callable[[np.ndarray], dict[str, Tensor]]) -> bool:
        """One step over one batch, in as many parts as memory asks for; says whether it was noted."""
        began = time.perf_counter()
        while True:
            try:
                loss = self._gradients(places, batch)
                break
            except torch.OutOfMemoryError:
                self._make_do_with_less(places)
        if not math.isfinite(loss):
            raise AttnlabError(
                f"The loss is {loss} at step {self.done + 1} of {self.steps} (texts "
                f"{places[:4].tolist()}, ...). Try "
                f"a learning rate below {self.recipe.learning_rate:g}, or train in float32."
            )
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trainable.values(), self.recipe.max_grad_norm)
        rate = self.recipe.learning_rate * linear_schedule(
            self.done, self.steps, self.recipe.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (self.recipe.head_lr_multiplier if group["top"] else 1)
        self.scaler.step(
            self.optimizer
        )  # leaves a step out whose gradients are too large for float16
        self.scaler.update()
        left_out = self.scaler.is_enabled() and not bool(norm.isfinite())
        if self.after_step and not left_out:
            self.after_step(self.done)
        self.optimizer.zero_grad(set_to_none=True)
        self.done, self.place = self.done + 1, self.place + 1
        self.loss_sum += loss * len(places)
        return self._note(
            loss, rate, sum(self.lengths[at] for at in places), time.perf_counter() - began
        )

    def _gradients(
        self, places: np.ndarray, batch: Callable[[np.ndarray], dict[str, Tensor]]
    ) -> float:
        """Forward and backward, part by part and on every process its share; returns the mean loss."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.done) * 1009 + rank)
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        parts = [part for part in np.array_split(places, self.parts) if len(part)]
        for number, part in enumerate(parts):
            share = part[rank::processes]
            mine = share if len(share) else part[:1]  # every process must take part
            inputs = {name: tensor.to(self.device) for name, tensor in batch(mine).items()}
            last = number == len(parts) - 1
            waits = contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped)
            with waits:
                with autocast(self.device, self.number_format):
                    mean = self.objective(self.wrapped(**inputs), inputs)
                # gradients are averaged over processes, so each counts for its share of the batch
                weighted = mean * (len(share) * processes / len(places))
                self.scaler.scale(weighted).backward()
            loss += weighted.detach()
        return float(self.accelerator.reduce(loss, "mean")) if processes > 1 else float(loss)

    def _make_do_with_less(self, places: np.ndarray) -> None:
        if self.parts >= len(places) or self.accelerator.num_processes > 1:
            raise AttnlabError(
                f"Out of memory with {math.ceil(len(places) / self.parts)} texts at a time. Try shorter texts, a "
                "smaller model, gradient_checkpointing=True, or accumulation= more parts."
            ) from None
        self.parts = min(2 * self.parts, len(places))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"Out of memory at step {self.done + 1}: going on with batches in {self.parts} parts, same steps.",
            AttnlabWarning,
            stacklevel=4,
        )

    def _note(self, loss: float, rate: float, tokens: int, seconds: float) -> bool:
        self.words = f"epoch {self.epoch + 1} of {self.recipe.epochs}, loss {loss:.3f}"
        if (self.done - 1) % max(1, self.steps // 200):
            return False
        cuda = self.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated() if cuda else psutil.Process().memory_info().rss
        self.history.steps.append(
            {
                "step": self.done,
                "loss": loss,
                "learning_rate": rate,
                "tokens_per_second": tokens / seconds,
                "memory_mb": memory / 1e6,
                "seconds": time.perf_counter() - self.started,
            }
        )
        return True

    # --- epochs ----------------------------------------------------------------------------------

    def finish_epoch(self, measured: dict[str, float]) -> None:
        """Note what was measured, and keep the weights if they are the best so far."""
        self.epoch, self.place = self.epoch + 1, 0
        row = {"epoch": self.epoch, "train_loss": self.loss_sum / len(self.lengths), **measured}
        self.history.rows.append(row | {"seconds": time.perf_counter() - self.started})
        self.loss_sum = 0.0
        if self.history.best is self.history.rows[-1]:
            self.best = {name: one.detach().cpu().clone() for name, one in self.trainable.items()}

    @property
    def out_of_patience(self) -> bool:
        """Whether the best epoch lies too far back."""
        if self.recipe.patience is None or not self.history.rows:
            return False
        return self.epoch - self.history.best["epoch"] >= self.recipe.patience

    @torch.no_grad()
    def restore_best(self) -> None:
        """Put the weights of the best epoch back."""
        for name, one in self.best.items():
            self.trainable[name].copy_(one)

    def farewell(self, path: Path | None) -> str:
        """Save if there is a place, and say how to go on."""
        if path is None:
            return (
                f"Stopped after step {self.done} of {self.steps}; the model is as it was then. "
                "Nothing is on disk: give "
                "finetune a folder, out=..., and a stopped run can go on."
            )
        self.save(path)
        return (
            f"Stopped after step {self.done} of {self.steps}; everything is in {path}. To go on, "
            "call the same again with "
            "resume=True (on the command line: --resume)."
        )

    # --- checkpoints -----------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on: the recipe, the data and what is trained."""
        return (
            asdict(self.recipe)
            | self.others
            | {
                "texts": len(self.lengths),
                "tokens": int(sum(self.lengths)),
                "trainable_parameters": self._trainable(),
            }
        )

    def _trainable(self) -> int:
        return sum(one.numel() for one in self.trainable.values())

    def save(self, path: Path) -> None:
        """Write everything to one file, whole or not at all."""
        if not is_main_process():
            return
        tensors = {f"model/{name}": one.detach() for name, one in self.trainable.items()}
        tensors |= {f"best/{name}": one for name, one in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
        state = {
            "identity": self._identity(),
            "done": self.done,
            "epoch": self.epoch,
            "place": self.place,
            "parts": self.parts,
            "loss_sum": self.loss_sum,
            "scaler": self.scaler.state_dict(),
            "seconds": time.perf_counter() - self.started,
            "history": asdict(self.history),
        }
        whole = {name: one.cpu().contiguous() for name, one in tensors.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, to_safetensors(whole, {"attnlab": json.dumps(state)}))

    def load(self, path: Path) -> None:
        """Take everything from a file that `save` wrote."""
        if not path.exists():
            raise AttnlabError(f"There is no {path} to go on from. Leave resume out to begin.")
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["attnlab"])
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        other = {
            name: (value, self._identity().get(name))
            for name, value in state["identity"].items()
            if value != self._identity().get(name)
        }
        if other:
            told = ", ".join(f"{name} was {old}, is {new}" for name, (old, new) in other.items())
            raise AttnlabError(
                f"The run in {path.parent} was another one: {told}. Call it with the same "
                "settings and data, or choose "
                "another folder."
            )
        with torch.no_grad():
            for name, one in self.trainable.items():
                one.copy_(tensors[f"model/{name}"])
        memory: dict[int, dict[str, Tensor]] = {}
        for name, one in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "best":
                self.best[rest] = one
            elif kind == "optimizer":
                index, _, key = rest.partition("/")
                memory.setdefault(int(index), {})[key] = one
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": memory})
        self.done, self.epoch, self.place = state["done"], state["epoch"], state["place"]
        self.parts, self.loss_sum = state["parts"], state["loss_sum"]
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.history = History(**state["history"])
        self.started = time.perf_counter() - state["seconds"]


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C, so that a step can be finished; a second Ctrl-C is at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
