"""A vision Transformer as classifier of images: predict, attend, save."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.base import BaseClassifier, Predictions
from attnlab.classification.belonging import check_labels
from attnlab.classification.saving import quietly, whole_folder
from attnlab.classification.structure import write_model
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.errors import DataError, ModelError
from attnlab.files import atomic_write
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.training.history import History
from attnlab.vision.pixels import EncodedImages, ImageProcessor, image_size

__all__ = ["ImageClassifier"]

FAMILIES = ("vit", "deit")
PROCESSOR = "preprocessor_config.json"  # where Transformers keeps what is done to pixels
_BEFORE = ("[CLS]", "[DIST]")  # tokens that stand before the patches

Images = np.ndarray | Sequence[np.ndarray]


class ImageClassifier(BaseClassifier):
    """A vision Transformer that chooses one label for an image.

    Whatever takes a `Classifier` and texts to measure or change heads takes this and images:
    `heads.applied`, `heads.prune`, `heads.self_check`, `Evaluator`, `ablate`, `pruning_curve`.

    Attributes
    ----------
    model : a ViTForImageClassification of Transformers in float32, usable on its own
    processor : ImageProcessor, what is done to pixels before the model reads them
    label_names : list of C str
    layers, heads : size of its attention; heads removed for good still count
    grid : rows and columns of patches
    patch : height and width of a patch, in pixels
    device : torch.device
    history : History of its training, if it was trained here

    Raises
    ------
    ModelError : parts that do not belong together, or a model that does not choose one label of
        several
    """

    task = "ForImageClassification"
    reads = "images"

    def __init__(
        self,
        model: Any,
        label_names: list[str],
        processor: ImageProcessor | None = None,
        history: History | None = None,
    ):
        label_names = list(label_names)
        _check_model(model, self.task)
        check_labels(model, label_names)
        height, width = image_size(model.config)
        if processor is None:
            processor = ImageProcessor(height, width, model.config.num_channels)
        _check_processor(model.config, processor)
        self.model: Any = heads.attach(model.eval())
        self.processor = processor
        self.label_names = label_names
        self.history = history
        self.layers, self.heads = heads.size(model)
        side = model.config.patch_size
        self.patch = (side, side) if isinstance(side, int) else (side[0], side[1])
        self.grid = height // self.patch[0], width // self.patch[1]
        positions = model.base_model.embeddings.position_embeddings
        self._before = list(_BEFORE[: positions.shape[1] - self.grid[0] * self.grid[1]])

    @property
    def tokenizer(self) -> Any:
        """Raise ModelError: images are cut into patches, and there is none."""
        raise ModelError(
            "An ImageClassifier reads images and has no tokenizer. What was called is for texts: "
            "give it a classifier of texts, such as al.load_classifier('movie-sentiment')."
        )

    def with_model(self, model: Any) -> "ImageClassifier":
        """Return the same labels and image processor around another model."""
        return ImageClassifier(model, self.label_names, self.processor, self.history)

    def encode(self, images: Images) -> EncodedImages:
        """Check images; raises DataError for others than the model reads.

        Parameters
        ----------
        images : uint8 array, (N, H, W) if grey or (N, H, W, 3) in colour; or a list of such images
        """
        tokens = len(self._before) + self.grid[0] * self.grid[1]
        return EncodedImages(self.processor.checked(images), tokens, self.processor)

    def inputs_of(self, dataset: Any) -> np.ndarray:
        """Return the images of a labelled data set; DataError for another kind of data set."""
        if isinstance(dataset, Splits):
            raise DataError(f"{dataset!r} is in three parts. Give one of them, such as splits.dev.")
        if not isinstance(dataset, ImageDataset):
            raise DataError(
                f"{dataset!r} holds no labelled images, and this classifier reads images. Use "
                "al.datasets.load('mnist-5k'), or al.datasets.images_from_folder(folder)."
            )
        return dataset.images

    def predict(self, images: Images, settings: HeadSettings | None = None) -> Predictions:
        """Answer images: return N label names and probabilities (N, C).

        Parameters
        ----------
        images : as for `encode`
        settings : HeadSettings for this call only; a stack gives each image its own

        Dropout is off, so the answer is the same each time, also while the model is trained: its
        mode comes back. ModelError for a model whose answers are not finite.
        """
        return self._predictions(self.encode(images), settings)

    def attend(self, image: np.ndarray, settings: HeadSettings | None = None) -> AttentionMaps:
        """Return the attention of every layer and head over one image, (H, W) or (H, W, 3).

        The tokens are "[CLS]" and a "row,column" for each patch, both from 0. With settings that
        are not neutral the result carries the neutral maps too. Without, those of an `applied`
        block around the call hold.
        """
        encoded = self.encode([image])
        rows, columns = self.grid
        patches = [f"{row},{column}" for row in range(rows) for column in range(columns)]
        return self._maps(
            encoded,
            settings,
            tokens=self._before + patches,
            special=torch.arange(encoded.tokens) < len(self._before),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and image processor for `load_image_classifier`; whole or not at all.

        Transformers reads the folder, too, unless heads were removed for good.
        """
        self.model.config.id2label = dict(enumerate(self.label_names))
        self.model.config.label2id = {name: index for index, name in enumerate(self.label_names)}
        with whole_folder(folder) as partial, quietly():
            write_model(self.model, partial)
            record = json.dumps(self.processor.record(), indent=2) + "\n"
            atomic_write(partial / PROCESSOR, record.encode())
        return Path(folder)


def _check_model(model: Any, task: str) -> None:
    plain = heads.model_of(model)
    config: Any = plain.config
    if not type(plain).__name__.endswith(task) or config.model_type not in FAMILIES:
        raise ModelError(
            f"Expected a vision Transformer {task} of the families {', '.join(FAMILIES)}, got "
            f"{type(plain).__name__}. AutoModel{task} loads one, al.load_image_classifier with "
            "what belongs to it."
        )
    if config.num_labels < 2 or config.problem_type in ("regression", "multi_label_classification"):
        raise ModelError(
            f"This model has {config.num_labels} outputs and the problem type "
            f"{config.problem_type!r}; an ImageClassifier chooses one label of two or more, so its "
            "probabilities would be wrong."
        )


def _check_processor(config: Any, processor: ImageProcessor) -> None:
    given = (processor.height, processor.width, processor.channels)
    wanted = (*image_size(config), config.num_channels)
    if given != wanted:
        raise ModelError(
            f"The image processor makes images of {given[0]} x {given[1]} pixels and {given[2]} "
            f"channels, and the model reads {wanted[0]} x {wanted[1]} and {wanted[2]}: they do not "
            "belong together. Give the one that the model was trained with."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
