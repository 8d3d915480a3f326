"""The strong peer of our reader: PP-OCR's recognition model, run by ONNX Runtime.

It was trained on millions of real and rendered lines, Chinese and English (PaddleOCR 2023). The
file is taken out of the wheel of rapidocr-onnxruntime, which is opened and not installed.
"""

import zipfile
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from attnlab.datasets.fetching import Source, fetch_source
from attnlab.errors import needs

__all__ = ["PPOCR", "by_ppocr"]

PPOCR = Source(
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    14_915_192,
    "Apache-2.0",
    ("--only-binary", ":all:", "--ignore-requires-python"),  # it is not installed
)
_MODEL = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
_HEIGHT = 48
_NARROWEST = 320  # columns that it was trained with, at least


def by_ppocr(images: Sequence[np.ndarray]) -> list[str]:
    """Read pictures, each of one line, by PP-OCR v4; its 15 MB are fetched the first time.

    Parameters
    ----------
    images : uint8 arrays, (H, W) if grey or (H, W, 3) in colour, dark on light

    Raises
    ------
    DataError : the wheel cannot be fetched
    MissingPackage : ONNX Runtime is not installed
    """
    session, characters = _session()
    name = session.get_inputs()[0].name
    texts = []
    for image in images:
        (found,) = session.run(None, {name: _input(image)})
        best = found[0].argmax(-1)  # (steps,), CTC: 0 is the blank, repeats are one
        kept = best[(best != 0) & (best != np.r_[0, best[:-1]])]
        texts.append("".join(characters[number] for number in kept).strip())
    return texts


def _input(image: np.ndarray) -> np.ndarray:
    """One line as the model takes it: float32 (1, 3, 48, W) from -1 to 1, zeros behind the end."""
    colour = Image.fromarray(np.asarray(image)).convert("RGB")
    width = max(1, round(_HEIGHT * colour.width / colour.height))
    scaled = colour.resize((width, _HEIGHT), Image.Resampling.BILINEAR)
    numbers = np.asarray(scaled, dtype=np.float32)[..., ::-1].transpose(2, 0, 1) / 127.5 - 1
    filled = np.zeros((1, 3, _HEIGHT, max(width, _NARROWEST)), np.float32)
    filled[0, ..., :width] = numbers
    return filled


@cache
def _session() -> tuple[Any, list[str]]:
    """The model on one thread, and the character of each of its classes."""
    with needs("lab"):
        import onnxruntime
    with zipfile.ZipFile(fetch_source(PPOCR)) as wheel:
        model = wheel.read(_MODEL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map["character"]
    return session, ["", *told.splitlines(), " "]


def __dir__() -> list[str]:
    return sorted(__all__)
