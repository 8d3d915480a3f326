"""Leaving Python: a classifier as an ONNX graph, its tokenizer, its labels and a card, in a folder.

What is written runs in plain ONNX Runtime: `graphs` says with which inputs and outputs.
"""

import copy
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from attnlab import __version__, heads
from attnlab.classification.belonging import labels_of
from attnlab.classification.encoding import Encoded, Text, fill_values
from attnlab.classification.export_card import FORMAT, files_in, readme
from attnlab.classification.graphs import OPSET, graph_bytes, write_graph
from attnlab.classification.merging_adapters import is_adapted, merged
from attnlab.classification.naming import EXPORT_CARD, EXPORT_README, GRAPH
from attnlab.classification.onnx_graph import OnnxGraph
from attnlab.classification.saving import quietly, refuse_finished, whole_folder
from attnlab.classification.structure import steps
from attnlab.datasets.texts import TextDataset
from attnlab.errors import (
    AttnlabError,
    AttnlabWarning,
    DataError,
    ModelError,
    option,
    suggest,
    worded,
)
from attnlab.heads.families import refuse_decoder, refuse_prefix
from attnlab.heads.narrowing import refuse_narrowing
from attnlab.statistics import paired_test

if TYPE_CHECKING:
    from attnlab.classification.classifier import Classifier

Quantize = Literal["int8"]
QUANTIZED: tuple[Quantize, ...] = get_args(Quantize)
TOLERANCE = 1e-4  # of float32 logits, relative to 1 + the largest
_PROBES = (3, 9, 17, 5)  # tokens


def export(
    clf: "Classifier",
    folder: str | os.PathLike[str],
    quantize: str | None = None,
    overwrite: bool = False,
    data: TextDataset | None = None,
    calibrate: Sequence[Text] | None = None,
) -> Path:
    """Write a classifier for ONNX Runtime; `Classifier.export` has the parameters and errors."""
    check_quantize(quantize)
    if data is not None and (not isinstance(data, TextDataset) or not len(data)):
        raise DataError(
            f"Accuracy is measured on labelled texts, and data is {data!r}. Give a part of a data "
            "set, such as splits.test."
        )
    texts = _calibration(clf, quantize, calibrate)
    refuse_prefix(clf, "An export")
    refuse_decoder(clf, "An export")
    refuse_narrowing(clf, "An export")
    labels = None if data is None else np.array(labels_of(clf.label_names, data))
    refuse_finished(folder, resume=False, overwrite=overwrite)
    with whole_folder(folder) as partial, quietly():
        _refuse_full_disk(clf, partial, quantize)
        plain = _plain(clf)
        _configuration(plain).save_pretrained(partial)
        tokenizer = _tokenizer(clf)
        tokenizer.save_pretrained(partial)
        note = {
            "layers": clf.layers,
            "heads": clf.heads,
            "parameters": plain.parameters(),
            "quantize": quantize,
            "calibrated_on": None if texts is None else len(texts),
        }
        write_graph(plain, partial / GRAPH, quantize, note, texts)
        files = files_in(partial)
        exported = OnnxGraph(partial / GRAPH, **files[GRAPH])
        card = _card(clf, note, files)
        card["largest_difference"] = _checked(plain, exported, quantize)
        if data is not None and labels is not None:
            card["accuracy"] = _accuracy(plain, exported, data, labels)
        text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
        (partial / EXPORT_CARD).write_text(text, encoding="utf-8")
        text = readme(card, _padding(tokenizer, partial))
        (partial / EXPORT_README).write_text(text, encoding="utf-8")
    return Path(folder)


def check_quantize(quantize: str | None) -> None:
    """Raise AttnlabError for a number format of weights that there is not."""
    if quantize is not None and quantize not in QUANTIZED:
        raise AttnlabError(
            f"{option('quantize', quantize)} is not known. {suggest(quantize, QUANTIZED)} Without "
            "it the weights stay in float32."
        )


def _calibration(
    clf: "Classifier", quantize: str | None, texts: Sequence[Text] | None
) -> Encoded | None:
    """The texts that fix the ranges of activations, encoded; errors if they cannot."""
    if texts is None:
        return None
    if quantize is None:
        raise AttnlabError(
            f"Without {option('quantize', 'int8')} nothing is rounded, so there is nothing to "
            f"calibrate. Add it, or leave {option('calibrate')} out."
        )
    if isinstance(texts, str) or not len(texts):
        raise DataError(
            "There are no texts to calibrate on. Give some hundred of the kind that the model is "
            "for, without labels, "
            + worded("such as splits.train.texts[:500].", "such as --calibrate movie-sentiment.")
        )
    return clf.encode(list(texts))


def _plain(clf: "Classifier") -> "Classifier":
    """The classifier with adapters merged, in float32; that one stays as it is."""
    if is_adapted(clf.model):
        clf = clf.with_model(merged(clf.model))
    if any(weight.dtype != torch.float32 for weight in clf.model.parameters()):
        clf = clf.with_model(copy.deepcopy(heads.model_of(clf)).float())
    return clf


