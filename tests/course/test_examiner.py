"""The examiner explains exceptions, and sees what is copied, left behind or remembered."""

import importlib
import types

import pytest
import torch

import attnlab as al


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda w: (w - w.max(-1)).sum(-1), "amax"),
        (lambda w: (w ^ 2).sum(-1), r"power is `\*\*`"),
        (lambda w: w.transpose(1, 2).sum(-1), "count from the end"),
        (lambda w: w if not w else w.sum(-1), "single truth value"),
        (lambda w: w[:, :2] @ w, "change places"),
        (lambda w: w.numpy().sum(-1) if w.requires_grad else w.shape(-1), "is indexed"),
        (lambda w: w - w[:, :-1], "axis of length 1"),
        (lambda w: w.sort(-1, stable=True).values, "by name"),
    ],
)
def test_an_exception_comes_with_a_question_that_fits_it(answer, hint):
    with pytest.raises(al.checks.CheckFailed, match=f"(?s)Your function raised .*{hint}"):
        al.checks.entropy(lambda weights: answer(weights.expand(3, -1)))


def test_functions_of_the_checks_and_copies_of_the_packages_are_no_answers():
    own = importlib.import_module("attnlab.course.checks.attention_maths.softmax_gradient")
    right = own._less_the_mean
    copied = types.FunctionType(right.__code__, {"torch": torch}, "mine", right.__defaults__)
    for answer in (right, copied, lambda weights, gradient: right(weights, gradient)):
        with pytest.raises(al.checks.CheckFailed, match="function of the checks themselves"):
            al.checks.softmax_gradient(answer)
    package = al.attention.softmax
    elsewhere = {**package.__globals__, "__name__": "__main__"}
    copied = types.FunctionType(package.__code__, elsewhere, "mine", package.__defaults__)
    with pytest.raises(al.checks.CheckFailed, match="ready-made"):
        al.checks.softmax(lambda scores, temperature=1.0: copied(scores, temperature))


def test_what_an_answer_leaves_switched_off_is_told_and_put_back():
    def switches(weights):
        torch.set_grad_enabled(False)
        return weights.sum(-1)

    def retypes(weights):
        torch.set_default_dtype(torch.float64)
        return weights.sum(-1)

    with pytest.raises(al.checks.CheckFailed, match="switched off afterwards"):
        al.checks.entropy(switches)
    with pytest.raises(al.checks.CheckFailed, match=r"all new tensors are torch\.float64"):
        al.checks.entropy(retypes)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


def test_an_answer_that_remembers_an_earlier_call_is_found():
    kept = {}

    def remembers(query, key):
        return kept.setdefault(query.shape, query @ key.mT / query.shape[-1] ** 0.5)

    with pytest.raises(al.checks.CheckFailed, match="scores are wrong"):
        al.checks.scaled_dot_scores(remembers)
