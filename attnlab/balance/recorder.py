"""Attention while a model trains: the same few texts, measured every so many steps."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from attnlab import heads
from attnlab.balance.meter import Meter
from attnlab.balance.probing import Probing
from attnlab.balance.reading import Balance
from attnlab.classification.classifier import Classifier, Encoded, Text
from attnlab.device import is_main_process
from attnlab.errors import AttnlabError
from attnlab.evaluation.inputs import tokenised
from attnlab.files import atomic_write
from attnlab.heads import one_setting
from attnlab.training.callbacks import Callback
from attnlab.training.checkpoint import fingerprint

_KINDS = {"step": int, "layer": "Int64", "head": "Int64", "measure": str, "value": float}
_WHOLE = ("balance", "tokens", "heads")  # measured of the model as a whole
_PROBE = "probe"  # a number by which the texts are known again


class Recorder(Probing):
    """Measures a fixed set of texts, the probe, every few steps of a training.

    Give it to a training: ``finetune(..., callbacks=[Recorder(texts)])``.

    Dropout is off meanwhile, no random number is drawn and gradients stay as they are: the run ends
    as it would have without. In an `applied` block the settings hold. Of several processes the
    first one measures.

    Parameters
    ----------
    texts : list of str, or of (str, str); some 32 do
    every : steps between two measurements
    path : a .csv file that is written anew, whole, after each measurement, and read again if it is
        there. It holds `table` and, without layer and head, what `overall` is made of.

    Raises
    ------
    DataError : no texts
    AttnlabError : ``every`` below 1; a path without a folder, or with something else in it, or the
        table of another probe

    Notes
    -----
    A call for a step takes away what was recorded at that step or later. So a run that goes on from
    its last checkpoint leaves the table of one that was never stopped, and one that begins anew
    begins a new table.
    """

    def __init__(
        self,
        texts: Sequence[Text],
        every: int = 25,
        path: str | os.PathLike[str] | None = None,
    ):
        super().__init__(texts, every, enough=32)
        self.path = None if path is None else Path(path)
        self._known_by = int(fingerprint({"texts": self.texts})[:12], 16)
        self._rows: dict[int, pd.DataFrame] = {}  # step to what was measured
        self._lines: dict[int, str] = {}  # the same as it is written
        self._encoded: tuple[Any, Encoded] | None = None  # for which tokenizer and limit
        self._own = self._first = self._last = 0.0  # seconds
        if self.path is not None:
            self._read(self.path)

    def __call__(self, clf: Classifier, step: int) -> None:
        """Measure, if it is time: after step number ``step``, or with 0 before the first."""
        if not is_main_process():
            return
        heads.refuse_decoder(clf, "Recording balance")
        began = _now(clf)
        if step == 0 or not self._first:
            self._first, self._own = began, 0.0
        for later in [known for known in self._rows if known >= step]:
            del self._rows[later], self._lines[later]
        if step % self.every == 0:
            self._note(step, self._measured(clf, step))
            self._write()
        self._last = time.perf_counter()
        self._own += self._last - began

    def callback(self) -> TrainerCallback:
        """The same for `transformers.Trainer`, which must be given ``processing_class=``."""
        return ForTrainer(self)

    @property
    def table(self) -> pd.DataFrame:
        """What was recorded: ``step``, ``layer``, ``head``, ``measure`` and ``value``.

        The measures are those of the meter over all tokens, by weights; ``contribution``; and
        ``gradient``, the length of the gradient of the last step with respect to a head's own
        weights, rows of query, key and value and columns of the output projection. It is NaN where
        those do not train, as with LoRA, and at step 0; and everything is NaN for heads removed for
        good.
        """
        rows = self._all()
        of_heads = rows["layer"].notna()
        return rows[of_heads].astype({"layer": int, "head": int}).reset_index(drop=True)

    @property
    def overall(self) -> pd.DataFrame:
        """The whole model: ``step``, ``balance`` (`Balance.overall`), ``tokens`` and ``heads``."""
        rows = self._all()
        rows = rows[rows["layer"].isna()]
        wide = rows.pivot(index="step", columns="measure", values="value")
        return wide.reindex(columns=list(_WHOLE)).rename_axis(columns=None).reset_index()

    @property
    def overhead(self) -> float:
        """Seconds spent here, as a share of the others from first to last call; NaN at first."""
        others = self._last - self._first - self._own
        return self._own / others if others > 0 else float("nan")

    def __repr__(self) -> str:
        done = f"{len(self._rows)} measurements" + (
            f" to step {max(self._rows)}" if self._rows else ""
        )
        return f"Recorder({len(self.texts)} texts every {self.every} steps: {done})"

    # --- measuring -------------------------------------------------------------------------------

    def _measured(self, clf: Classifier, step: int) -> pd.DataFrame:
        """What there is to say about this step: rows of heads, then those of the whole model."""
        gradients, balance = _gradients(clf), self._balance(clf)
        rows = balance.table[balance.table["tokens"] == "all"]
        rows = rows[(rows["by"] == "weights") | (rows["measure"] == "contribution")]
        layer, head = (axis.ravel() for axis in np.indices(gradients.shape))
        slopes = {"layer": layer, "head": head, "measure": "gradient", "value": gradients.ravel()}
        whole = {"balance": balance.overall, **balance.parts, _PROBE: self._known_by}
        parts = [
            rows.rename(columns={"mean": "value"}),
            pd.DataFrame(slopes),
            pd.DataFrame({"measure": list(whole), "value": list(whole.values())}),
        ]
        parts = [
            one.assign(step=step).reindex(columns=list(_KINDS)).astype(_KINDS) for one in parts
        ]
        return pd.concat(parts, ignore_index=True)

    def _balance(self, clf: Classifier) -> Balance:
        """What the meter reads on the probe, with dropout switched off."""
        key = clf.tokenizer, clf.max_length
        if self._encoded is None or self._encoded[0] != key:
            self._encoded = key, tokenised(clf, self.texts)
        meter = Meter(clf, one_setting(clf, None))
        meter.feed_all(self._encoded[1])
        return meter.read()

    def _note(self, step: int, rows: pd.DataFrame) -> None:
        if self._rows and len(rows) != len(other := next(iter(self._rows.values()))):
            raise AttnlabError(
                f"What is recorded has {len(other)} figures a step, this model {len(rows)}: it has "
                "another size. Take a Recorder of its own for each model, with another path."
            )
        self._rows[step] = rows
        self._lines[step] = rows.to_csv(index=False, header=False)

    def _all(self) -> pd.DataFrame:
        """All rows, those of the whole model without layer and head."""
        none = pd.DataFrame(columns=list(_KINDS)).astype(_KINDS)
        return pd.concat(self._rows.values(), ignore_index=True) if self._rows else none

    # --- the file --------------------------------------------------------------------------------

    def _write(self) -> None:
        if self.path is not None:
            text = ",".join(_KINDS) + "\n" + "".join(self._lines.values())
            atomic_write(self.path, text.encode())

    def _read(self, path: Path) -> None:
        if path.suffix != ".csv" or path.is_dir():
            raise AttnlabError(f"{path} is no .csv file. Choose one, such as run.csv.")
        if not path.parent.is_dir():
            raise AttnlabError(
                f"There is no folder {path.parent}. Make it first, or choose another."
            )
        if not path.exists():
            return
        try:
            rows = pd.read_csv(path, dtype=_KINDS, float_precision="round_trip")
            probes = rows.loc[rows["measure"] == _PROBE, "value"].unique().tolist()
            if not probes:
                raise ValueError
        except (ValueError, KeyError) as error:
            raise AttnlabError(
                f"{path} is not what a Recorder wrote. Choose another path, or delete it."
            ) from error
        if probes != [self._known_by]:
            raise AttnlabError(
                f"{path} was recorded with other texts. Give the same ones to go on with it, or "
                "another path."
            )
        for step, some in rows.groupby("step"):
            self._note(int(step), some.reset_index(drop=True))


def _gradients(clf: Classifier) -> np.ndarray:
    """Length of the gradient of each head's own weights (L, H); NaN where there is none."""
    found = np.full((clf.layers, clf.heads), np.nan)
    for layer, site in enumerate(heads.sites(heads.model_of(clf))):
        present = heads.active_heads(heads.model_of(clf), layer)
        if not present:
            continue
        linears = [getattr(site.module, one) for one in (site.query, site.key, site.value)]
        plain = [linear for linear in linears if heads.is_plain(linear)]
        own = [one for linear in plain for one in (linear.weight, linear.bias)]
        parts = [one.grad for one in own if one is not None and one.grad is not None]
        if heads.is_plain(site.output) and site.output.weight.grad is not None:
            parts.append(site.output.weight.grad.T)
        squares = [one.float().reshape(len(present), -1).square().sum(1) for one in parts]
        if squares:
            found[layer, present] = torch.stack(squares).sum(0).sqrt().cpu().numpy()
    return found


