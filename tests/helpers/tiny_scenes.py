"""Tiny pictures with boxes, and ten made-up digits, for models that locate and answer."""

import numpy as np
import torch

from attnlab.datasets.pictures import ImageDataset, SceneDataset
from attnlab.datasets.splits import Splits
from attnlab.vision import VisionTransformer

SIDE = 16
NAMES = ["dark", "bright"]


def rectangles(count, most=1, seed=0):
    """Scenes of up to so many rectangles in different quarters, dark or bright."""
    draw = np.random.default_rng(seed)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    labels, boxes = [], []
    for image in images:
        quarters = draw.permutation(4)[: draw.integers(1, most + 1)]
        labels.append(draw.integers(0, 2, len(quarters)).tolist())
        boxes.append(np.zeros((len(quarters), 4), np.float32))
        for quarter, label, box in zip(quarters, labels[-1], boxes[-1], strict=True):
            width, height = draw.integers(4, 8, 2)
            x = 8 * (quarter % 2) + draw.integers(0, 9 - width)
            y = 8 * (quarter // 2) + draw.integers(0, 9 - height)
            image[y : y + height, x : x + width] = 250 if label else 110
            box[:] = x, y, width, height
    return SceneDataset(images, labels, boxes, NAMES, "rectangles")


def single(train=160, dev=64):
    return Splits(*(rectangles(n, seed=n).single() for n in (train, dev, 8)))


def several(train=160, dev=64, most=3):
    return Splits(*(rectangles(n, most, seed=n) for n in (train, dev, 8)))


def digits(count=40, seed=0):
    """Ten patterns, each with its label, not of one size."""
    draw = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).integers(0, 2, (10, 4, 3)) * 180 + 60
    labels = [index % 10 for index in range(count)]
    images = np.zeros((count, 20, 20), np.uint8)
    for image, label in zip(images, labels, strict=True):
        y, x = draw.integers(0, 5, 2)
        image[y : y + 16, x : x + 12] = np.kron(patterns[label], np.ones((4, 4)))
    return ImageDataset(images, labels, [str(digit) for digit in range(10)], "patterns")


def tiny_body(image=SIDE, classes=2, **changes):
    torch.manual_seed(0)
    sizes = {"patch": 4, "d_model": 32, "heads": 4, "layers": 1, "pool": "mean"} | changes
    return VisionTransformer(image, classes=classes, **sizes)
