"""Heads that no longer do what heads do, by limits of their own rather than beside other heads."""

import copy
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from attnlab import heads
from attnlab.balance.similarities import linear_cka, row_divergences
from attnlab.classification.classifier import Classifier, Text
from attnlab.errors import AttnlabWarning, ModelError
from attnlab.evaluation.inputs import recorded, tokenised
from attnlab.heads import HeadSettings, LayerRecord, one_setting

# between heads broken by hand and those of fine-tuned models: no effect .0012 and .053, constant
# .0008 and .025, largest weight of a head that is not positional .96 and .83, divergence .0002 and
# .069, CKA .999 and .95
_LIMITS = {
    "no effect": 0.003,
    "constant": 0.003,
    "saturated": 0.9,
    "same attention": 0.005,
    "same output": 0.99,
}
_POSITIONAL = 0.9  # share of the weight at one distance: such a head looks by position, and works
_ROWS = 1024  # of attention, that heads of a layer are compared on


def faults(
    clf: Classifier, texts: Sequence[Text], settings: HeadSettings | None = None
) -> pd.DataFrame:
    """Find heads that are broken, whatever the other heads are like.

    `outliers` names heads unlike the others; in a model whose heads are all dead it names none. The
    limits here are absolute.

    Parameters
    ----------
    clf : Classifier
    texts : list of str, or of (str, str); twenty sentences are enough
    settings : as for `measure`

    Returns
    -------
    DataFrame, a row per head and fault: ``layer``, ``head``, ``fault``, ``value``, ``limit`` and
    ``other``, the head of the same layer that it doubles, else -1. The faults:

    - "not finite": the head's weights hold NaN or infinity; ``value`` is how many
    - "no effect": what it adds to a token is shorter than 0.003 √E, E the width of the model, which
      is the length of a normalised hidden state; ``value`` is the mean length / √E
    - "constant": it adds the same to every token of a text, as a head does that looks everywhere
      alike or always at one place; ``value`` is the share of its output's mean square that varies
      within texts
    - "saturated": nearly all weight of a row is on one key, not by position, so that softmax passes
      no gradient; ``value`` is the mean largest weight
    - "same attention": rows as those of another head of its layer; ``value`` is their mean
      Jensen-Shannon divergence, bits
    - "same output": another head of its layer fetches the same; ``value`` is linear CKA

    Of two heads that are constant or without effect it is not said besides that they are the same.
    A model with random weights has heads that look everywhere alike: if more than half of the heads
    are constant, a warning says so.

    Heads removed for good are left out. While weights are not finite, the other heads are measured
    with those heads silenced.

    Raises
    ------
    DataError : no texts, or a text that is empty
    SettingsError : settings of another size, or a stack
    ModelError : a model with a prefix; weights outside the heads that are not finite; numbers that
        grow too large on the way

    Warns
    -----
    AttnlabWarning : more than half of the heads are constant
    """
    heads.refuse_decoder(clf, "Looking for broken heads")
    settings = one_setting(clf, settings)
    broken = _not_finite(clf)
    rows: list[tuple[object, ...]] = [
        (*head, "not finite", float(count), 0.0, -1) for head, count in broken.items()
    ]
    if broken:
        clf = _silenced(clf, list(broken))
    for name, weight in clf.model.named_parameters():
        if not weight.isfinite().all():
            raise ModelError(
                f"{name} holds NaN or infinity, and is no head's: nothing that comes after it can "
                "be measured. Load the model anew, or train with a smaller learning rate."
            )
    gone = {*heads.removed(clf), *broken}
    constant = 0
    for layer, tally in enumerate(_tallies(clf, texts, settings)):
        here = [head for head in range(clf.heads) if (layer, head) not in gone]
        found = list(tally.faults(here))
        constant += sum(fault == "constant" for _, fault, *_ in found)
        rows += [(layer, *one) for one in found]
    there = clf.layers * clf.heads - len(gone)
    if constant > there / 2:
        warnings.warn(
            f"{constant} of {there} heads are constant: they add the same to all tokens of a text. "
            "So do heads with random weights, which look everywhere alike until they are trained. "
            "If this model was trained, its attention has died: load it anew, or train with a "
            "smaller learning rate.",
            AttnlabWarning,
            stacklevel=2,
        )
    columns = ["layer", "head", "fault", "value", "limit", "other"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["layer", "head"], kind="stable", ignore_index=True)


def _zero() -> Tensor:
    return torch.zeros(())


