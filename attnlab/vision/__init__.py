"""Pictures read by attention: patches for tokens, and the same heads as in a text.

`patches` and `vision_transformer` are the model, `hub` makes a ViT of Transformers of it,
`image_classifier` asks one and shows where it looks, `looking` tells which patches count for the
answer, `training` trains one from nothing. `locating`
says what and where, `detecting` does for several things; `fusion` and `asking` join a question and
a picture, `modality` shows which of the two an answer used, `retrieval` finds pictures by words.
"""

from attnlab.vision import boxes
from attnlab.vision.answer_training import fit_answerer, train_answerer
from attnlab.vision.asking import Answerer, answerers, load_answerer
from attnlab.vision.augmentation import Augmentation
from attnlab.vision.bodies import Windows
from attnlab.vision.detecting import Detector, load_detector, score_detections, train_detector
from attnlab.vision.fusion import FUSIONS
from attnlab.vision.hub import from_transformers, to_transformers
from attnlab.vision.image_classifier import ImageClassifier
from attnlab.vision.loading import image_models, load_image_classifier
from attnlab.vision.locating import (
    Locator,
    cut_out,
    joint_loss,
    load_locator,
    score_located,
    train_locator,
)
from attnlab.vision.looking import attention_rollout, occlusion, over_patches, rank_agreement
from attnlab.vision.modality import ModalityUse, modality_use
from attnlab.vision.patches import PatchEmbedding, patchify, unpatchify
from attnlab.vision.retrieval import SharedSpace, contrastive_loss, recall_at
from attnlab.vision.training import fit, train_image_classifier, untrained
from attnlab.vision.vision_transformer import VisionTransformer

__all__ = [
    "FUSIONS",
    "Answerer",
    "Augmentation",
    "Detector",
    "ImageClassifier",
    "Locator",
    "ModalityUse",
    "PatchEmbedding",
    "SharedSpace",
    "VisionTransformer",
    "Windows",
    "answerers",
    "attention_rollout",
    "boxes",
    "contrastive_loss",
    "cut_out",
    "fit",
    "fit_answerer",
    "from_transformers",
    "image_models",
    "joint_loss",
    "load_answerer",
    "load_detector",
    "load_image_classifier",
    "load_locator",
    "modality_use",
    "occlusion",
    "over_patches",
    "patchify",
    "rank_agreement",
    "recall_at",
    "score_detections",
    "score_located",
    "to_transformers",
    "train_answerer",
    "train_detector",
    "train_image_classifier",
    "train_locator",
    "unpatchify",
    "untrained",
]


def __dir__() -> list[str]:
    return sorted(__all__)
