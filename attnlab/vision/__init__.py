"""Pictures read by attention: patches for tokens, and the same heads as in a text.

`patches` and `vision_transformer` are the model, `hub` makes a ViT of Transformers of it,
`image_classifier` asks one and shows where it looks, `training` trains one from nothing.
"""

from attnlab.vision.augmentation import Augmentation
from attnlab.vision.hub import from_transformers, to_transformers
from attnlab.vision.image_classifier import ImageClassifier
from attnlab.vision.loading import load_image_classifier
from attnlab.vision.patches import PatchEmbedding, patchify, unpatchify
from attnlab.vision.training import fit, train_image_classifier, untrained
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = [
    "Augmentation",
    "ImageClassifier",
    "PatchEmbedding",
    "VisionTransformer",
    "fit",
    "from_transformers",
    "load_image_classifier",
    "patchify",
    "to_transformers",
    "train_image_classifier",
    "unpatchify",
    "untrained",
]


def __dir__() -> list[str]:
    return sorted(__all__)
