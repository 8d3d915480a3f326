"""Tiny vision Transformers, and pictures that they answer."""

import numpy as np
import torch
from transformers import AutoModelForImageClassification, DeiTConfig, ViTConfig

from attnlab.datasets.pictures import ImageDataset
from attnlab.datasets.splits import Splits
from attnlab.vision import ImageClassifier

NAMES = ["bad", "fair", "good"]
_SIZE = {
    "image_size": (8, 12),
    "patch_size": 4,
    "num_channels": 1,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "id2label": dict(enumerate(NAMES)),
    "label2id": {name: index for index, name in enumerate(NAMES)},
}
CONFIGS = {"vit": ViTConfig, "deit": DeiTConfig}


def tiny_vit(family="vit", **changes):
    """A tiny model with random weights, large enough that every head matters."""
    torch.manual_seed(0)
    config = CONFIGS[family](**_SIZE | changes)
    config.architectures = [f"{'ViT' if family == 'vit' else 'DeiT'}ForImageClassification"]
    model = AutoModelForImageClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.mul_(8)
    return model


def tiny_image_classifier(family="vit", **changes):
    return ImageClassifier(tiny_vit(family, **changes), NAMES)


def images(count=6, shape=(8, 12), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def answered(clf, count=60):
    """Images with the answers of a classifier as their labels, some of them wrong."""
    given = images(count, (clf.processor.height, clf.processor.width))
    labels = clf.logits(clf.encode(given)).argmax(-1).tolist()
    labels[::7] = [(label + 1) % 3 for label in labels[::7]]
    return ImageDataset(given, labels, clf.label_names, "made up")


def bars(count=120, side=8, seed=0):
    """Pictures of a bright row or a bright column: easy to tell apart."""
    generator = np.random.default_rng(seed)
    given = generator.integers(0, 60, (count, side, side)).astype(np.uint8)
    labels = generator.integers(0, 2, count).tolist()
    for image, label, place in zip(given, labels, generator.integers(0, side, count), strict=True):
        image[place if label else slice(None), slice(None) if label else place] = 250
    return ImageDataset(given, labels, ["column", "row"], "bars")


def bar_splits(train=96, dev=48, test=24):
    return Splits(bars(train, seed=0), bars(dev, seed=1), bars(test, seed=2))
