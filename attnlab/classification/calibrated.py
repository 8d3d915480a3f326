"""int8 with fixed ranges: activations are rounded as texts showed, not as their batch asks for.

`quantize_dynamic` of ONNX Runtime measures the range of each activation in the batch at hand. Here
the ranges are measured once, and stand in the graph, which stays as it is otherwise; its
`quantize_static` would round what goes around a layer, too.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import needs

if TYPE_CHECKING:
    from attnlab.classification.encoding import Encoded

_SCALES = (1.0, 2.0)  # of all heads: what enters an output projection grows with them
_STEPS = 255  # between the numbers that 8 bits can tell


def fix_ranges(quantized: Any, plain: Any, encoded: "Encoded", shape: tuple[int, ...]) -> None:
    """Fix the ranges that activations are rounded by, in place, as they are over some texts.

    Parameters
    ----------
    quantized : graph of ONNX with weights in int8, whose activations are quantised as they come
    plain : the same in float32, with ``scale`` among its inputs
    encoded : calibration texts
    shape : of the head settings, (1, L, H)
    """
    from onnx import helper, numpy_helper

    nodes = [node for node in quantized.graph.node if node.op_type == "DynamicQuantizeLinear"]
    found = _ranges(plain, [node.input[0] for node in nodes], encoded, shape)
    fixed = {}
    for node in nodes:
        (name,), (rounded, *measured) = list(node.input), list(node.output)
        low, high = found[name]
        step = np.float32((high - low) / _STEPS)
        if not (np.isfinite(step) and step > 0):  # nothing but zeros; what is NaN is said later
            low, step = 0.0, np.float32(1)
        given = [step, np.uint8(np.clip(np.rint(-low / step), 0, _STEPS))]
        for old, kind, value in zip(measured, ("step", "zero"), given, strict=True):
            fixed[old] = f"{name}_{kind}"
            quantized.graph.initializer.append(numpy_helper.from_array(np.array(value), fixed[old]))
        inputs = [name, *(fixed[old] for old in measured)]
        node.CopyFrom(helper.make_node("QuantizeLinear", inputs, [rounded], name=node.name))
    for node in quantized.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = fixed.get(name, name)


def _ranges(
    graph: Any, names: list[str], encoded: "Encoded", shape: tuple[int, ...]
) -> dict[str, tuple[float, float]]:
    """Least and largest value of these tensors over all texts, 0 among them, without padding.

    Heads are neutral, and once more at twice their scale, so that settings do not leave the ranges.
    """
    import onnx

    with needs("lab"):
        import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    known = {given.name for given in session.get_inputs()}
    known |= {given.name for given in session.get_overridable_initializers()}
    ranges = dict.fromkeys(names, (0.0, 0.0))
    for group in encoded.batches():
        batch = {name: column.numpy() for name, column in encoded.batch(group).items()}
        real = batch["attention_mask"].astype(bool)
        for scale in _SCALES:
            inputs = batch | {"scale": np.full(shape, scale, np.float32)}
            given = {name: array for name, array in inputs.items() if name in known}
            for name, array in zip(names, session.run(names, given), strict=True):
                values = array[real] if array.shape[:2] == real.shape else array
                low, high = ranges[name]
                least, most = values.min(initial=low), values.max(initial=high)
                ranges[name] = float(least), float(most)
    return ranges
