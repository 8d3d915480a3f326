"""Image classifiers by name: a folder's, ours, or from the Hugging Face hub."""

import os
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from transformers import AutoModelForImageClassification

from attnlab.classification.belonging import label_names_of
from attnlab.classification.failures import explained
from attnlab.classification.loading import load_weights, read_configuration
from attnlab.classification.naming import located
from attnlab.classification.saving import quietly
from attnlab.device import device as default_device
from attnlab.errors import ModelError
from attnlab.files import bundled, read_json, understood
from attnlab.vision.image_classifier import FAMILIES, PROCESSOR, ImageClassifier
from attnlab.vision.pixels import ImageProcessor

__all__ = ["image_models", "load_image_classifier"]


def load_image_classifier(
    name: str | os.PathLike[str], device: torch.device | str | None = None
) -> ImageClassifier:
    """Load an image classifier.

    Parameters
    ----------
    name : a folder that `ImageClassifier.save` or `train_image_classifier` wrote; one of ours, see
        `image_models`; or a name on the Hugging Face hub of any ViT for image classification
    device : default: the first GPU, else the CPU

    Raises
    ------
    ModelError : no such model, another family, weights not in safetensors; parts that do not belong
        together: weights, configuration, labels, image processor; a model that does not choose one
        label of several
    """
    cure = "Make one with al.vision.train_image_classifier(splits, out=...)."
    place = located(name, "image classifier", cure, image_models())
    with explained(place), quietly():
        config = read_configuration(place, weights=True)
        if config.model_type not in FAMILIES:
            raise ModelError(
                f"{str(name)!r} is a {config.model_type!r} model, and image classifiers here are "
                f"vision Transformers of the families {', '.join(FAMILIES)}. For classifiers of "
                "texts there is al.load_classifier."
            )
        processor = _processor(place, config)
        model = load_weights(place, config, AutoModelForImageClassification)
        clf = ImageClassifier(model, label_names_of(config), processor)
    clf.loaded_from = str(name)
    return clf.to(default_device() if device is None else torch.device(device))


def image_models() -> dict[str, Path]:
    """Return the folders of the image classifiers that come with attnlab, by name."""
    configurations = sorted(bundled("image-classifiers").glob("*/config.json"))
    return {configuration.parent.name: configuration.parent for configuration in configurations}


def _processor(place: str | Path, config: Any) -> ImageProcessor:
    """What is done to pixels; ModelError if nobody says it."""
    if Path(place).is_dir():
        file = Path(place) / PROCESSOR
        if not file.exists():
            raise ModelError(
                f"{str(place)!r} has no {PROCESSOR}, so it is not known how pixels become numbers "
                "(size, mean, std). Save the image processor that the model was trained with "
                "beside it: processor.save_pretrained(folder)."
            )
    else:
        file = Path(huggingface_hub.hf_hub_download(str(place), PROCESSOR))
    with understood(file, "Save the image processor again beside the model."):
        return ImageProcessor.of_record(read_json(file), config)


def __dir__() -> list[str]:
    return sorted(__all__)
