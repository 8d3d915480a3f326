"""Ask about a picture: a model of text and image, and which word looks where.

In comments B is batch, C channels, H and W height and width in pixels, T words, N patches, E
d_model, A answers.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.classification.base import Predictions
from attnlab.datasets.grammar import VOCABULARY, words
from attnlab.errors import DataError, ModelError, suggest
from attnlab.files import bundled
from attnlab.heads.maps import CrossMaps
from attnlab.heads.settings import HeadSettings
from attnlab.heads.weights import value_norms
from attnlab.inference import check_finite, evaluating
from attnlab.training.history import History
from attnlab.training.stepping import batches
from attnlab.transformer.cache import Seen
from attnlab.transformer.layers import Embedding
from attnlab.vision import storing
from attnlab.vision.bodies import Windows, body_record, headless, make_body, processor_for
from attnlab.vision.fusion import FUSIONS, CrossAttention, ModalityDropout
from attnlab.vision.pixels import ImageProcessor
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = [
    "FILE",
    "Answerer",
    "answerers",
    "load_answerer",
    "word_ids",
]

FILE = "answerer.safetensors"
PADDING = 0  # id of no word


class Answerer(nn.Module):
    """A question in words and a picture, to one of several answers.

    Parameters
    ----------
    body : VisionTransformer, or `Windows` of one, that reads the picture; a copy is taken
    answers : names of the answers
    vocabulary : the words that it knows
    fusion : how the two meet, one of `fusion.FUSIONS`
    layers, heads, feed_forward, dropout : of the fusion; its width is that of the body
    modality_dropout : share of training examples that lose their picture or their question
    processor : what is done to pixels; default from -1 to 1

    Attributes
    ----------
    history : History of its training, or None

    Example
    -------
    >>> asked = al.datasets.scenes.questions(al.datasets.load("mnist-5k"))  # doctest: +SKIP
    >>> model = train_answerer(asked, body)  # doctest: +SKIP
    >>> model.answer(asked.test.images[:1], ["which digit is at the top left?"])  # doctest: +SKIP
    """

    history: History | None = None

    def __init__(
        self,
        body: VisionTransformer | Windows,
        answers: Sequence[str],
        vocabulary: Sequence[str] = VOCABULARY,
        fusion: str = "cross-attention",
        *,
        layers: int = 2,
        heads: int = 4,
        feed_forward: int = 128,
        dropout: float = 0.0,
        modality_dropout: float = 0.0,
        processor: ImageProcessor | None = None,
    ):
        super().__init__()
        if fusion not in FUSIONS:
            raise ModelError(f"There is no fusion {fusion!r}. {suggest(fusion, FUSIONS)}")
        self.options: dict[str, Any] = {
            "answers": list(answers),
            "vocabulary": list(vocabulary),
            "fusion": fusion,
            "layers": layers,
            "heads": heads,
            "feed_forward": feed_forward,
            "dropout": dropout,
            "modality_dropout": modality_dropout,
        }
        size = body.size
        width = size["d_model"]
        self.body = headless(body)
        self.processor = processor or processor_for(body)
        self.words = Embedding(1 + len(vocabulary), width, dropout, max_length=64)
        before = int(body.cls is not None)
        patches = before + body.grid[0] * body.grid[1]
        self.places = nn.Parameter(0.02 * torch.randn(patches, width))
        self.modality_dropout = ModalityDropout(width, modality_dropout)
        sizes = (width, heads, layers, feed_forward, dropout)
        self.fusion = FUSIONS[fusion](len(self.answers), *sizes)
        self.patches = ["[CLS]"] * before + [
            f"{row},{column}" for row in range(body.grid[0]) for column in range(body.grid[1])
        ]

    @property
    def answers(self) -> list[str]:
        """Names of the answers."""
        return self.options["answers"]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.places.device

    def settings(self) -> HeadSettings:
        """Neutral settings of the heads of the fusion; ModelError if it has none."""
        if not len(self.fusion.layers):
            raise ModelError(f"The fusion {self.options['fusion']!r} has no attention to set.")
        return HeadSettings(len(self.fusion.layers), self.options["heads"])

    def forward(
        self,
        images: Tensor,
        questions: Tensor,
        settings: HeadSettings | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """Return logits over answers, shape (B, A).

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
        questions : Tensor of int, shape (B, T), ids of `encode`
        settings : scale and temperature of the heads of the fusion; those of cross-attention
            where it has one
        seen : a list that weights and values of each layer of the fusion are added to
        """
        mask = questions != PADDING
        text = self.words(questions)
        patches = self.body.encode(images) + self.places
        text, mask, patches = self.modality_dropout(text, mask, patches)
        heads = None
        if settings is not None:
            neutral = self.settings()
            layers, count = neutral.scale.shape
            settings.validate(layers, count, batch=len(images))
            heads = [
                {
                    name: getattr(settings, name)[..., layer, :].to(text)
                    for name in ("scale", "temperature")
                }
                for layer in range(len(self.fusion.layers))
            ]
        return self.fusion(text, mask, patches, heads, seen)

    def encode(self, questions: Sequence[str]) -> Tensor:
        """Ids of the words of questions, (B, T), with `PADDING` behind the shorter ones.

        Raises
        ------
        DataError : a word that the model does not know, or a question without words
        """
        return word_ids(questions, self.options["vocabulary"])

    @torch.no_grad()
    def answer(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        questions: Sequence[str],
        settings: HeadSettings | None = None,
    ) -> Predictions:
        """Answer N questions about N pictures: names of answers and probabilities (N, A).

        Parameters
        ----------
        images : uint8 array, (N, H, W) if grey or (N, H, W, 3) in colour
        questions : N questions
        settings : of the heads of the fusion, for this call only

        Raises
        ------
        DataError : pictures or words that the model does not read, or not as many of both
        ModelError : a model whose answers are not finite
        """
        if settings is not None:
            settings.validate_single(*self.settings().scale.shape)
        pixels, ids = self.processor.checked(images), self.encode(questions)
        if len(pixels) != len(ids):
            raise DataError(
                f"There are {len(pixels)} pictures and {len(ids)} questions. Give as many of both."
            )
        logits = [torch.empty(0, len(self.answers))]
        with evaluating(self):
            for rows in batches(len(ids)):
                given = self.processor.pixels(pixels[rows]).to(self.device)
                found = self(given, ids[rows].to(self.device), settings)
                logits.append(check_finite(self, found).float().cpu())
        chances = torch.cat(logits).softmax(-1)
        names = [self.answers[index] for index in chances.argmax(-1).tolist()]
        return Predictions(names, chances.numpy())

    def attend(
        self, image: np.ndarray, question: str, settings: HeadSettings | None = None
    ) -> CrossMaps:
        """Which word looks where, in every layer and head.

        Parameters
        ----------
        image : uint8 array, (H, W) or (H, W, 3)
        question : str
        settings : of the heads; with some that are not neutral the maps carry the neutral ones

        Returns
        -------
        CrossMaps, from the words (``target``) to the patches (``source``, "row,column" from 0)

        Raises
        ------
        ModelError : a fusion without cross-attention
        """
        if not isinstance(self.fusion, CrossAttention):
            raise ModelError(
                f"The fusion {self.options['fusion']!r} has no cross-attention from words to "
                "patches. Train one with fusion='cross-attention'."
            )
        neutral = self.settings()
        settings = neutral if settings is None else settings.copy()
        settings.validate_single(*neutral.scale.shape)
        before = None if settings.is_neutral() else self.attend(image, question)
        return _cross_maps(self, image, question, settings, before)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file that `load_answerer` reads."""
        pixels = vars(self.processor)
        about = {"body": body_record(self.body), "pixels": pixels, **self.options}
        return storing.write(path, self, about, self.history)

    def __repr__(self) -> str:
        return (
            f"Answerer({self.options['fusion']!r}, {len(self.fusion.layers)} layers x "
            f"{self.options['heads']} heads, {len(self.answers)} answers)"
        )


