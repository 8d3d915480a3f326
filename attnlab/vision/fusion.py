"""Text with a picture: words that look at patches, and the rivals that are simpler.

Each fusion turns words (B, T, E) and patches (B, N, E) into logits over answers (B, A), from the
same embeddings and with layers of the same size, so that they can be compared. In comments B is
batch, T words, N patches, E d_model, H heads, D head width, A answers.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.attention import shapes
from attnlab.errors import ModelError, TensorError
from attnlab.transformer.cache import Seen
from attnlab.transformer.layers import DecoderLayer, EncoderLayer, HeadTensors

__all__ = [
    "FUSIONS",
    "Concatenation",
    "CrossAttention",
    "Fusion",
    "ImageAlone",
    "Inputs",
    "LateAveraging",
    "ModalityDropout",
    "PooledSideBySide",
    "QuestionAlone",
    "masked_mean",
]


@dataclass
class Inputs:
    """What a fusion is given; see `Fusion.forward`."""

    text: Tensor
    mask: Tensor
    patches: Tensor
    heads: list[HeadTensors] | None = None
    seen: Seen | None = None

    def heads_of(self, layer: int) -> HeadTensors | None:
        """Scale and temperature of the heads of one layer."""
        return None if self.heads is None else self.heads[layer]


class Fusion(nn.Module):
    """Logits over answers from words and patches: the base of the six below.

    Parameters
    ----------
    answers : number of answers A
    d_model, heads, layers, feed_forward, dropout : of its layers

    Attributes
    ----------
    layers : nn.ModuleList, the layers whose heads `forward` speaks of
    """

    layer: Any = EncoderLayer  # what `layers` are made of

    def __init__(
        self,
        answers: int,
        d_model: int,
        heads: int = 4,
        layers: int = 2,
        feed_forward: int = 128,
        dropout: float = 0.0,
    ):
        super().__init__()
        sizes = (d_model, heads, feed_forward, dropout)
        self.layers: Any = nn.ModuleList(self.layer(*sizes, fused=True) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.output = nn.Linear(d_model, answers)

    def forward(
        self,
        text: Tensor,
        mask: Tensor,
        patches: Tensor,
        heads: list[HeadTensors] | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """Return logits, shape (B, A).

        Parameters
        ----------
        text : Tensor, shape (B, T, E), embedded words
        mask : Tensor of bool, shape (B, T), False at padding; every row has at least one word
        patches : Tensor, shape (B, N, E), as an image encoder returns them
        heads : scale and temperature of the heads, for each layer
        seen : a list that the weights and values of each layer are added to
        """
        _check(text, mask, patches)
        return self.answer(Inputs(text, mask, patches, heads, seen))

    def answer(self, given: Inputs) -> Tensor:
        """Logits from inputs that fit together."""
        raise NotImplementedError


class CrossAttention(Fusion):
    """In every layer words attend to words, then to patches; the answer is read off the words.

    Heads are those of cross-attention; their weights, (B, H, T, N), go from each word to each
    patch.
    """

    layer = DecoderLayer

    def answer(self, given: Inputs) -> Tensor:
        """Logits, shape (B, A)."""
        x, own = given.text, given.mask[:, None]
        for index, layer in enumerate(self.layers):
            picture = layer.cross_attention.project(given.patches)
            heads, seen = (None, given.heads_of(index)), (None, given.seen)
            x = layer(x, picture, own, heads=heads, seen=seen)
        return self.output(masked_mean(self.norm(x), given.mask))


class Concatenation(Fusion):
    """Words and patches in one sequence, through one encoder; the answer is read off the words.

    Weights have shape (B, H, T + N, T + N), the words first.
    """

    def __init__(self, answers: int, d_model: int, *sizes: Any, **more: Any):
        super().__init__(answers, d_model, *sizes, **more)
        self.kinds = nn.Parameter(torch.randn(2, d_model) * 0.02)  # "a word", "a patch"

    def answer(self, given: Inputs) -> Tensor:
        """Logits, shape (B, A)."""
        x = torch.cat([given.text + self.kinds[0], given.patches + self.kinds[1]], 1)
        there = torch.cat([given.mask, given.mask.new_ones(given.patches.shape[:2])], 1)
        x = _encoded(self.layers, x, there, given)[:, : given.text.shape[1]]
        return self.output(masked_mean(self.norm(x), given.mask))


class QuestionAlone(Fusion):
    """An encoder of the words; the picture is not looked at."""

    def answer(self, given: Inputs) -> Tensor:
        """Logits, shape (B, A)."""
        return self.output(self.pooled(given))

    def pooled(self, given: Inputs) -> Tensor:
        """The mean of the encoded words, shape (B, E)."""
        return masked_mean(
            self.norm(_encoded(self.layers, given.text, given.mask, given)), given.mask
        )


class PooledSideBySide(QuestionAlone):
    """The mean of the encoded words and the mean of the patches, side by side in one network."""

    def __init__(self, answers: int, d_model: int, *sizes: Any, **more: Any):
        super().__init__(answers, d_model, *sizes, **more)
        self.network = nn.Sequential(nn.Linear(2 * d_model, 2 * d_model), nn.ReLU())
        self.output = nn.Linear(2 * d_model, answers)

    def answer(self, given: Inputs) -> Tensor:
        """Logits, shape (B, A)."""
        both = torch.cat([self.pooled(given), given.patches.mean(1)], -1)
        return self.output(self.network(both))


class ImageAlone(Fusion):
    """The mean of the patches and a small network; the question is not read. It has no layers."""

    def __init__(self, answers: int, d_model: int, *sizes: Any, **more: Any):
        super().__init__(answers, d_model, layers=0)
        self.network = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.ReLU())
        self.output = nn.Linear(2 * d_model, answers)

    def answer(self, given: Inputs) -> Tensor:
        """Logits, shape (B, A)."""
        return self.output(self.network(self.norm(given.patches.mean(1))))


class LateAveraging(QuestionAlone):
    """`QuestionAlone` and `ImageAlone` answer apart; their probabilities are averaged."""

    def __init__(self, answers: int, d_model: int, *sizes: Any, **more: Any):
        super().__init__(answers, d_model, *sizes, **more)
        self.image = ImageAlone(answers, d_model)

    def answer(self, given: Inputs) -> Tensor:
        """Logarithms of the averaged probabilities, shape (B, A)."""
        apart = torch.stack([super().answer(given), self.image.answer(given)]).log_softmax(-1)
        return apart.logsumexp(0) - torch.tensor(2.0).log()


FUSIONS: dict[str, type[Fusion]] = {
    "cross-attention": CrossAttention,
    "concatenation": Concatenation,
    "pooled": PooledSideBySide,
    "late": LateAveraging,
    "question": QuestionAlone,
    "image": ImageAlone,
}


class ModalityDropout(nn.Module):
    """While training some examples lose their text, and as many others their picture.

    What is lost is replaced by a vector that is learned, so a model trained so can answer without.
    No example loses both.

    Parameters
    ----------
    d_model : width
    share : of the examples that lose one of the two

    Source: Neverova et al. 2016.
    """

    def __init__(self, d_model: int, share: float):
        super().__init__()
        if not 0 <= share <= 1:
            raise ModelError(f"modality_dropout is {share}; it is a share of examples, 0 to 1.")
        self.share = share
        self.no_text = nn.Parameter(0.02 * torch.randn(d_model))
        self.no_image = nn.Parameter(0.02 * torch.randn(d_model))

    def forward(self, text: Tensor, mask: Tensor, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return text (B, T, E), mask (B, T) and patches (B, N, E), some of them lost."""
        if not self.training or not self.share:
            return text, mask, patches
        draw = torch.rand(len(text), device=text.device)
        return self.without(text, mask, patches, draw < self.share / 2, draw > 1 - self.share / 2)

    def without(
        self, text: Tensor, mask: Tensor, patches: Tensor, no_text: Tensor, no_image: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same, where two bool tensors (B,) say which examples lose what."""
        text = torch.where(no_text[:, None, None], self.no_text, text)
        first = torch.arange(mask.shape[1], device=mask.device) == 0  # its length is lost as well
        mask = torch.where(no_text[:, None], first, mask)
        return text, mask, torch.where(no_image[:, None, None], self.no_image, patches)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over tokens that are there: (B, T, E) and bool (B, T) to (B, E)."""
    there = mask[..., None].to(x)
    return (x * there).sum(1) / there.sum(1)


def _encoded(layers: Any, x: Tensor, there: Tensor, given: Inputs) -> Tensor:
    """What encoder layers make of x, shape (B, S, E)."""
    for index, layer in enumerate(layers):
        x = layer(x, there[:, None], given.heads_of(index), given.seen)
    return x


def _check(text: Tensor, mask: Tensor, patches: Tensor) -> None:
    shapes.check_bool(mask)
    fits = (
        text.dim() == patches.dim() == 3
        and mask.shape == text.shape[:2]
        and (len(text), text.shape[-1]) == (len(patches), patches.shape[-1])
    )
    if not fits:
        raise TensorError(
            f"text {shapes.shown(text)}, mask {shapes.shown(mask)}, patches "
            f"{shapes.shown(patches)} do not fit together. Expected (B, T, E), (B, T) and (B, N, E)"
            "."
        )
    if not bool(mask.any(1).all()):
        raise TensorError(
            "Some rows of the mask are all False: a question without a word. Give each at least "
            "one."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
