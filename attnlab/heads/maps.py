"""What a model attends to in one text or one pair: the types every picture is drawn from."""

from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from attnlab.errors import AttnlabError, suggest
from attnlab.heads.settings import HeadSettings
from attnlab.languages import later

What = Literal["weights", "scaled", "contributions", "difference"]
WHATS: dict[str, str] = {
    "weights": later("attention weights"),
    "scaled": later("weights × scale, by which a head mixes the values it adds"),
    "contributions": later("weights × scale × norm of the transformed value vector"),
    "difference": later("(weights × scale) minus the neutral weights"),
}


class _Maps:
    """What maps of one text and of a pair have in common."""

    weights: Tensor
    contributions: Tensor
    settings: HeadSettings
    neutral: "Self | None"

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return self.weights.shape[0]

    @property
    def heads(self) -> int:
        """Number of heads H in a layer."""
        return self.weights.shape[1]

    def of(self, what: What = "weights") -> Tensor:
        """One of the four pictures, shape of the weights; see `WHATS` for their meaning."""
        if what == "weights":
            return self.weights
        if what == "contributions":
            return self.contributions
        if what not in WHATS:
            raise AttnlabError(f"There is no picture {what!r}. {suggest(what, WHATS)}")
        scaled = self.weights * self.settings.scale.detach().to(self.weights)[:, :, None, None]
        if what == "scaled":
            return scaled
        return scaled - (self.neutral.weights if self.neutral else self.weights)

    def check_place(self, layer: int, head: int | None = None) -> None:
        """Raise AttnlabError unless these maps have that layer (and head)."""
        if not 0 <= layer < self.layers or not (head is None or 0 <= head < self.heads):
            place = f"layer {layer}" if head is None else f"layer {layer}, head {head}"
            raise AttnlabError(
                f"These maps have no {place}: layers are 0 to {self.layers - 1}, "
                f"heads 0 to {self.heads - 1}."
            )


@dataclass(frozen=True, eq=False)
class AttentionMaps(_Maps):
    """Attention of every layer and head over one text, over a pair, or over an image.

    Attributes
    ----------
    tokens : list of T str, as people read them; of an image "row,column" of each patch
    weights : Tensor, shape (L, H, T, T); row i says where token i looks, and sums to 1.
        A head that was removed for good has rows of zeros.
    contributions : Tensor, shape (L, H, T, T)
        Length of the vector that token j adds to token i through this head:
        weight × scale × norm of the value vector after the output projection
        (Kobayashi et al. 2020, "Attention is not only a weight").
    special : Tensor of bool, shape (T,); True at [CLS], [SEP] and their like, which stand around
        the text; an unknown word is text.
    settings : HeadSettings that were in force
    neutral : AttentionMaps of the same text with neutral settings; None if these are neutral
    second_start : index of the first token of the second text of a pair, else None
    """

    tokens: list[str]
    weights: Tensor
    contributions: Tensor
    special: Tensor
    settings: HeadSettings
    neutral: "AttentionMaps | None" = None
    second_start: int | None = None

    def __repr__(self) -> str:
        return (
            f"AttentionMaps({self.layers} layers x {self.heads} heads, {len(self.tokens)} tokens)"
        )


@dataclass(frozen=True, eq=False)
class CrossMaps(_Maps):
    """Encoder-decoder attention of every layer and head over one pair.

    Attributes
    ----------
    source : list of S str, the end mark included
    target : list of T str; row t is the step that predicts ``target[t]``
    weights : Tensor, shape (L, H, T, S); row t says where step t looks, and sums to 1
    contributions : Tensor, shape (L, H, T, S)
        Length of the vector that source token j adds to step t through this head, as in
        `AttentionMaps`.
    settings : HeadSettings of this kind that were in force
    neutral : CrossMaps of the same pair with neutral settings; None if these are neutral
    """

    source: list[str]
    target: list[str]
    weights: Tensor
    contributions: Tensor
    settings: HeadSettings
    neutral: "CrossMaps | None" = None

    def __repr__(self) -> str:
        return (
            f"CrossMaps({self.layers} layers x {self.heads} heads, "
            f"{len(self.source)} source and {len(self.target)} target tokens)"
        )


@dataclass(frozen=True, eq=False)
class Seq2SeqMaps:
    """All that an encoder-decoder model attends to in one pair, and what it considers at each step.

    Attributes
    ----------
    encoder : AttentionMaps of the source
    decoder : AttentionMaps of what is fed to the decoder: the start mark first, rows lower
        triangular
    cross : CrossMaps, from the target to the source
    probabilities : Tensor, shape (T, V); row t is over the token that step t predicts
    vocabulary : list of V str, the target tokens as people read them
    """

    encoder: AttentionMaps
    decoder: AttentionMaps
    cross: CrossMaps
    probabilities: Tensor
    vocabulary: list[str]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """For each of the T steps the ``k`` likeliest tokens with probabilities, best first."""
        if k < 1:
            raise AttnlabError(f"k is {k}; at least one candidate is needed. Write top(5).")
        best = self.probabilities.topk(min(k, len(self.vocabulary)), dim=-1)
        return [
            [(self.vocabulary[token], chance) for token, chance in zip(*step, strict=True)]
            for step in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def __repr__(self) -> str:
        return (
            f"Seq2SeqMaps({len(self.cross.source)} source and {len(self.cross.target)} target "
            f"tokens, {self.encoder.layers} + {self.decoder.layers} layers x "
            f"{self.cross.heads} heads)"
        )
