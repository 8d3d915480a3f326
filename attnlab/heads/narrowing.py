"""Narrower attention inside a real model: windows, the best keys only, sparse weights."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from attnlab.attention.soft import softmax
from attnlab.attention.sparse import entmax15, sparsemax
from attnlab.attention.windows import window_attention, window_mask
from attnlab.errors import ModelError, SettingsError, suggest
from attnlab.heads.families import model_of, refuse_decoder, refuse_prefix, sites

__all__ = [
    "KERNEL",
    "NARROWED",
    "Kind",
    "Narrow",
    "narrow",
    "narrowed_layers",
    "note_narrowing",
    "refuse_narrowing",
    "restore_narrowing",
]

KERNEL = "attnlab_kernel"  # where an attention module keeps what computes in its place
NARROWED = "attnlab_narrowed"  # where a model's configuration keeps what was narrowed
Kind = Literal["window", "top-k", "hard", "sparsemax", "entmax"]


@dataclass(frozen=True)
class Narrow:
    """What a query may attend to.

    Attributes
    ----------
    kind :
        - "window": its neighbours, computed without a table of all scores, but where weights are
          wanted or, while training, dropped;
        - "top-k": the keys with the k highest scores (Gupta et al. 2021). All are computed first,
          so it saves no time;
        - "hard": the key with the highest score;
        - "sparsemax", "entmax": those that these leave a weight (Martins and Astudillo 2016; Peters
          et al. 2019)
    window, dilation : of "window", steps to either side and tokens to a step
    k : of "top-k"
    sinks : of "window": [CLS] and [SEP], the first and the last token of a text, see all and are
        seen by all; of an image [CLS] alone
    layers : which layers, counted from 0; None for all

    Raises
    ------
    SettingsError : another kind, numbers without sense
    """

    kind: Kind
    window: int = 4
    dilation: int = 1
    k: int = 8
    sinks: bool = True
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SettingsError(
                f"There is no kind {self.kind!r} of narrow attention. "
                f"{suggest(self.kind, get_args(Kind))}"
            )
        for name, least in (("window", 0), ("dilation", 1), ("k", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(f"{name} is {value!r}; it is a whole number, {least} or more.")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))


def narrow(target: Any, how: Narrow) -> Any:
    """Return the same classifier with narrower attention; it shares its weights with the old one.

    Nothing is trained. Head settings, maps, ablation and training work on it as on any other; what
    its maps show are the narrow weights. It can be saved, and only attnlab loads it as it is.

    Parameters
    ----------
    target : Classifier, ImageClassifier or a Transformers model, which stays as it is
    how : Narrow

    Raises
    ------
    ModelError : a model whose heads cannot be reached, a decoder, a model with a prefix
    SettingsError : a layer that the model does not have
    """
    refuse_prefix(target, "Narrower attention")
    model = model_of(target)
    shared = {id(part): part for part in [*model.parameters(), *model.buffers()]}
    narrower = copy.deepcopy(model, shared)
    _put(narrower, how)
    return narrower if target is model else target.with_model(narrower)


def restore_narrowing(model: PreTrainedModel) -> None:
    """Narrow a freshly built model as its configuration says it was."""
    noted = getattr(model.config, NARROWED, None)
    if noted:
        layers = noted.get("layers")
        _put(model, Narrow(**noted | {"layers": None if layers is None else tuple(layers)}))


def narrowed_layers(model: PreTrainedModel) -> list[int]:
    """The layers whose attention was narrowed."""
    return [layer for layer, site in enumerate(sites(model)) if hasattr(site.module, KERNEL)]


def note_narrowing(model: PreTrainedModel) -> None:
    """Note anew which layers are narrowed, after layers have gone or have come to share weights."""
    noted = getattr(model.config, NARROWED, None)
    if noted:
        layers = narrowed_layers(model)
        setattr(model.config, NARROWED, noted | {"layers": layers} if layers else None)


def refuse_narrowing(target: Any, what: str) -> None:
    """Raise ModelError for a model with narrower attention, which ``what`` does not know."""
    if layers := narrowed_layers(model_of(target)):
        raise ModelError(
            f"{what} does not know narrower attention, which this model has in "
            f"{len(layers)} of its layers. Take the classifier that it was made from."
        )


def _put(model: PreTrainedModel, how: Narrow) -> None:
    places = sites(model)
    refuse_decoder(model, "Narrower attention")
    wanted = range(len(places)) if how.layers is None else how.layers
    for layer in wanted:
        if not 0 <= layer < len(places):
            raise SettingsError(
                f"There is no layer {layer} to narrow: layers are 0 to {len(places) - 1}."
            )
    images = hasattr(model.config, "image_size")
    chosen = {id(places[layer].module) for layer in wanted}
    if sum(id(place.module) in chosen for place in places) > len(wanted):
        raise SettingsError(
            "Some layers of this model share their weights and are narrowed together. Leave "
            "layers out, or name all that share."
        )
    for place in places:
        if hasattr(place.module, KERNEL):
            delattr(place.module, KERNEL)
        if id(place.module) in chosen:
            setattr(place.module, KERNEL, _Kernel(how, images))
    setattr(model.config, NARROWED, dataclasses.asdict(how))


# ── what computes in an attention module's place ────────────────────────────────────────────────


class _Kernel:
    """Narrower attention as `heads.control` calls it.

    Returns the context (B, T, h, D), and weights (B, h, T, T), None where none were computed.
    """

    def __init__(self, how: Narrow, images: bool):
        self.how, self.ends = how, 1 if images else 2

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scaling: float,
        dropout: float,
        with_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        real = _real(mask, key)
        query = query * scaling
        if self.how.kind == "window" and not with_weights and not dropout:
            found = window_attention(
                query * query.shape[-1] ** 0.5,  # by which it divides
                key,
                value,
                self.how.window,
                real[:, None, None],
                self._sinks(real),
                self.how.dilation,
            )
            return found.transpose(1, 2), None
        weights = self._weights((query @ key.transpose(-2, -1)).float(), real).to(value.dtype)
        dropped = nn.functional.dropout(weights, p=dropout, training=dropout > 0)
        return (dropped @ value).transpose(1, 2), weights

    def _weights(self, scores: Tensor, real: Tensor) -> Tensor:
        """Weights from scores (B, h, T, T); zeros in a row that sees nothing."""
        visible = real[:, None, None]
        if self.how.kind in ("sparsemax", "entmax"):
            return (sparsemax if self.how.kind == "sparsemax" else entmax15)(scores, visible)
        if self.how.kind == "window":
            return softmax(scores, self._near(real))
        k = min(1 if self.how.kind == "hard" else self.how.k, scores.shape[-1])
        best = scores.masked_fill(~visible, -torch.inf).topk(k, dim=-1).indices
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
        return softmax(scores, chosen & visible)

    def _near(self, real: Tensor) -> Tensor:
        """Which key each query may see, bool (B, 1, T, T)."""
        near = window_mask(real.shape[-1], self.how.window, (), self.how.dilation).to(real.device)
        sinks = torch.zeros_like(real).scatter(1, self._sinks(real), True)
        return ((near | sinks[:, None] | sinks[:, :, None]) & real[:, None])[:, None]

    def _sinks(self, real: Tensor) -> Tensor:
        """The first and the last token of each text, int (B, 2), or what of them is in sight."""
        places = torch.arange(real.shape[1], device=real.device)
        both = torch.stack([real.long().argmax(-1), (places * real).amax(-1)], dim=-1)
        return both[:, : self.ends if self.how.sinks else 0]


def _real(mask: Tensor | None, key: Tensor) -> Tensor:
    """Which keys are tokens and no padding, bool (B, T), from the mask of an encoder."""
    if mask is None:
        return torch.ones(key.shape[0], key.shape[2], dtype=torch.bool, device=key.device)
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
    return allowed[:, 0].any(-2).expand(key.shape[0], -1)


def __dir__() -> list[str]:
    return sorted(__all__)
