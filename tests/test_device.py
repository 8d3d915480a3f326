"""What a machine is good at is measured, not guessed."""

import pytest
import torch

from attnlab import device


@pytest.mark.parametrize(
    ("kind", "has_bfloat16", "short_seconds", "expected"),
    [
        ("cpu", True, 0.5, torch.bfloat16),
        ("cpu", True, 0.9, torch.float32),
        ("cuda", True, 0.1, torch.bfloat16),
        ("cuda", False, 0.1, torch.float16),
        ("cuda", False, 0.9, torch.float32),
        ("mps", True, 0.1, torch.float32),
    ],
)
def test_a_short_number_format_is_taken_where_it_is_faster(
    monkeypatch, kind, has_bfloat16, short_seconds, expected
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    monkeypatch.setattr(
        device, "_product_seconds", lambda _, dtype: 1 if dtype == torch.float32 else short_seconds
    )
    assert device.number_format.__wrapped__(kind) == expected


def test_each_of_several_processes_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert device.device() == torch.device("cuda", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.device() == torch.device("cpu")


def test_the_measurement_runs_here():
    assert device.number_format("cpu") in (torch.bfloat16, torch.float32)
