"""One scale and one temperature per head: all that a mixing desk can set."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from attnlab.errors import SettingsError


class HeadSettings:
    """A scale and a temperature for every attention head of a model.

    Parameters
    ----------
    layers, heads : size of the model, such as 6 and 12

    Attributes
    ----------
    scale : Tensor, shape (L, H), or (B, L, H) for one setting per batch row
        Multiplies a head's output before the output projection. 1 is neutral, 0 silences it.
    temperature : Tensor, same shape
        Divides a head's scores before the softmax. 1 is neutral, below sharpens, above flattens.

    Both may be written to, and may require gradients. They are validated when applied to a model.

    >>> settings = HeadSettings(layers=6, heads=12)
    >>> settings.scale[2, 7] = 0
    >>> settings.changed()
    [(2, 7)]
    >>> settings.reset().is_neutral()
    True
    """

    def __init__(self, layers: int, heads: int):
        if layers < 1 or heads < 1:
            raise SettingsError(
                f"HeadSettings needs at least one layer and one head, not {layers} and {heads}. "
                "Write HeadSettings(clf.layers, clf.heads)."
            )
        self.scale: Tensor = torch.ones(layers, heads)
        self.temperature: Tensor = torch.ones(layers, heads)

    @classmethod
    def of(cls, scale: Tensor, temperature: Tensor) -> Self:
        """Settings that hold these two tensors (not copies), of shape (L, H) or (B, L, H)."""
        settings = cls.__new__(cls)
        settings.scale, settings.temperature = torch.as_tensor(scale), torch.as_tensor(temperature)
        return settings

    @classmethod
    def stack(cls, settings: list[Self]) -> Self:
        """One setting per batch row: tensors of shape (B, L, H)."""
        if not settings:
            raise SettingsError("HeadSettings.stack got an empty list. Give one setting per text.")
        try:
            return cls.of(
                torch.stack([setting.scale for setting in settings]),
                torch.stack([setting.temperature for setting in settings]),
            )
        except RuntimeError as error:
            shapes = sorted({tuple(setting.scale.shape) for setting in settings})
            raise SettingsError(
                f"HeadSettings.stack got settings of different sizes {shapes}. "
                "Make them all for the same model."
            ) from error

    def copy(self) -> Self:
        """An independent copy, cut from any gradient."""
        return self.of(self.scale.detach().clone(), self.temperature.detach().clone())

    def reset(self) -> Self:
        """Put every fader back to neutral, in place."""
        with torch.no_grad():
            self.scale.fill_(1)
            self.temperature.fill_(1)
        return self

    def validate(self, layers: int, heads: int, batch: int | None = None) -> Self:
        """Raise SettingsError unless both tensors fit the model and hold meaningful values."""
        if getattr(self.scale, "shape", None) != getattr(self.temperature, "shape", None):
            raise SettingsError(
                f"scale has shape {tuple(self.scale.shape)}, temperature "
                f"{tuple(self.temperature.shape)}. Give both the same; "
                "HeadSettings.stack([...]) makes one setting per batch row."
            )
        for name in ("scale", "temperature"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                raise SettingsError(
                    f"{name} is a {type(value).__name__}, not a torch tensor. "
                    f"Write settings.{name} = torch.as_tensor(...)."
                )
            if tuple(value.shape[-2:]) != (layers, heads) or value.dim() not in (2, 3):
                raise SettingsError(
                    f"{name} has shape {tuple(value.shape)}; this model has {layers} layers of "
                    f"{heads} heads, so it needs ({layers}, {heads}), or (batch, {layers}, "
                    f"{heads}). Start from HeadSettings({layers}, {heads})."
                )
            if value.dim() == 3 and batch is not None and value.shape[0] != batch:
                raise SettingsError(
                    f"{name} holds {value.shape[0]} settings for a batch of {batch} texts. "
                    "Stack one setting per text."
                )
            if not torch.isfinite(value).all():
                where = _first(~torch.isfinite(value))
                raise SettingsError(
                    f"{name} is not a finite number at {where}. Write a number there, or reset()."
                )
        if (self.scale < 0).any():
            where = _first(self.scale < 0)
            raise SettingsError(
                f"scale is {self.scale[where]:g} at {where}; it must be 0 (silent) or more."
            )
        if (self.temperature <= 0).any():
            where = _first(self.temperature <= 0)
            raise SettingsError(
                f"temperature is {self.temperature[where]:g} at {where}; it must be above 0. "
                "For near-hard attention use a small number such as 0.05."
            )
        return self

    def validate_single(self, layers: int, heads: int) -> Self:
        """As `validate`, and raise SettingsError for a stack, which has one setting per text."""
        self.validate(layers, heads)
        if self.scale.dim() != 2:
            raise SettingsError(
                f"Expected one setting for all texts, not a stack of {len(self.scale)}, one per "
                "text. Pick one of them."
            )
        return self

    def is_neutral(self) -> bool:
        """Whether these settings leave a model as it is."""
        return not self.changed()

    def changed(self) -> list[tuple[int, ...]]:
        """The heads (layer, head) that are not neutral; (row, layer, head) for a stack."""
        return [
            tuple(place)
            for place in ((self.scale != 1) | (self.temperature != 1)).nonzero().tolist()
        ]

    def to_json(self) -> str:
        """Text that `from_json` turns back into equal settings."""
        return json.dumps(
            {
                "scale": self.scale.detach().tolist(),
                "temperature": self.temperature.detach().tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; SettingsError if it is something else."""
        try:
            data = json.loads(text)
            settings = cls.of(torch.tensor(data["scale"]), torch.tensor(data["temperature"]))
            if settings.scale.shape != settings.temperature.shape or settings.scale.dim() not in (
                2,
                3,
            ):
                raise ValueError("the two tables differ in shape")
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"These are no head settings: {error}. Expected the text that to_json() returns."
            ) from error
        return settings.validate(*settings.scale.shape[-2:])

    def to_code(self) -> str:
        """Python that makes these settings, one line per head that is not neutral."""
        layers, heads = self.scale.shape[-2:]
        lines = [f"settings = al.HeadSettings(layers={layers}, heads={heads})"]
        for name in ("scale", "temperature"):
            value = getattr(self, name)
            places = (value != 1).nonzero().tolist()
            by_value: dict[float, list[list[int]]] = {}
            for place in places:
                by_value.setdefault(round(float(value[tuple(place)]), 4), []).append(place)
            for number, group in sorted(by_value.items()):
                if len(group) == 1:
                    lines.append(f"settings.{name}[{', '.join(map(str, group[0]))}] = {number:g}")
                else:
                    index = ", ".join(str(list(axis)) for axis in zip(*group, strict=True))
                    lines.append(f"settings.{name}[{index}] = {number:g}")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeadSettings):
            return NotImplemented
        return torch.equal(self.scale, other.scale) and torch.equal(
            self.temperature, other.temperature
        )

    def __repr__(self) -> str:
        count = len(self.changed())
        size = " x ".join(map(str, self.scale.shape))
        return f"HeadSettings({size}, {'neutral' if not count else f'{count} changed'})"


