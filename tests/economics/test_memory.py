"""What does not fit into memory is refused before the work, in numbers."""

import pytest
import torch
from tiny_classifiers import answering

from attnlab.datasets.splits import Splits
from attnlab.economics import memory, searching
from attnlab.economics.budgets import Budget
from attnlab.economics.latency import LatencyTable
from attnlab.economics.passes import build
from attnlab.economics.searching import search
from attnlab.economics.shapes import Shape, megabytes, shape_of
from attnlab.errors import AttnlabError

CPU = torch.device("cpu")


def with_free(monkeypatch, amount):
    monkeypatch.setattr(memory, "free_bytes", lambda where: amount)


def test_free_memory_is_some_of_this_machines():
    psutil = pytest.importorskip("psutil")
    assert 0 < memory.free_bytes(CPU) <= psutil.virtual_memory().total


def test_on_a_gpu_what_torch_keeps_for_later_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (3, 10))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda where: 6)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda where: 2)
    assert memory.free_bytes(torch.device("cuda")) == 3 + 6 - 2


def test_what_fits_is_let_through_and_what_does_not_is_said_in_numbers(monkeypatch):
    with_free(monkeypatch, 2e9)
    memory.require_memory(2e9, "It", CPU)
    with pytest.raises(AttnlabError, match=r"It takes at least 2\.5 GB .* cpu, and 2 GB are free"):
        memory.require_memory(2.5e9, "It", CPU)


def test_a_shape_that_no_machine_holds_is_refused_and_not_built():
    gpt_3 = Shape.of(layers=96, heads=96, neurons=10**9, width=12_288)
    with pytest.raises(AttnlabError, match=r"A model of .* weights takes at least .* GB"):
        build(gpt_3)
    with pytest.raises(AttnlabError, match="GB are free"):
        LatencyTable.measure(gpt_3)


def test_a_search_whose_copies_do_not_fit_is_refused_before_the_work(monkeypatch, tmp_path):
    clf, data = answering("bert", 120)
    splits = Splits(data.select(range(60)), data.select(range(60, 120)), None)
    size = 1e6 * megabytes(shape_of(clf))
    with_free(monkeypatch, 2.5 * size)
    search(clf, splits, Budget(flops=1e9), most=2, steps=2)
    for free, formats in ((1.5, ("float32",)), (2.5, ("float32", "int8"))):
        with_free(monkeypatch, free * size)
        with pytest.raises(AttnlabError, match="Beside the model, a search takes"):
            search(clf, splits, Budget(flops=1e9), folder=tmp_path / "new", formats=formats)
    assert not (tmp_path / "new").exists()


def test_int8_of_a_model_on_a_gpu_needs_memory_beside_the_processor(monkeypatch):
    shape, gpu = Shape.of(layers=2, heads=2, neurons=8, width=8), torch.device("cuda")
    size = 1e6 * megabytes(shape)
    for on_gpu, on_cpu, refused in ((2.1, 2.1, None), (1.9, 9, "cuda"), (9, 1.9, "cpu")):
        free = {gpu: on_gpu * size, CPU: on_cpu * size}
        monkeypatch.setattr(memory, "free_bytes", free.get)
        if refused is None:
            searching._require_memory(shape, gpu, ("float32", "int8"))
            continue
        with pytest.raises(AttnlabError, match=f"memory on {refused}"):
            searching._require_memory(shape, gpu, ("float32", "int8"))
    searching._require_memory(shape, gpu, ("float32",))
