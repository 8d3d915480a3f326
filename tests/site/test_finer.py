"""int8 in two parts: nearer to float32, with the same weights."""

import hashlib

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from tiny_classifiers import LITTLE, random_settings, tiny_classifier

from attnlab.classification.onnx_graph import OnnxGraph, _session
from attnlab.site.building import _without_defaults
from attnlab.site.finer import in_two_parts


@pytest.fixture(scope="module", params=["bert", "albert"])
def exported(request, tmp_path_factory):
    torch.manual_seed(1)
    clf = tiny_classifier(request.param)
    folder = tmp_path_factory.mktemp("finer") / "export"
    clf.export(folder, "int8", calibrate=LITTLE * 3)
    return clf, onnx.load(folder / "model.onnx"), folder


def graph_of(model, path):
    content = model.SerializeToString()
    path.write_bytes(content)
    return OnnxGraph(path, len(content), hashlib.sha256(content).hexdigest())


def one_product(values, weights, step, middle):
    """A graph that multiplies values by int8 weights as `Classifier.export` has it."""
    given = [("step", step), ("middle", middle), ("weights", weights)]
    given += [("none", np.array(0, np.int8)), ("scales", np.full(weights.shape[1], 0.01))]
    constants = [
        numpy_helper.from_array(array.astype(np.float32) if array.dtype == float else array, name)
        for name, array in ((name, np.asarray(array)) for name, array in given)
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "middle"], ["rounded"]),
        helper.make_node("MatMulInteger", ["rounded", "weights", "middle", "none"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["step", "scales"], ["both"]),
        helper.make_node("Mul", ["cast", "both"], ["y"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", kind, values.shape)],
        [helper.make_tensor_value_info("y", kind, [len(values), weights.shape[1]])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def result(model, values, path):
    """In a session of ours: its products of int8 overflow on no processor."""
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return _session(path, threads=1).run(None, {"x": values})[0]


def test_rounding_costs_a_hundredth_of_what_it_costs_in_one_part(tmp_path):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(7, 64)).astype(np.float32)
    weights = generator.integers(-127, 128, (64, 32)).astype(np.int8)
    low, high = float(values.min()), float(values.max())
    step = (high - low) / 255
    model = one_product(values, weights, step, np.array(round(-low / step), np.uint8))
    exact = values.astype(float) @ (0.01 * weights.astype(float))
    before = np.abs(result(model, values, tmp_path / "model.onnx") - exact).max()
    in_two_parts(model)
    assert np.abs(result(model, values, tmp_path / "model.onnx") - exact).max() < before / 100


def test_values_beyond_the_range_are_cut_off_as_before(tmp_path):
    values = np.array([[9.0, -9.0]], np.float32)
    model = one_product(values, np.array([[1, 0], [0, 1]], np.int8), 0.01, np.array(128, np.uint8))
    before = result(model, values, tmp_path / "model.onnx")
    in_two_parts(model)
    assert result(model, values, tmp_path / "model.onnx") == pytest.approx(before, rel=0.01)


def test_the_whole_model_answers_no_worse(exported):
    clf, model, folder = exported
    finer = onnx.ModelProto.FromString(model.SerializeToString())
    in_two_parts(finer)
    onnx.checker.check_model(finer)
    settings, batch = random_settings(clf), clf.encode(LITTLE).batch(range(len(LITTLE)))
    expected = clf.predict(LITTLE, settings).probabilities
    apart = []
    for name, each in (("one", model), ("two", finer)):
        logits = graph_of(each, folder / f"{name}.onnx").run(["logits"], batch, settings)[0]
        apart.append(np.abs(logits.softmax(-1).numpy() - expected).max())
    assert apart[1] < apart[0] < 0.02


def test_each_product_has_a_second_with_the_same_weights(exported):
    _, model, _ = exported
    finer = onnx.ModelProto.FromString(model.SerializeToString())
    in_two_parts(finer)
    read = [node.input[1] for node in finer.graph.node if node.op_type == "MatMulInteger"]
    before = [node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert sorted(read) == sorted(2 * before)


def test_a_graph_without_defaults_asks_for_settings(exported):
    _, model, _ = exported
    strict = onnx.ModelProto.FromString(model.SerializeToString())
    _without_defaults(strict)
    left = {weight.name for weight in strict.graph.initializer}
    assert not {"scale", "temperature"} & left
    assert {"scale", "temperature"} <= {given.name for given in strict.graph.input}