@dataclass
class _Tally:
    """Sums over the texts of what a layer's H heads do; E is the model's width, D a head's.

    Attributes
    ----------
    root_of_width : √E
    tokens : how many there were, and ``rows``, over how many divergences were summed
    added : (H,), lengths of what is added to a token
    square, within : (H,), squares of the outputs, and of the outputs minus their mean in the text
    largest : (H,), largest weights of rows
    by_distance : (3, H), weight on the token before, the token itself, and the one after
    divergence : (H, H), of the rows of every two heads
    total, products : (H D,) and (H D, H D), of the outputs, for their covariance
    """

    root_of_width: float
    tokens: int = 0
    rows: int = 0
    added: Tensor = field(default_factory=_zero)
    square: Tensor = field(default_factory=_zero)
    within: Tensor = field(default_factory=_zero)
    largest: Tensor = field(default_factory=_zero)
    by_distance: Tensor = field(default_factory=_zero)
    divergence: Tensor = field(default_factory=_zero)
    total: Tensor = field(default_factory=_zero)
    products: Tensor = field(default_factory=_zero)

    def add(self, record: LayerRecord, real: Tensor, scale: Tensor) -> None:
        """Add a batch: ``real`` (B, T) says where tokens are, ``scale`` (H,) is the heads'."""
        there = real[:, None, :, None].float()  # which rows are a token's
        weights = record.weights.float() * there
        outputs = weights @ record.values.float()  # (B, H, T, D)
        mean = outputs.sum(2, keepdim=True) / there.sum(2, keepdim=True)
        added = (weights * record.norms.float()[:, :, None]).sum(-1)
        self.tokens += int(real.sum())
        self.added = self.added + added.sum((0, 2)) * scale.abs()
        self.square = self.square + outputs.square().sum((0, 2, 3))
        self.within = self.within + ((outputs - mean) * there).square().sum((0, 2, 3))
        self.largest = self.largest + weights.amax(-1).sum((0, 2))
        self.by_distance = self.by_distance + torch.stack(
            [weights.diagonal(offset, -2, -1).sum((0, 2)) for offset in (-1, 0, 1)]
        )
        flat = outputs.transpose(0, 1)[:, real].transpose(0, 1).flatten(1).double()
        self.total, self.products = self.total + flat.sum(0), self.products + flat.T @ flat
        if self.rows < _ROWS:
            rows = weights.transpose(0, 1)[:, real]  # (H, R, T)
            self.divergence, self.rows = (
                self.divergence + row_divergences(rows),
                self.rows + len(flat),
            )

    def faults(self, here: list[int]) -> Iterator[tuple[object, ...]]:
        """The faults of these heads: head, fault, value, limit, other."""
        covariance = self.products - torch.outer(self.total, self.total) / self.tokens
        alike = linear_cka(covariance, len(self.added))
        apart = self.divergence / self.rows
        added = self.added / self.tokens / self.root_of_width
        varying = self.within / self.square
        largest = self.largest / self.tokens
        positional = self.by_distance.amax(0) / self.tokens > _POSITIONAL
        broken = set()
        for head in here:
            for fault, value, found in (
                ("no effect", added[head], added[head] < _LIMITS["no effect"]),
                ("constant", varying[head], varying[head] < _LIMITS["constant"]),
                (
                    "saturated",
                    largest[head],
                    largest[head] > _LIMITS["saturated"] and not positional[head],
                ),
            ):
                if found:
                    if fault != "saturated":
                        broken.add(head)
                    yield head, fault, float(value), _LIMITS[fault], -1
        for head, other in itertools.permutations(here, 2):
            if {head, other} <= broken:
                continue
            divergence, cka = float(apart[head, other]), float(alike[head, other])
            if divergence < _LIMITS["same attention"]:
                yield head, "same attention", divergence, _LIMITS["same attention"], other
            if cka > _LIMITS["same output"]:
                yield head, "same output", cka, _LIMITS["same output"], other


def _tallies(clf: Classifier, texts: Sequence[Text], settings: HeadSettings) -> list[_Tally]:
    """A tally for each layer."""
    encoded = tokenised(clf, texts)
    width = heads.model_of(clf).config.hidden_size
    tallies = [_Tally(width**0.5) for _ in range(clf.layers)]
    for group, _, records in recorded(clf, encoded, settings):
        lengths = torch.as_tensor(encoded.lengths[group], device=clf.device)
        real = torch.arange(int(lengths.max()), device=clf.device) < lengths[:, None]
        for layer, (tally, record) in enumerate(zip(tallies, records, strict=True)):
            tally.add(record, real, settings.scale[layer].to(clf.device))
    return tallies


def _slices(clf: Classifier) -> Iterator[tuple[tuple[int, int], list[Tensor]]]:
    """For each head its part of the four projections, as views."""
    model = heads.model_of(clf)
    for layer, site in enumerate(heads.sites(model)):
        active = heads.active_heads(model, layer)
        for index, head in enumerate(active):
            views = []
            for name in (site.query, site.key, site.value):
                linear = getattr(site.module, name)
                size = linear.weight.shape[0] // len(active)
                rows = slice(index * size, (index + 1) * size)
                views += [linear.weight.data[rows]]
                views += [] if linear.bias is None else [linear.bias.data[rows]]
            size = site.output.weight.shape[1] // len(active)
            views.append(site.output.weight.data[:, index * size : (index + 1) * size])
            yield (layer, head), views


def _not_finite(clf: Classifier) -> dict[tuple[int, int], int]:
    """Heads whose weights hold NaN or infinity, and how many."""
    counts = {
        head: sum(int((~view.isfinite()).sum()) for view in views) for head, views in _slices(clf)
    }
    return {head: count for head, count in counts.items() if count}


def _silenced(clf: Classifier, gone: list[tuple[int, int]]) -> Classifier:
    """A copy in which the weights of these heads are 0."""
    changed = copy.copy(clf)
    changed.model = copy.deepcopy(clf.model)
    for head, views in _slices(changed):
        if head in gone:
            for view in views:
                view.zero_()
    return changed
