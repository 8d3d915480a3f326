"""Many changes to one model on the same texts: computed batch by batch, kept in a file, shared among processes."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from attnlab import heads
from attnlab.classification.classifier import Classifier, Encoded, Stopped
from attnlab.errors import AttnlabError, ModelError, needs
from attnlab.evaluation.forward import Change, Engine, Which
from attnlab.files import atomic_write
from attnlab.statistics import benjamini_hochberg, paired_bootstrap, paired_test

Row = tuple[int, int | None]  # layer and head; no head where a whole layer is meant
_SAVED_EVERY = 20.0  # seconds


@dataclass(frozen=True)
class Sweep:
    """What is to be measured: for every change each row, on all texts.

    Attributes
    ----------
    clf, encoded : the model and the texts
    engine : of the model; None for its plain forward pass
    fast : number format of the plain forward pass
    which : "head" changes one at a time, "layer" all of a layer, "others" all of a layer but the one named
    changes : what happens to the heads that are changed
    """

    clf: Classifier
    encoded: Encoded
    engine: Engine | None
    fast: bool
    which: Which
    changes: list[Change]

    @property
    def rows(self) -> list[Row]:
        """The rows of each change, in order."""
        there = [
            heads.active_heads(heads.model_of(self.clf), layer) for layer in range(self.clf.layers)
        ]
        if self.which == "layer":
            return [(layer, None) for layer, kept in enumerate(there) if kept]
        return [(layer, head) for layer, kept in enumerate(there) for head in kept]

    def logits(
        self,
        progress: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> Tensor:
        """Logits (V + 1, N, C): of every change and row, and last of the untouched model.

        What is finished is kept in ``file``, and the same sweep goes on from there. Of several processes each
        computes a part, and all get the whole.
        """
        if not self.rows:
            raise ModelError(
                "Every head of this model was removed; there is nothing to sweep over."
            )
        processes = _processes()
        rank, several = processes if processes else (0, 1)
        groups = list(self.encoded.batches(max_tokens=_at_once(self.clf)))[rank::several]
        shape = (len(self.changes) * len(self.rows) + 1, len(self.encoded), self.classes)
        kept = _Kept(file, rank, several, self._identity() if file else "", shape)
        try:
            for count, group in enumerate(groups, start=1):
                if not kept.has[group].all():
                    if stop is not None and stop():
                        raise Stopped
                    with torch.no_grad():
                        kept.logits[:, group] = self._of(group)
                    kept.has[group] = True
                    kept.save(every=_SAVED_EVERY)
                if progress:
                    progress(count, len(groups))
        finally:
            kept.save()
        if several == 1:
            return kept.logits
        others = np.ones(len(self.encoded), bool)
        others[np.concatenate([[], *groups]).astype(int)] = False
        kept.logits[:, others] = 0  # a file may hold texts that another process computes now
        return _added(kept.logits)

    def _identity(self) -> str:
        """What a file must have been made with to be of use here: weights, texts, format, and what is changed."""
        numbers = self.engine.dtype if self.engine else ("plain", self.fast)
        what = [(one.how, one.scale, one.temperature) for one in self.changes]
        batches = (_at_once(self.clf), self.clf.device.type)
        content = hashlib.sha256(repr((self.which, what, numbers, batches)).encode())
        for name, one in self.clf.model.state_dict().items():
            whole = isinstance(one, Tensor) and not one.is_quantized
            value = one.detach().cpu().contiguous().view(-1).view(torch.uint8) if whole else None
            content.update(name.encode())
            content.update(str(one).encode() if value is None else value.numpy().tobytes())
        for column in (self.encoded.starts, *self.encoded.columns.values()):
            content.update(column.tobytes())
        return content.hexdigest()

    @property
    def classes(self) -> int:
        """Number of labels C."""
        return len(self.clf.label_names)

    def _of(self, group: np.ndarray) -> Tensor:
        """Logits (V + 1, B, C) of one batch."""
        if self.engine is None:
            return self._plain(group)
        hidden, mask = self.engine.start(self.encoded, group)
        most, found, neutral = 2 * _at_once(self.clf), [], hidden
        for change in self.changes:
            for layer, answers in self.engine.sweep(hidden, mask, change, self.which, most):
                if layer < len(self.engine.layers):
                    found.append(answers)
                else:
                    neutral = answers
        return torch.cat([*found, neutral]).cpu()

    def _plain(self, group: np.ndarray) -> Tensor:
        """The same through the model's own forward pass, a setting at a time."""
        found = []
        for change in self.changes:
            if change.how != "scale":
                raise ModelError(
                    f"how={change.how!r} needs a model whose forward pass we know. Use how='scale'."
                )
            for layer, head in self.rows:
                settings = self.clf.settings()
                changed = torch.ones(self.clf.heads, dtype=torch.bool)
                if head is not None:
                    changed = torch.arange(self.clf.heads) == head
                    changed = ~changed if self.which == "others" else changed
                settings.scale[layer, changed] = change.scale
                settings.temperature[layer, changed] = change.temperature
                found.append(self.clf.logits(self.encoded, group, settings, self.fast))
        neutral = self.clf.logits(self.encoded, group, self.clf.settings(), self.fast)
        return torch.stack([*found, neutral])