def _now(clf: Classifier) -> float:
    """Seconds, once the device has done what it was told before."""
    if clf.device.type == "cuda":
        torch.cuda.synchronize(clf.device)
    return time.perf_counter()


class ForTrainer(TrainerCallback):
    """Tells one of our callbacks of the steps of `transformers.Trainer`.

    Parameters
    ----------
    callback : is told of the start and, while its gradients are still there, of every step; it is
        shown ``learner``, ``step``, ``steps`` and ``left_out`` of the run
    """

    def __init__(self, callback: Callback):
        self.callback = callback
        self.run: Any = SimpleNamespace(learner=None, step=0, steps=0, left_out=False)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make a Classifier of what is trained."""
        model, processing_class = kwargs["model"], kwargs["processing_class"]
        if processing_class is None:
            raise AttnlabError(
                "A Recorder needs the tokenizer. Give it to Trainer: processing_class=tokenizer."
            )
        plain: Any = model if heads.prefix(model) else heads.model_of(model)
        names = [plain.config.id2label[index] for index in sorted(plain.config.id2label)]
        self.run.learner = Classifier(plain, processing_class, names)
        self.run.step, self.run.steps = state.global_step, state.max_steps
        self.callback.on_start(self.run)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell of a step."""
        self.run.step = state.global_step + 1
        self.callback.on_step(self.run)
