"""What a machine computes in is decided by what it can do, and each process has its own device."""

import time

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from attnlab import device
from attnlab.errors import AttnlabError


@pytest.mark.parametrize(
    ("kind", "has_bfloat16", "expected"),
    [
        ("cpu", True, torch.bfloat16),
        ("cpu", False, torch.float32),
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
        ("mps", True, torch.float32),
    ],
)
def test_the_number_format_is_what_the_processor_has_circuits_for(
    monkeypatch, kind, has_bfloat16, expected
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    monkeypatch.setattr(device, "_cpu_multiplies_bfloat16", lambda: has_bfloat16)
    assert device.number_format.__wrapped__(kind) == expected


def test_the_number_format_is_chosen_without_a_clock(monkeypatch):
    def broken():
        raise AssertionError("somebody looked at a clock")

    for clock in ("perf_counter", "monotonic", "time", "process_time"):
        monkeypatch.setattr(time, clock, broken)
    assert device.number_format.__wrapped__("cpu") in (torch.bfloat16, torch.float32)


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """Sets what Linux says of the CPU; None for a system without /proc/cpuinfo."""

    def says(flags):
        device.cpu.cache_clear()
        if flags is not None:
            (tmp_path / "cpuinfo").write_text(f"model name : Chip 7\nflags : {flags}\n")
        name = "none" if flags is None else "cpuinfo"
        monkeypatch.setattr(device, "Path", lambda _: tmp_path / name)

    yield says
    device.cpu.cache_clear()


def test_where_torch_cannot_say_what_the_cpu_can_do_linux_is_asked(monkeypatch, linux):
    for name in (*device._TORCH_KNOWS, "get_capabilities"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    for flags, answer in (
        ("fpu avx512_bf16 sse", True),
        ("fpu sse avx512f", False),
        (None, False),
    ):
        linux(flags)
        assert device._cpu_multiplies_bfloat16() is answer


@pytest.mark.parametrize(
    ("flags", "answer"),
    [("avx2 avx512f", False), ("avx2 avx_vnni", True), ("avx512_vnni", True), ("asimddp", True)],
)
def test_int8_is_trusted_where_the_cpu_sums_its_products_exactly(linux, flags, answer):
    linux(flags)
    assert device.cpu() == ("Chip 7", frozenset(flags.split()))
    assert device.has_int8_products() is answer


def test_elsewhere_than_on_linux_torch_says_what_the_cpu_can_do(monkeypatch, linux):
    able = {"avx512_f": True, "avx512_vnni": True, "avx_vnni": False, "cpu_name": "Chip 7"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    linux(None)
    assert device.cpu()[1] == {"avx512f", "avx512_vnni"}
    assert device.has_int8_products()


def test_a_number_format_can_be_asked_for_by_name_or_as_torchs():
    assert device.as_number_format("bfloat16", "cpu") == torch.bfloat16
    assert device.as_number_format(torch.float16, "cuda") == torch.float16
    assert device.as_number_format(None, "mps") == torch.float32
    with pytest.raises(AttnlabError, match=r"'bfloat8'.*Did you mean 'bfloat16'"):
        device.as_number_format("bfloat8", "cpu")


def test_each_of_several_processes_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert device.device() == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device() == torch.device("cpu")


@pytest.fixture
def onednn(monkeypatch):
    monkeypatch.setenv("ATTNLAB_FLOAT32", "onednn")
    device.float32_kernel.cache_clear()
    yield
    device.float32_kernel.cache_clear()


@pytest.mark.parametrize("intel", [True, False])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_onednn_multiplies_where_mkl_keeps_to_avx2(monkeypatch, intel, capability):
    monkeypatch.delenv("ATTNLAB_FLOAT32", raising=False)
    monkeypatch.setattr(device, "_is_intel", lambda: intel)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    expected = "onednn" if not intel and capability == "AVX512" else "torch"
    assert device.float32_kernel.__wrapped__() == expected


def test_another_float32_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("ATTNLAB_FLOAT32", "blas")
    with pytest.raises(AttnlabError, match="ATTNLAB_FLOAT32 is 'blas'"):
        device.float32_kernel.__wrapped__()


@pytest.mark.parametrize("shape", [(8,), (5, 8), (2, 3, 8), (0, 8), (2, 1, 3, 8)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_equals_torch_with_its_gradients(onednn, shape, has_bias):
    torch.manual_seed(0)
    operands = [torch.randn(shape), torch.randn(6, 8), torch.randn(6) if has_bias else None]

    def outcome(linear):
        copies = [None if one is None else one.clone().requires_grad_() for one in operands]
        result = linear(*copies)
        result.square().sum().backward()
        return [result.detach(), *(one.grad for one in copies if one is not None)]

    for mine, torchs in zip(outcome(device.linear), outcome(F.linear), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-5)


def test_linear_takes_views_and_leaves_other_formats_to_torch(onednn):
    view = torch.randn(8, 2, 5).permute(1, 2, 0)  # (2, 5, 8), not contiguous
    weight = torch.randn(8, 6).T
    torch.testing.assert_close(device.linear(view, weight), F.linear(view, weight))
    for dtype in (torch.float64, torch.float16):
        mine = device.linear(view.to(dtype), weight.to(dtype))
        assert torch.equal(mine, F.linear(view.to(dtype), weight.to(dtype)))


def test_bfloat16_takes_the_quick_kernel_unless_gradients_are_asked_for(onednn, monkeypatch):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(n, 32).bfloat16() for n in (5, 6, 1))
    kernel, calls = device._onednn, []
    monkeypatch.setattr(device, "_onednn", lambda *a, **o: calls.append(1) or kernel(*a, **o))
    wanted = F.linear(x.float(), weight.float(), bias[0, :6].float())
    fixed = device.FixedLinear(weight, bias[0, :6])
    for mine in (device.linear(x, weight, bias[0, :6]), fixed(x)):
        torch.testing.assert_close(mine.float(), wanted, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(fixed.gelu(x).float(), F.gelu(wanted), rtol=2e-2, atol=2e-2)
    taken = 3 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else 0  # else oneDNN would refuse
    assert len(calls) == taken
    x.requires_grad_()
    for call in (lambda: device.linear(x, weight), lambda: fixed(x), lambda: fixed.gelu(x)):
        x.grad = None
        call().float().sum().backward()
        assert len(calls) == taken and x.grad is not None


def test_bfloat16_stays_with_torch_where_onednn_cannot_multiply_it(onednn, monkeypatch):
    monkeypatch.setattr(device, "_onednn_has_bfloat16", lambda: False)
    monkeypatch.setattr(device, "_onednn", lambda *a, **o: pytest.fail("oneDNN was asked"))
    x, weight = torch.randn(5, 8).bfloat16(), torch.randn(6, 8).bfloat16()
    assert torch.equal(device.linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("shape", [(8,), (5, 8), (2, 3, 8), (0, 8), (2, 3, 1, 8)])
@pytest.mark.parametrize("transposed", [True, False])
def test_a_fixed_linear_is_linear_and_its_gelu_with_their_gradients(onednn, shape, transposed):
    torch.manual_seed(0)
    x, bias = 2 * torch.randn(shape), torch.randn(6)
    weight = torch.randn(8, 6).T if transposed else torch.randn(6, 8)
    fixed = device.FixedLinear(weight, bias)
    plain = F.linear(x, weight, bias)
    for _ in range(2):  # the second time its weights lie ready
        torch.testing.assert_close(fixed(x), plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fixed.gelu(x), F.gelu(plain), rtol=1e-5, atol=1e-5)
    x.requires_grad_()
    for mine, theirs in ((fixed, lambda x: x), (fixed.gelu, F.gelu)):
        (got,) = torch.autograd.grad(mine(x).square().sum(), x)
        (wanted,) = torch.autograd.grad(theirs(F.linear(x, weight, bias)).square().sum(), x)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_fixed_linear_lays_its_weights_out_once(onednn):
    fixed, x = device.FixedLinear(torch.randn(6, 8), torch.randn(6)), torch.randn(5, 8)
    with torch.profiler.profile() as seen:
        for _ in range(3):
            fixed(x)
            fixed.gelu(x)
    calls = {event.key: event.count for event in seen.key_averages()}
    assert calls["mkldnn::_reorder_linear_weight"] == 1
    assert calls["mkldnn::_linear_pointwise"] == 6


def test_models_in_float32_use_the_quick_kernel_and_answer_alike(onednn, monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 2))
    texts = torch.randn(4, 8)
    wanted, calls = model(texts), []
    kernel = device._onednn
    monkeypatch.setattr(device, "_onednn", lambda *a, **o: calls.append(1) or kernel(*a, **o))
    with device.autocast(torch.device("cpu"), torch.float32):
        answers = model(texts)
        answers.sum().backward()
    torch.testing.assert_close(answers, wanted, rtol=1e-5, atol=1e-6)
    assert len(calls) == 2 + 3  # forward; backward to both weights and to the hidden layer


def test_a_time_is_the_shortest_of_several_on_one_thread(monkeypatch):
    took = iter([9.0, 4.0, 2.0, 5.0])  # the first call does not count, the others were disturbed
    clock, threads = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += next(took)
        threads.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert device.seconds(call, repeats=3) == 2.0
        assert threads == [1] * 4
        assert torch.get_num_threads() == 2
        with pytest.raises(StopIteration):
            device.seconds(call)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_that_are_computed_again_get_the_same_gradients(onednn, reentrant):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 2))
    texts = torch.randn(4, 8, requires_grad=True)
    model(texts).sum().backward()
    wanted = model[0].weight.grad
    model.zero_grad()
    with device.autocast(torch.device("cpu"), torch.float32):
        answers = checkpoint(model, texts, use_reentrant=reentrant)
    answers.sum().backward()
    torch.testing.assert_close(model[0].weight.grad, wanted, rtol=1e-5, atol=1e-6)