def means(engine: Engine, encoded: Encoded) -> tuple[Tensor, ...]:
    """For each layer what its heads bring on average: (2, h, D), to [CLS] and to other tokens.

    Of the last layer nothing but [CLS] is used, and the second is 0.
    """
    sums, counts = [0.0] * len(engine.layers), torch.zeros(2)
    for group in encoded.batches():
        with torch.no_grad():
            hidden, mask = engine.start(encoded, group)
            real = torch.ones(hidden.shape[:2]) if mask is None else mask[:, 0, 0].cpu().float()
            counts += torch.stack([real[:, 0].sum(), real[:, 1:].sum()])
            for at, context in engine.contexts(hidden, mask):
                seen = context.float().cpu() * real[:, : context.shape[1], None, None]
                sums[at] = sums[at] + torch.stack([seen[:, 0].sum(0), seen[:, 1:].sum((0, 1))])
    return tuple(one / counts.clamp(min=1)[:, None, None] for one in sums)


def weight_sizes(clf: Classifier) -> np.ndarray:
    """How large each head's map from hidden state to what it adds is: the norm of its value times output matrix.

    Returns
    -------
    array (L, H); 0 for heads removed for good
    """
    sizes = np.zeros((clf.layers, clf.heads))
    model = heads.model_of(clf)
    for layer, site in enumerate(heads.sites(model)):
        kept = heads.active_heads(model, layer)
        if kept:
            value = getattr(site.module, site.value).weight.detach().unflatten(0, (len(kept), -1))
            output = site.output.weight.detach().unflatten(1, (len(kept), -1)).transpose(0, 1)
            sizes[layer, kept] = (output @ value).flatten(1).norm(dim=1).cpu().numpy()  # (h, E, E)
    return sizes


def compared(logits: Tensor, labels: np.ndarray, rows: Sequence[Row]) -> pd.DataFrame:
    """The table of a sweep: what each row's logits (V, N, C) do against the last of them, the neutral ones."""
    losses, margins, right = measures(logits, labels)
    moved = (losses[:-1] - losses[-1]).T  # (N, V)
    low, high = paired_bootstrap(moved)
    tests = [paired_test(right[-1], changed) for changed in right[:-1]]
    p_values = np.array([test.p_value for test in tests])
    table = pd.DataFrame(
        {
            "layer": [layer for layer, _ in rows],
            "head": [head for _, head in rows],
            "accuracy": right[:-1].mean(1),
            "delta": [test.delta for test in tests],
            "ci_low": [test.low for test in tests],
            "ci_high": [test.high for test in tests],
            "p_value": p_values,
            "q_value": benjamini_hochberg(p_values),
            "loss": losses[:-1].mean(1),
            "loss_delta": moved.mean(0),
            "loss_low": low,
            "loss_high": high,
            "margin_delta": (margins[:-1] - margins[-1]).mean(1),
        }
    )
    return table.drop(columns="head") if all(head is None for _, head in rows) else table


def measures(logits: Tensor, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, margins and whether the answer is right, of logits (..., N, C): arrays (..., N)."""
    if not torch.isfinite(logits).all():
        raise AttnlabError(
            "The model's answers are not all numbers: weights or number format let them overflow. Measure in "
            "float32 (fast=False, mode='exact')."
        )
    wanted = torch.as_tensor(labels)
    index = wanted.expand(logits.shape[:-1])[..., None]
    own = logits.gather(-1, index)[..., 0]
    others = logits.scatter(-1, index, -torch.inf).amax(-1)
    losses = logits.logsumexp(-1) - own
    return losses.numpy(), (own - others).numpy(), (logits.argmax(-1) == wanted).numpy()


# ── large sweeps ───────────────────────────────────────────────────────────────────────────────────


def _at_once(clf: Classifier) -> int:
    """Tokens to a batch: enough for large products, on a GPU for full use, and little enough for memory."""
    return 16384 if clf.device.type == "cuda" else 2048


class _Kept:
    """What is finished of a sweep, in a file if one is named."""

    def __init__(
        self,
        file: str | os.PathLike[str] | None,
        rank: int,
        several: int,
        identity: str,
        shape: tuple[int, ...],
    ):
        self.path = None if file is None else Path(file)
        if self.path is not None and several > 1:
            self.path = self.path.with_name(f"{self.path.name}.{rank}-of-{several}")
        self.identity = identity
        self.logits, self.has = torch.zeros(shape), np.zeros(shape[1], bool)
        self.saved, self.new = time.perf_counter(), False
        if self.path is not None and not self.path.parent.is_dir():
            raise AttnlabError(
                f"There is no folder {self.path.parent}. Make it first, or choose another."
            )
        if self.path is not None and self.path.exists():
            self._load()

    def _load(self) -> None:
        try:
            with safe_open(self.path, framework="pt") as file:
                same = (file.metadata() or {}).get("identity") == self.identity
                if same:
                    self.logits = file.get_tensor("logits")
                    self.has = file.get_tensor("has").bool().numpy()
        except Exception as error:  # safetensors has an error class of its own for each version
            raise AttnlabError(f"{self.path} is no sweep: {error}. Name another file.") from error
        if not same:
            raise AttnlabError(
                f"{self.path} holds another sweep: of other weights, texts or values. Name another file, or "
                "delete it."
            )

    def save(self, every: float = 0.0) -> None:
        """Write the file, if there is something new and the last time is long enough ago."""
        if every:
            self.new = True
        if self.path is None or not self.new or time.perf_counter() - self.saved < every:
            return
        tensors = {"logits": self.logits, "has": torch.from_numpy(self.has.astype(np.uint8))}
        atomic_write(self.path, to_safetensors(tensors, metadata={"identity": self.identity}))
        self.saved, self.new = time.perf_counter(), False


def _processes() -> tuple[int, int] | None:
    """Which process this is, of how many; None for the only one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    with needs("lab"):
        from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes


def _added(logits: Tensor) -> Tensor:
    """The sum over all processes: each has zeros where another has computed."""
    from accelerate import PartialState

    there = logits.to(PartialState().device)
    torch.distributed.all_reduce(there)
    return there.cpu()
