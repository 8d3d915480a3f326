"""Evaluation mode for the time of an answer, and numbers that are checked."""

import threading

import pytest
import torch
from torch import nn

from attnlab.errors import ModelError
from attnlab.inference import check_finite, evaluating


def small():
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))


def test_afterwards_each_module_is_as_it_was_also_after_an_error():
    model = small().train()
    model[2].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), evaluating(model), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes


def test_of_two_threads_the_last_to_leave_restores():
    model = small().train()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with evaluating(model):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    with evaluating(model):
        leave.set()
        thread.join()
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


def test_numbers_that_are_not_finite_name_the_weights_or_the_number_format():
    model = small()
    finite = torch.ones(2)
    assert check_finite(model, finite) is finite
    with pytest.raises(ModelError, match=r"too large for float16.*model\.float\(\)"):
        check_finite(model, torch.tensor([1.0, torch.inf], dtype=torch.float16))
    model[0].weight.data[0, :2] = torch.nan
    with pytest.raises(ModelError, match=r"0\.weight \(2 of 9 numbers\)"):
        check_finite(model, torch.tensor([1.0, torch.nan]))