def load_answerer(path: str | os.PathLike[str]) -> Answerer:
    """Load one of `answerers`, a file of `Answerer.save`, or a folder of `train_answerer`.

    Raises ModelError where there is none.
    """

    def make(body: dict[str, Any], pixels: dict[str, Any], **options: Any) -> Answerer:
        return Answerer(make_body(**body), processor=ImageProcessor(**pixels), **options)

    return storing.read(path, FILE, "Answerer", make, answerers())


def answerers() -> dict[str, Path]:
    """Return the folders of the answerers that come with attnlab, by name."""
    return {
        file.parent.name: file.parent for file in sorted(bundled("answerers").glob(f"*/{FILE}"))
    }


def word_ids(questions: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """Ids of the words of questions, (B, T): 1 for the first of the vocabulary, then `PADDING`.

    Raises DataError for a word that is not in it, or a question without words.
    """
    if isinstance(questions, str):
        raise DataError("Expected a list of questions, not a str. Write [question] for one.")
    number = {word: index for index, word in enumerate(vocabulary, 1)}
    rows = []
    for question in questions:
        found = words(question)
        unknown = [word for word in found if word not in number]
        if not found:
            raise DataError(f"The question {question!r:.80} has no words.")
        if unknown:
            raise DataError(
                f"{question!r:.80}: this model does not know the word {unknown[0]!r}. "
                + suggest(unknown[0], number)
            )
        rows.append(torch.tensor([number[word] for word in found]))
    if not rows:
        return torch.zeros(0, 1, dtype=torch.long)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)


@torch.no_grad()
def _cross_maps(
    model: Answerer,
    image: np.ndarray,
    question: str,
    settings: HeadSettings,
    neutral: CrossMaps | None,
) -> CrossMaps:
    """Attention of the words to the patches, for one picture and question."""
    seen: Seen = []
    with evaluating(model):
        pixels = model.processor.pixels(model.processor.checked([image])).to(model.device)
        ids = model.encode([question]).to(model.device)
        check_finite(model, model(pixels, ids, settings, seen))
    weights = torch.stack([layer[0][0] for layer in seen]).float().cpu()  # (L, H, T, N)
    norms = [
        value_norms(layer.cross_attention.output.weight, values)[0].cpu()  # (H, N)
        for layer, (_, values) in zip(model.fusion.layers, seen, strict=True)
    ]
    scaled = weights * settings.scale.detach()[:, :, None, None]
    contributions = scaled * torch.stack(norms)[:, :, None]
    return CrossMaps(model.patches, words(question), weights, contributions, settings, neutral)


def __dir__() -> list[str]:
    return sorted(__all__)
