"""A reading aid: lines of print from a picture, how sure each letter is, and where it was read.

A reader learns from lines that code renders (`datasets.printed`). Its cross-attention points at the
letter being read; the encoder was told in training which letter stands in each column, the decoder,
whose attention that is, was not.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.applications.edits import edit_distance
from attnlab.applications.line_model import BEHIND, COLUMN, END, PADDING, START, LineTransformer
from attnlab.applications.line_pieces import Piece, pieces_of
from attnlab.datasets.pages import ink_of
from attnlab.datasets.printed import CHARACTERS, HEIGHT, PrintedDataset
from attnlab.device import device as default_device
from attnlab.errors import DataError, ModelError
from attnlab.files import bundled
from attnlab.inference import check_finite, evaluating
from attnlab.training.history import History
from attnlab.training.stepping import train_steps
from attnlab.transformer import greedy
from attnlab.vision import storing

__all__ = ["Reader", "Reading", "load_reader", "readers"]

FILE = "reader.safetensors"
_TOGETHER = 64  # pieces that are read at once
_WIDTHS = 32  # widths of batches are multiples of this: kernels are compiled for each anew
_IGNORED = -100  # label of a column that does not count in the loss


@dataclass(frozen=True, eq=False)
class Reading:
    """What stands in a picture of a line.

    Attributes
    ----------
    text : str of T characters
    probabilities : float array (T,), of each character given the ones before. Where a long line was
        cut in a gap between words, the space has probability 1: it was measured and not read.
    where : float array (T,), x in pixels of the picture: the centre of the cross-attention
    alternatives : for each character the likeliest ones with their probabilities, best first; ""
        stands for the end of the line
    attention : float array (T, S), over columns of the picture; each row sums to 1
    columns : float array (S,), x of their middles in pixels of the picture
    end : probability that the line ends behind the last character
    """

    text: str
    probabilities: np.ndarray
    where: np.ndarray
    alternatives: list[list[tuple[str, float]]]
    attention: np.ndarray
    columns: np.ndarray
    end: float

    def marked(self, unsure: float = 0.9) -> str:
        """The text, with characters whose probability is below ``unsure`` in brackets: k[in]g."""
        told, inside = "", False
        for character, probability in zip(self.text, self.probabilities, strict=True):
            if (probability < unsure) != inside:
                told += "]" if inside else "["
                inside = not inside
            told += character
        return told + "]" * inside


class Reader:
    """Reads pictures of lines of print.

    Parameters
    ----------
    model : LineTransformer
    characters : the characters that it knows, in their order
    pointer : layer of the decoder whose cross-attention, mean over heads, says where it reads

    Attributes
    ----------
    history : History of its training, or None
    """

    def __init__(self, model: LineTransformer, characters: str = CHARACTERS, pointer: int = -1):
        if model.hint.out_features != END + 1 + len(characters):
            raise ModelError(
                f"The model writes {model.hint.out_features - END - 1} characters and there are "
                f"{len(characters)}. Give those that it was made with."
            )
        if not -len(model.decoder) <= pointer < len(model.decoder):
            raise ModelError(
                f"pointer is {pointer}; it is one of the {len(model.decoder)} layers of the decoder"
                ", counted from 0, or from the end with a minus."
            )
        self.model, self.characters, self.pointer = model, characters, pointer
        self.history: History | None = None

    @classmethod
    def train(
        cls,
        train: PrintedDataset,
        dev: PrintedDataset,
        *,
        model: dict[str, Any] | None = None,
        hint: float = 0.5,
        steps: int = 4000,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        seed: int = 0,
        **options: Any,
    ) -> "Reader":
        """Train a reader from nothing; return it at its best epoch on dev.

        Parameters
        ----------
        train, dev : lines of `datasets.printed.make`
        model : keywords of `LineTransformer`: d_model, heads, encoder_layers, ...
        hint : weight of the second loss, which asks the encoder for the letter in each column, so
            that it need not wait until the decoder has found where to look. The decoder, whose
            attention is the pointer, is not told where letters stand.
        steps, batch_size, learning_rate, seed, **options : of `training.train_steps`

        Returns
        -------
        Reader, whose history has ``dev_right``, 1 - character error rate, and ``dev_exact``
        """
        for data, name in ((train, "train"), (dev, "dev")):
            if not isinstance(data, PrintedDataset) or not len(data):
                raise DataError(
                    f"{name} holds no printed lines. Draw some: datasets.printed.make(1000)."
                )
        torch.manual_seed(seed)
        network = LineTransformer(len(CHARACTERS), HEIGHT, **model or {}).to(default_device())
        made = cls(network)
        targets = [made.ids(text) for text in train.texts]

        def batch(indices: np.ndarray) -> dict[str, Tensor]:
            rows = [int(index) for index in indices]
            return {
                "pixels": _padded([ink_of(train.images[row]) for row in rows]),
                "ids": _stacked([[START, *targets[row], END] for row in rows], PADDING),
                "letters": _stacked(
                    [
                        _letters(targets[row], train.boxes[row], train.images[row].shape[1])
                        for row in rows
                    ],
                    _IGNORED,
                ),
            }

        def loss(model: LineTransformer, pixels: Tensor, ids: Tensor, letters: Tensor) -> Tensor:
            memory = model.encode(pixels)
            logits = model.decode(ids[:, :-1], memory)
            written = nn.functional.cross_entropy(
                logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PADDING
            )
            columns = model.hint(memory.states[:, : letters.shape[1]]).flatten(0, 1)
            seen = nn.functional.cross_entropy(columns, letters.flatten(), ignore_index=_IGNORED)
            return written + hint * seen

        def evaluate() -> dict[str, float]:
            found = [reading.text for reading in made.read(dev.images, alternatives=1)]
            wrong = [edit_distance(*pair) for pair in zip(found, dev.texts, strict=True)]
            return {
                "dev_right": 1 - sum(wrong) / sum(map(len, dev.texts)),
                "dev_exact": float(np.mean([not count for count in wrong])),
            }

        made.history = train_steps(
            network,
            loss,
            len(train),
            batch,
            evaluate,
            tokens=train.widths,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            choose_by="dev_right",
            learner=made,
            **options,
        )
        return made

    def ids(self, text: str) -> list[int]:
        """Ids of the characters of a text; DataError for one that the reader does not know."""
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            raise DataError(
                f"{text!r:.60} has {unknown[0]!r}, which this reader does not know. It knows "
                f"{self.characters!r}."
            )
        return [END + 1 + self.characters.index(character) for character in text]

    def read(self, images: Sequence[np.ndarray], alternatives: int = 3) -> list[Reading]:
        """Read pictures, each of one line; `datasets.pages.cut_lines` cuts a page into lines.

        Parameters
        ----------
        images : uint8 arrays, (H, W) if grey or (H, W, 3) in colour, of any sizes; dark on light or
            light on dark. One that is 32 pixels high is read as it is; any other is scaled so that
            its ink is 22 pixels high. A longer line than about 24 characters is cut at gaps between
            words and read in pieces.
        alternatives : how many to name for each character

        Raises
        ------
        DataError : a picture that is no such array, or with nothing on it
        ModelError : a model whose answers are not finite
        """
        if isinstance(images, np.ndarray) and images.ndim == 2:
            raise DataError("Expected a list of pictures, not one. Write [image] for one.")
        pieces = [pieces_of(image, f"Picture {row}") for row, image in enumerate(images)]
        flat = [piece for own in pieces for piece in own]
        found: dict[int, Reading] = {}
        order = np.argsort([piece.ink.shape[1] for piece in flat], kind="stable")
        for start in range(0, len(flat), _TOGETHER):  # of like width together
            rows = order[start : start + _TOGETHER].tolist()
            read = self._read([flat[row] for row in rows], alternatives)
            found |= dict(zip(rows, read, strict=True))
        rows_of = iter(range(len(flat)))
        return [_joined([(piece, found[next(rows_of)]) for piece in own]) for own in pieces]

    @torch.no_grad()
    def _read(self, pieces: list[Piece], alternatives: int) -> list[Reading]:
        """Read pieces together: write first, then ask once more for what each step considered."""
        model = self.model
        pixels = _padded([piece.ink for piece in pieces]).to(next(model.parameters()).device)
        with evaluating(model):
            written = greedy(model, pixels, START, END, model.size["max_length"] - 1)
            given = _stacked([[START, *ids] for ids in written], PADDING).to(pixels.device)
            output = model(pixels, given, return_weights=True)
        logits = check_finite(model, output.logits.float())
        logits[..., [PADDING, START]] = -torch.inf
        chances = logits.softmax(-1).cpu()
        weights = output.attention["cross"][self.pointer][0].float().mean(1).cpu().numpy()
        names = ["", "", "", *self.characters]
        found = []
        for row, (piece, ids) in enumerate(zip(pieces, written, strict=True)):
            count, columns = len(ids), -(-piece.ink.shape[1] // COLUMN)
            best = chances[row, :count].topk(min(alternatives, len(names)), -1)
            attention = weights[row, :count, :columns]
            middles = piece.left + (COLUMN * np.arange(columns) + 0.5) * piece.scale
            found.append(
                Reading(
                    "".join(names[number] for number in ids),
                    chances[row, range(count), ids].numpy(),
                    attention @ middles,
                    [
                        [(names[number], chance) for number, chance in zip(*step, strict=True)]
                        for step in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                    ],
                    attention,
                    middles,
                    float(chances[row, count, END]),
                )
            )
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .safetensors file, in float16, that `load_reader` reads."""
        size = {
            name: value
            for name, value in self.model.size.items()
            if name not in ("source_vocabulary", "target_vocabulary", "removed", "padding")
        }
        about = {"characters": self.characters, "pointer": self.pointer, "size": size}
        return storing.write(path, self.model, about, self.history, torch.float16, "Reader")

    def __repr__(self) -> str:
        model = self.model
        return (
            f"Reader({len(model.encoder)} + {len(model.decoder)} layers x {model.size['heads']} "
            f"heads, {len(self.characters)} characters)"
        )


