"""Train a vision Transformer from nothing on labelled images."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlab.classification.saving import check_out
from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.device import device as default_device
from attnlab.device import is_main_process
from attnlab.errors import DataError
from attnlab.inference import evaluating
from attnlab.training.callbacks import Callback
from attnlab.training.history import History
from attnlab.training.stepping import hashed, train_steps
from attnlab.vision.augmentation import Augmentation
from attnlab.vision.bodies import body_record
from attnlab.vision.hub import refuse_other_shapes, to_transformers
from attnlab.vision.image_classifier import ImageClassifier
from attnlab.vision.pixels import EncodedImages, ImageProcessor
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = ["USUAL", "fit", "processor_of", "train_image_classifier", "untrained"]

USUAL = Augmentation()  # what training images go through unless told otherwise
_TOKENS_PER_BATCH = 8192  # of dev


def train_image_classifier(
    splits: Splits,
    out: str | os.PathLike[str] | None = None,
    *,
    patch: int = 7,
    d_model: int = 64,
    heads: int = 4,
    layers: int = 4,
    dropout: float = 0.0,
    model: dict[str, Any] | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    augment: Augmentation | None = USUAL,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> ImageClassifier:
    """Train a vision Transformer from nothing; return it at its best epoch on dev.

    Parameters
    ----------
    splits : of `ImageDataset`, with train and dev parts
    out : folder for the result and, while training, a checkpoint; `load_image_classifier` reads it
    patch : side of a patch in pixels; it must divide height and width of the images
    d_model, heads, layers, dropout : of the `VisionTransformer`
    model : other keywords of it that Transformers' ViT has, too, such as feed_forward
    steps : how many are taken, whatever the number of images; dev is measured after every epoch
    batch_size : images to a step
    learning_rate : at its highest; it rises over the first 6 % of the steps and falls to 0 linearly
    augment : random changes of the training images; None for none
    dtype : number format of what is computed; default that of `device.number_format` on a GPU,
        float32 on a CPU
    resume : go on from the checkpoint in ``out``
    overwrite : put the result in place of one that is in ``out`` already
    callbacks : of `training.Callback`, with the VisionTransformer as ``run.learner``
    **recipe : other fields of `training.Recipe`: warmup, weight_decay, max_grad_norm,
        micro_batches, patience

    Returns
    -------
    ImageClassifier with ``.history``, whose rows have ``dev_accuracy`` and ``dev_loss``

    Raises
    ------
    DataError : no images to train on or for dev, of several sizes, or with one label only
    ModelError : a size that cannot be, or that Transformers' ViT does not have; a folder that holds
        something else, or a finished result

    See Also
    --------
    fit : trains a `VisionTransformer` of any kind, also one with a stem or another pool, which
        stays one
    """
    _check(splits)
    check_out(out, resume, overwrite, "al.load_image_classifier")
    network = untrained(
        splits,
        seed=seed,
        patch=patch,
        d_model=d_model,
        heads=heads,
        layers=layers,
        dropout=dropout,
        **model or {},
    )
    refuse_other_shapes(network.size)
    history = fit(
        network,
        splits,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augment=augment,
        dtype=dtype,
        seed=seed,
        folder=out,
        resume=resume,
        callbacks=callbacks,
        **recipe,
    )
    names = splits.train.label_names
    clf = ImageClassifier(to_transformers(network, names), names, processor_of(splits), history)
    if out is not None and is_main_process():
        clf.save(out)
    return clf


def untrained(splits: Splits, *, seed: int = 0, **model: Any) -> VisionTransformer:
    """Make a vision Transformer for these images that has learned nothing, for `fit`.

    Parameters
    ----------
    splits : of `ImageDataset` or `SceneDataset`, whose label names are the classes
    seed : of the weights
    **model : keywords of `VisionTransformer`: patch, d_model, heads, layers, pool, positions, stem,
        ...
    """
    processor = processor_of(splits)
    torch.manual_seed(seed)
    made = VisionTransformer(
        (processor.height, processor.width),
        classes=len(splits.train.label_names),
        channels=processor.channels,
        **model,
    )
    return made.to(default_device())


def fit(
    model: VisionTransformer,
    splits: Splits,
    *,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    augment: Augmentation | None = USUAL,
    dtype: torch.dtype | str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    **recipe: Any,
) -> History:
    """Train a vision Transformer in place, and leave it at its best epoch on dev.

    Parameters
    ----------
    model : VisionTransformer, of `untrained` or trained before
    folder : where a checkpoint is kept while it is trained, and stays
    splits, steps, batch_size, learning_rate, augment, dtype, seed, resume, callbacks, **recipe : as
        for `train_image_classifier`
    """
    _check(splits)
    data, dev = (_Labelled.of(model, splits, part) for part in ("train", "dev"))

    def batch(indices: np.ndarray) -> dict[str, Tensor]:
        pixels = data.encoded.batch(indices)["pixel_values"]
        pixels = pixels if augment is None else augment(pixels)
        return {"images": pixels, "labels": data.labels[indices]}

    def loss(model: VisionTransformer, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images), labels)

    return train_steps(
        model,
        loss,
        len(data.labels),
        batch,
        _measuring(model, dev),
        tokens=data.encoded.tokens,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dtype=dtype,
        seed=seed,
        folder=folder,
        resume=resume,
        identity={
            "body": body_record(model),
            "augment": None if augment is None else vars(augment),
            "training_images": hashed(data.encoded.images, data.labels),
            "dev_images": hashed(dev.encoded.images, dev.labels),
        },
        callbacks=callbacks,
        **recipe,
    )


def processor_of(splits: Splits) -> ImageProcessor:
    """Return how the pixels of these images become numbers from -1 to 1."""
    shape = splits.train.images.shape
    return ImageProcessor(shape[1], shape[2], 1 if len(shape) == 3 else shape[3])


@dataclass(frozen=True)
class _Labelled:
    """Images for a model, and their labels in its numbering."""

    encoded: EncodedImages
    labels: Tensor

    @classmethod
    def of(cls, model: VisionTransformer, splits: Splits, part: str) -> "_Labelled":
        dataset, processor = getattr(splits, part), processor_of(splits)
        tokens = model.grid[0] * model.grid[1] + (model.cls is not None)
        encoded = EncodedImages(processor.checked(dataset.images), tokens, processor)
        labels = dataset.labels_in(splits.train.label_names)
        return cls(encoded, torch.tensor(labels))


def _measuring(model: VisionTransformer, dev: _Labelled) -> Callable[[], dict[str, float]]:
    """What is measured after every epoch."""

    def measure() -> dict[str, float]:
        device = next(model.parameters()).device
        logits = torch.empty(len(dev.labels), model.size["classes"])
        with evaluating(model), torch.inference_mode():
            for rows in dev.encoded.batches(max_tokens=_TOKENS_PER_BATCH):
                pixels = dev.encoded.batch(rows)["pixel_values"]
                logits[rows] = model(pixels.to(device)).float().cpu()
        return {
            "dev_accuracy": float((logits.argmax(-1) == dev.labels).double().mean()),
            "dev_loss": float(nn.functional.cross_entropy(logits, dev.labels)),
        }

    return measure


def _check(splits: Splits) -> None:
    """Raise DataError for splits that an image classifier cannot be trained on."""
    for part in ("train", "dev"):
        data = getattr(splits, part)
        if not isinstance(data, ImageDataset):
            raise DataError(
                f"{data!r} holds no labelled images. Use al.datasets.load('mnist-5k'), or images "
                "of your own: al.datasets.images_from_folder."
            )
        if not len(data):
            raise DataError(f"{splits!r} leaves nothing for {part}.")
    if splits.train.images.shape[1:] != splits.dev.images.shape[1:]:
        raise DataError(
            f"The images for training have the shape {splits.train.images.shape[1:]} and those of "
            f"dev {splits.dev.images.shape[1:]}. Bring all to one size, grey or in colour."
        )
    if len(set(splits.train.labels)) < 2:
        several = len(splits.train.label_names) > 1
        raise DataError(
            f"All {len(splits.train)} training images have one label, so there is nothing to tell "
            f"apart. Add {'more images of each label' if several else 'images with other labels'}."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
