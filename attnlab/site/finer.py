"""Activations in two parts of 8 bits, so that int8 answers alike on every processor.

In 8 bits a value that lies between two steps falls to one side on one processor and to the other on
the next, since their last digits differ, and a step is large enough to move an answer by percents.
Here what rounding left over is rounded in turn, in steps of 1/254, and multiplied by the same
weights. The weights stay as they are, and so does the size of the graph.
"""

from typing import Any

import numpy as np

__all__ = ["in_two_parts"]

_STEPS = 254  # of the second part within one of the first
_MIDDLE = 128  # what stands for 0


def in_two_parts(graph: Any) -> None:
    """Round in two parts what is rounded in one, in place.

    Parameters
    ----------
    graph : of ONNX, with int8 weights and fixed ranges of activations, as `Classifier.export` with
        ``calibrate`` writes it
    """
    from onnx import numpy_helper

    weights = {each.name: each for each in graph.graph.initializer}
    readers: dict[str, list[Any]] = {}
    made_by = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    behind: dict[int, list[Any]] = {}  # what follows a node, by its id
    zero = "second_part_zero"
    graph.graph.initializer.append(numpy_helper.from_array(np.array(_MIDDLE, dtype=np.uint8), zero))
    for rounded in [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]:
        value, step, _ = rounded.input
        finer = f"{step}_finer"
        size = np.array(numpy_helper.to_array(weights[step]) / _STEPS, dtype=np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(size, finer))
        second = f"{rounded.output[0]}_second"
        behind[id(rounded)] = _left_over(rounded, value, finer, zero, second)
        for product in readers[rounded.output[0]]:
            behind[id(_end(product, readers))] = _second_product(
                product, readers, made_by, second, finer, zero
            )
    nodes = [part for node in graph.graph.node for part in (node, *behind.get(id(node), ()))]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(copies)


def _left_over(rounded: Any, value: str, finer: str, zero: str, second: str) -> list[Any]:
    """What is left of a value when its rounded one is taken away, rounded."""
    from onnx import helper

    _, step, middle = rounded.input
    first, left = f"{second}_known", f"{second}_left"
    return [
        helper.make_node("DequantizeLinear", [rounded.output[0], step, middle], [first]),
        helper.make_node("Sub", [value, first], [left]),
        helper.make_node("QuantizeLinear", [left, finer, zero], [second]),
    ]


def _end(product: Any, readers: dict[str, list[Any]]) -> Any:
    """The node that gives a product of integers its scale."""
    (cast,) = readers[product.output[0]]
    (scaled,) = readers[cast.output[0]]
    return scaled


def _second_product(
    product: Any,
    readers: dict[str, list[Any]],
    made_by: dict[str, Any],
    second: str,
    finer: str,
    zero: str,
) -> list[Any]:
    """The product of the second part with the same weights, added to the first."""
    from onnx import TensorProto, helper

    _, matrix, _, middle = product.input
    scaled = _end(product, readers)
    whole, name = scaled.output[0], scaled.output[0] + "_second"
    scales = made_by[scaled.input[1]].input[1]  # of the weights; before it stands that of the value
    scaled.output[0] = whole + "_first"
    return [
        helper.make_node("MatMulInteger", [second, matrix, zero, middle], [f"{name}_sum"]),
        helper.make_node("Cast", [f"{name}_sum"], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [finer, scales], [f"{name}_scales"]),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scales"], [name]),
        helper.make_node("Add", [scaled.output[0], name], [whole]),
    ]


def __dir__() -> list[str]:
    return sorted(__all__)