def load_reader(path: str | os.PathLike[str] = "printed") -> Reader:
    """Load one of `readers`, or a file of `Reader.save`; ModelError where there is none."""
    about: dict[str, Any] = {}

    def make(characters: str, pointer: int, size: dict[str, Any]) -> LineTransformer:
        about.update(characters=characters, pointer=pointer)
        return LineTransformer(len(characters), HEIGHT, **size)

    model = storing.read(path, FILE, "Reader", make, readers())
    reader = Reader(model, **about)
    reader.history = model.history
    return reader


def readers() -> dict[str, Path]:
    """Return the folders of the readers that come with attnlab, by name."""
    return {file.parent.name: file.parent for file in sorted(bundled("readers").glob(f"*/{FILE}"))}


def _padded(inks: Sequence[np.ndarray]) -> Tensor:
    """Pictures of one width, (B, 32, W), `BEHIND` behind their ends."""
    width = max(ink.shape[1] for ink in inks)
    width += -width % _WIDTHS
    pixels = torch.full((len(inks), HEIGHT, width), BEHIND)
    for row, ink in enumerate(inks):
        pixels[row, :, : ink.shape[1]] = torch.from_numpy(np.ascontiguousarray(ink))
    return pixels


def _stacked(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filling)


def _letters(ids: Sequence[int], boxes: np.ndarray, width: int) -> list[int]:
    """For each column the id of the character in whose box its middle lies; `PADDING` for none."""
    middles = COLUMN * np.arange(-(-width // COLUMN)) + 0.5
    place = np.searchsorted(boxes[:, 0], middles, side="right") - 1
    inside = (place >= 0) & (middles < boxes[-1, 0] + boxes[-1, 2])
    return np.where(inside, np.array(ids)[place.clip(0)], PADDING).tolist()


def _joined(parts: list[tuple[Piece, Reading]]) -> Reading:
    """One reading of the pieces of a line, with a space where it was cut at one."""
    if len(parts) == 1:
        return parts[0][1]
    text, end = "", 1.0
    probabilities: list[float] = []
    alternatives: list[list[tuple[str, float]]] = []
    columns = np.concatenate([reading.columns for _, reading in parts])
    rows: list[np.ndarray] = []
    start = 0
    for piece, reading in parts:
        if piece.space and text:
            text, probabilities = text + " ", [*probabilities, 1.0]
            alternatives.append([(" ", 1.0)])
            rows.append(np.eye(1, len(columns), start)[0])
        text += reading.text
        probabilities += reading.probabilities.tolist()
        alternatives += reading.alternatives
        wide = np.zeros((len(reading.text), len(columns)))
        wide[:, start : start + len(reading.columns)] = reading.attention
        rows += list(wide)
        start += len(reading.columns)
        end = min(end, reading.end)
    attention = np.array(rows).reshape(len(text), len(columns))
    return Reading(
        text, np.array(probabilities), attention @ columns, alternatives, attention, columns, end
    )


def __dir__() -> list[str]:
    return sorted(__all__)
