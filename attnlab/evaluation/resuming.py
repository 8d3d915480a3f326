"""Long computations over many texts: kept in a file, and shared among processes."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from attnlab.errors import AttnlabError, needs
from attnlab.files import atomic_write, damage, read_tensors


class PartialLogits:
    """Logits (V, N, C) of which some texts are finished; kept in a file, if one is named.

    Parameters
    ----------
    file : such as "ablation.safetensors"; None keeps nothing
    rank, processes : of several processes each has a file of its own
    identity : what the logits are of; a file with another identity is refused
    shape : (V, N, C)

    Attributes
    ----------
    logits : Tensor (V, N, C); finished : bool array (N,)

    Raises
    ------
    AttnlabError : a folder that is not there, or a file that holds something else
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | None,
        rank: int,
        processes: int,
        identity: str,
        shape: tuple[int, ...],
    ):
        self.path = None if file is None else Path(file)
        if self.path is not None and processes > 1:
            self.path = self.path.with_name(f"{self.path.name}.{rank}-of-{processes}")
        self.identity = identity
        self.logits, self.finished = torch.zeros(shape), np.zeros(shape[1], bool)
        self._saved, self._unsaved = time.perf_counter(), False
        if self.path is not None and not self.path.parent.is_dir():
            raise AttnlabError(
                f"There is no folder {self.path.parent}. Make it first, or choose another."
            )
        if self.path is not None and self.path.exists():
            self._load(self.path)

    def _load(self, path: Path) -> None:
        if trouble := damage(path):
            raise AttnlabError(f"{path} holds no ablation: it {trouble}. Or name another file.")
        about, tensors = read_tensors(path)
        if "identity" not in about:
            raise AttnlabError(f"{path} holds no ablation. Name another file.")
        if about["identity"] == self.identity:
            self.logits = tensors["logits"]
            self.finished = tensors["finished"].bool().numpy()
        else:
            raise AttnlabError(
                f"{path} holds another ablation: of other weights, texts or values. Name another "
                "file, or delete it."
            )

    def add(self, indices: np.ndarray, logits: Tensor, every: float) -> None:
        """Note the logits (V, B, C) of some texts; the file is written every so many seconds."""
        self.logits[:, indices] = logits
        self.finished[indices] = True
        self._unsaved = True
        if time.perf_counter() - self._saved >= every:
            self.save()

    def save(self) -> None:
        """Write the file, if there is one and something new."""
        if self.path is None or not self._unsaved:
            return
        finished = torch.from_numpy(self.finished.astype(np.uint8))
        tensors = {"logits": self.logits, "finished": finished}
        atomic_write(self.path, to_safetensors(tensors, metadata={"identity": self.identity}))
        self._saved, self._unsaved = time.perf_counter(), False


def rank_and_processes() -> tuple[int, int]:
    """Which process this is, and of how many."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    with needs("lab"):
        from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes


def summed_over_processes(logits: Tensor) -> Tensor:
    """The sum over all processes: each has zeros where another has computed."""
    from accelerate import PartialState

    total = logits.to(PartialState().device)
    torch.distributed.all_reduce(total)
    return total.cpu()