KINDS = ("encoder", "decoder", "cross")


@dataclass
class Seq2SeqSettings:
    """A scale and a temperature for every head of an encoder-decoder model, kind by kind.

    Attributes
    ----------
    encoder : HeadSettings of the encoder's self-attention, (encoder layers, H)
    decoder : HeadSettings of the decoder's self-attention, (decoder layers, H)
    cross : HeadSettings of the decoder's attention to the source, (decoder layers, H)

    >>> settings = Seq2SeqSettings(HeadSettings(3, 4), HeadSettings(2, 4), HeadSettings(2, 4))
    >>> settings.cross.scale[1, 2] = 0
    >>> settings.changed()
    [('cross', 1, 2)]
    >>> settings.reset().is_neutral()
    True
    """

    encoder: HeadSettings
    decoder: HeadSettings
    cross: HeadSettings

    @classmethod
    def neutral(cls, encoder_layers: int, decoder_layers: int, heads: int) -> Self:
        """Settings that leave a model of this size as it is."""
        layers = (encoder_layers, decoder_layers, decoder_layers)
        return cls(*(HeadSettings(count, heads) for count in layers))

    @classmethod
    def stack(cls, settings: list[Self]) -> Self:
        """One setting per batch row."""
        return cls(
            *(
                HeadSettings.stack([getattr(setting, kind) for setting in settings])
                for kind in KINDS
            )
        )

    def __iter__(self) -> Iterator[HeadSettings]:
        return (getattr(self, kind) for kind in KINDS)

    def copy(self) -> Self:
        """An independent copy, cut from any gradient."""
        return type(self)(*(part.copy() for part in self))

    def reset(self) -> Self:
        """Put every fader of every kind back to neutral, in place."""
        for part in self:
            part.reset()
        return self

    def validate(
        self, encoder_layers: int, decoder_layers: int, heads: int, batch: int | None = None
    ) -> Self:
        """Raise SettingsError, naming the kind, unless all three fit the model."""
        layers = (encoder_layers, decoder_layers, decoder_layers)
        for kind, part, count in zip(KINDS, self, layers, strict=True):
            if not isinstance(part, HeadSettings):
                raise SettingsError(
                    f"{kind} is a {type(part).__name__}, not HeadSettings. "
                    "Start from model.neutral_settings()."
                )
            try:
                part.validate(count, heads, batch)
            except SettingsError as error:
                raise SettingsError(f"{kind}: {error}") from error
        return self

    def is_neutral(self) -> bool:
        """Whether these settings leave a model as it is."""
        return not self.changed()

    def changed(self) -> list[tuple[Any, ...]]:
        """The heads (kind, layer, head) that are not neutral; of a stack with the row second."""
        return [
            (kind, *head) for kind, part in zip(KINDS, self, strict=True) for head in part.changed()
        ]

    def to_json(self) -> str:
        """Text that `from_json` turns back into equal settings."""
        return json.dumps(
            {kind: json.loads(part.to_json()) for kind, part in zip(KINDS, self, strict=True)}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; SettingsError if it is something else."""
        try:
            data = json.loads(text)
            parts = [json.dumps(data[kind]) for kind in KINDS]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"These are no settings of an encoder-decoder model: {error}. "
                "Expected the text that to_json() returns."
            ) from error
        return cls(*(HeadSettings.from_json(part) for part in parts))

    def to_code(self) -> str:
        """Python that makes these settings, one line per head that is not neutral."""
        sizes = (tuple(part.scale.shape[-2:]) for part in self)
        made = ", ".join(
            f"al.HeadSettings(layers={layers}, heads={heads})" for layers, heads in sizes
        )
        lines = [f"settings = al.Seq2SeqSettings({made})"]
        for kind, part in zip(KINDS, self, strict=True):
            lines += [
                line.replace("settings.", f"settings.{kind}.", 1)
                for line in part.to_code().splitlines()[1:]
            ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        parts = (f"{kind}: {part}" for kind, part in zip(KINDS, self, strict=True))
        return f"Seq2SeqSettings({', '.join(parts)})"


def _first(where: Tensor) -> tuple[int, ...]:
    """The first place that is True."""
    return tuple(where.nonzero()[0].tolist())
