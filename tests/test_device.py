"""What a machine computes in is decided by what it can do, and each process has its own device."""

import time

import pytest
import torch

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


def test_where_torch_cannot_say_what_the_cpu_can_do_linux_is_asked(monkeypatch, tmp_path):
    for name in device._TORCH_KNOWS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    for flags, answer in (("fpu avx512_bf16 sse", True), ("fpu sse avx512f", False)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(device, "Path", lambda _: tmp_path / "cpuinfo")
        assert device._cpu_multiplies_bfloat16() is answer
    monkeypatch.setattr(device, "Path", lambda _: tmp_path / "none")
    assert device._cpu_multiplies_bfloat16() is False


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
