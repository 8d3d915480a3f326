"""What a model attends to in one text: the type every picture is drawn from."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from attnlab.errors import AttnlabError, suggest
from attnlab.settings import HeadSettings

What = Literal["weights", "scaled", "contributions", "difference"]
WHATS: dict[str, str] = {
    "weights": "attention weights",
    "scaled": "weights × scale, what reaches the next layer",
    "contributions": "weights × scale × norm of the transformed value vector",
    "difference": "(weights × scale) minus the neutral weights",
}


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention of every layer and head over one text, or over a pair.

    Attributes
    ----------
    tokens : list of T str
    weights : Tensor, shape (L, H, T, T); row i says where token i looks, and sums to 1.
        A head that was removed for good has rows of zeros.
    contributions : Tensor, shape (L, H, T, T)
        Length of the vector that token j adds to token i through this head:
        weight × scale × norm of the value vector after the output projection
        (Kobayashi et al. 2020, "Attention is not only a weight").
    special : Tensor of bool, shape (T,); True at [CLS], [SEP] and their like.
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

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return self.weights.shape[0]

    @property
    def heads(self) -> int:
        """Number of heads H in a layer."""
        return self.weights.shape[1]

    def of(self, what: What = "weights") -> Tensor:
        """One of the four pictures, shape (L, H, T, T); see `WHATS` for their meaning."""
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

    def __repr__(self) -> str:
        return (
            f"AttentionMaps({self.layers} layers x {self.heads} heads, {len(self.tokens)} tokens)"
        )
