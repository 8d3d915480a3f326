"""A classifier's computation as one ONNX graph, in float32 or with weights in int8."""

import contextlib
import hashlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnlab.classification.calibrated import fix_ranges
from attnlab.classification.encoding import Encoded, fill_values
from attnlab.errors import AttnlabError, ModelError, needs
from attnlab.heads.tracing import TraceableHeads

if TYPE_CHECKING:
    from attnlab.classification.classifier import Classifier

OPSET = 17
NOTE = "attnlab"  # the key of our note in the graph's metadata
KNOBS = ("scale", "temperature")
OUTPUTS = ("logits", "attentions", "value_norms")
_AXES = {
    "logits": {0: "batch"},
    "attentions": {0: "batch", 3: "tokens", 4: "tokens"},
    "value_norms": {0: "batch", 3: "tokens"},
}
_LARGEST = 2**31 - 2**24  # bytes: a protobuf file ends at 2 GB


def graph_bytes(clf: "Classifier") -> int:
    """How many bytes a classifier's graph takes in float32, nearly."""
    return 4 * clf.parameters()


def write_graph(
    clf: "Classifier",
    path: Path,
    quantize: str | None,
    note: dict[str, Any],
    calibrate: Encoded | None = None,
) -> None:
    """Write the ONNX graph of a classifier, with heads neutral unless the inputs say otherwise.

    Inputs, by name: those of the tokenizer, each (B, T), int64; and two that may be left out, scale
    and temperature, float32, (1, L, H), or (B, L, H) with one setting for each text. Outputs:
    logits (B, C), attentions (B, L, H, T, T), value_norms (B, L, H, T).

    Parameters
    ----------
    clf : Classifier, its adapters merged
    path : of the file
    quantize : "int8" for int8 weights, one factor for each output; activations are quantised as
        they come (dynamic), or by the ranges that ``calibrate`` shows
    note : what the graph's metadata are to say
    calibrate : texts that fix the ranges of activations

    Raises
    ------
    ModelError : a model with a prefix, or too large for one file of ONNX
    MissingPackage : onnx or onnxruntime is not installed
    """
    with needs("lab"):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

    if graph_bytes(clf) > _LARGEST:
        raise ModelError(
            f"This model has {clf.parameters() / 1e6:,.0f} M parameters, {graph_bytes(clf):,} "
            "bytes in float32, and one file of ONNX holds 2 GB. Export a smaller one."
        )
    graph = onnx.load_model_from_string(_traced(clf))
    _use_weights_themselves(graph)
    _share_equal_weights(graph)
    _give_defaults(graph, clf.layers, clf.heads)
    if quantize == "int8":
        with _without_advice(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            inner = Path(folder) / "graph.onnx"
            quantize_dynamic(graph, inner, weight_type=QuantType.QInt8, per_channel=True)
            plain, graph = graph, onnx.load(inner)
        if calibrate is not None:
            fix_ranges(graph, plain, calibrate, (1, clf.layers, clf.heads))
    onnx.helper.set_model_props(graph, {NOTE: json.dumps(note)})
    del graph.graph.value_info[:]  # shapes on the way, which any reader can infer
    graph.producer_name, graph.doc_string = "attnlab", ""
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def _traced(clf: "Classifier") -> bytes:
    """The graph as torch writes it."""
    columns = list(fill_values(clf.tokenizer))
    with _explained():
        model = TraceableHeads(clf, columns)
    texts = torch.ones(2, 7, dtype=torch.long) * 5  # of no special token, whatever they are
    knobs = torch.ones(1, clf.layers, clf.heads)
    inputs = [*columns, "attention_mask"]
    file: Any = io.BytesIO()  # which torch takes, and does not say
    with torch.no_grad(), _without_advice(), _explained():
        torch.onnx.export(
            model,
            (
                *(texts if name == "input_ids" else 0 * texts for name in columns),
                torch.ones_like(texts),
                knobs,
                knobs,
            ),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[*inputs, *KNOBS],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in inputs}
            | {name: {0: "settings"} for name in KNOBS}
            | _AXES,
        )
    return file.getvalue()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what torch raises about a model that it cannot write down into a ModelError."""
    try:
        yield
    except (AttnlabError, MemoryError, OSError):
        raise
    except Exception as error:  # of many classes, by what the model is made of
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"This model cannot be written as a graph of ONNX: {told[0]}. Export it as it was "
            "before it was quantised, compiled or wrapped; quantize='int8' quantises the graph."
        ) from error


def _give_defaults(graph: Any, layers: int, heads: int) -> None:
    """Let the head settings be left out: an initializer of an input's name is its default."""
    from onnx import numpy_helper

    neutral = np.ones((1, layers, heads), np.float32)
    there = {given.name for given in graph.graph.input}
    for name in KNOBS:
        if name in there:
            graph.graph.initializer.append(numpy_helper.from_array(neutral, name))


def _use_weights_themselves(graph: Any) -> None:
    """Take away copies by name: torch names what layers share anew, and those are not quantised."""
    weights = {weight.name for weight in graph.graph.initializer}
    outputs = {output.name for output in graph.graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.graph.node:
        is_copy = node.op_type == "Identity" and node.output[0] not in outputs
        if is_copy and (name := renamed.get(node.input[0], node.input[0])) in weights:
            renamed[node.output[0]] = name
        else:
            kept.append(node)
    if renamed:
        _rename(kept, renamed)
        del graph.graph.node[:]
        graph.graph.node.extend(kept)


def _rename(nodes: Any, renamed: dict[str, str]) -> None:
    """Let nodes read other values."""
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)


def _share_equal_weights(graph: Any) -> None:
    """Store weights once that several layers share: torch transposes them for each layer anew."""
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for weight in graph.graph.initializer:
        content = hashlib.sha256(weight.raw_data).digest() if weight.raw_data else weight.name
        key = (weight.data_type, tuple(weight.dims), content)
        if key in first:
            renamed[weight.name] = first[key]
        else:
            first[key] = weight.name
            kept.append(weight)
    if renamed:
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        _rename(graph.graph.node, renamed)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Hold back what torch and ONNX Runtime say to authors of exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.filterwarnings("ignore", module=r"torch\.onnx.*")
            yield
    finally:
        logging.disable(before)