def _card(clf: "Classifier", note: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """What the card says before anything was measured."""
    return {
        "format": FORMAT,
        "family": clf.config.model_type,
        "removed_heads": [list(head) for head in heads.removed(clf)],
        "labels": clf.label_names,
        "max_length": clf.max_length,
        **note,
        "opset": OPSET,
        "steps": steps(heads.model_of(clf)),
        "source": clf.loaded_from,
        "accuracy": None,
        "versions": {"attnlab": __version__}
        | {
            name: metadata.version(name).split("+")[0]
            for name in ("torch", "transformers", "onnx", "onnxruntime")
        },
        "bytes": sum(file["bytes"] for file in files.values()),
        "files": files,
    }


def _configuration(clf: "Classifier") -> Any:
    """A copy of the configuration with the labels, as a saved model has it."""
    config = copy.deepcopy(clf.config)
    config.id2label = dict(enumerate(clf.label_names))
    config.label2id = {name: index for index, name in enumerate(clf.label_names)}
    config.architectures = [type(heads.model_of(clf)).__name__]
    config.dtype = "float32"
    return config


def _tokenizer(clf: "Classifier") -> Any:
    """A copy of the tokenizer that cuts texts where the classifier does, and keeps no last call."""
    tokenizer = copy.deepcopy(clf.tokenizer)
    tokenizer.model_max_length = clf.max_length
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_truncation()
        backend.no_padding()
    return tokenizer


def _padding(tokenizer: Any, folder: Path) -> dict[str, Any]:
    """What pads texts; with the token where the tokenizers library alone can read the tokenizer."""
    fill = {"id": tokenizer.pad_token_id, "type": tokenizer.pad_token_type_id}
    alone = (folder / "tokenizer.json").exists()
    return fill | ({"token": tokenizer.pad_token} if alone else {})


def _checked(clf: "Classifier", exported: OnnxGraph, quantize: str | None) -> float:
    """How far logits of arbitrary tokens are apart at most; ModelError where float32 differs.

    Tried are padded batches of several lengths and the longest text there may be, with heads
    neutral, and with each text its own settings.
    """
    encoded, generator = _arbitrary(clf), torch.Generator().manual_seed(0)
    shape = (len(encoded), clf.layers, clf.heads)
    drawn = [0.5 + torch.rand(shape, generator=generator) for _ in range(2)]
    largest = 0.0
    for settings in (clf.settings(), heads.HeadSettings.of(*drawn)):
        wanted = clf.logits(encoded, settings=settings)
        found = _logits(exported, encoded, settings)
        apart = float((found - wanted).abs().max())
        largest = max(largest, apart)
        most = TOLERANCE * (1 + float(wanted.abs().max()))
        if quantize is None and not apart <= most:
            raise ModelError(
                f"The exported model's logits differ from the classifier's by {apart:.2g}, and "
                f"{most:.2g} is the tolerance, so nothing was written. Its forward pass depends on "
                "something that cannot be written down as a graph."
            )
    return largest


def _logits(graph: OnnxGraph, encoded: Encoded, settings: heads.HeadSettings) -> torch.Tensor:
    """Logits (N, C) of an exported model."""
    found: dict[int, torch.Tensor] = {}
    for group in encoded.batches():
        part = settings
        if settings.scale.dim() == 3:
            part = heads.HeadSettings.of(settings.scale[group], settings.temperature[group])
        (logits,) = graph.run(["logits"], encoded.batch(group), part)
        found |= zip(group.tolist(), logits, strict=True)
    return torch.stack([found[index] for index in range(len(encoded))])


def _arbitrary(clf: "Classifier") -> Encoded:
    """Texts of arbitrary tokens, the last as long as texts may be."""
    generator = np.random.default_rng(0)
    fill = fill_values(clf.tokenizer)
    starts = np.cumsum([0, *(min(size, clf.max_length) for size in _PROBES), clf.max_length])
    known = np.setdiff1d(list(clf.tokenizer.get_vocab().values()), [fill["input_ids"]])
    columns = {name: np.zeros(starts[-1], np.int32) for name in fill}
    columns["input_ids"] = generator.choice(known, starts[-1]).astype(np.int32)
    return Encoded(columns, starts, fill)


def _accuracy(
    clf: "Classifier", exported: OnnxGraph, data: TextDataset, labels: np.ndarray
) -> dict[str, Any]:
    """Accuracy before and after; an AttnlabWarning if it is lower beyond chance."""
    encoded, neutral = clf.encode(data.texts), clf.settings()
    before, after = (
        logits.argmax(-1).numpy()
        for logits in (clf.logits(encoded, settings=neutral), _logits(exported, encoded, neutral))
    )
    test = paired_test(before == labels, after == labels)
    found = {
        "data": data.name,
        "n": len(data),
        "before": float((before == labels).mean()),
        "after": float((after == labels).mean()),
        "delta": test.delta,
        "ci_low": test.low,
        "ci_high": test.high,
        "same_answers": float((before == after).mean()),
    }
    if test.high < 0:
        warnings.warn(
            f"The exported model is right on {found['after']:.1%} of {len(data):,} texts and the "
            f"classifier on {found['before']:.1%} (95 % interval of the difference "
            f"{100 * test.low:+.1f} to {100 * test.high:+.1f} points). Export it in float32: leave "
            f"{option('quantize')} out.",
            AttnlabWarning,
            stacklevel=4,
        )
    return found


def _refuse_full_disk(clf: "Classifier", folder: Path, quantize: str | None) -> None:
    """Raise ModelError if a folder has no room for the export, before any work is done."""
    wanted = graph_bytes(clf) * (2 if quantize else 1) + 2**22
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise ModelError(
            f"The export needs {wanted / 1e6:,.0f} MB while it is written, and {free / 1e6:,.0f} "
            f"MB are free in {folder.parent}. Free some, or choose another place."
        )
