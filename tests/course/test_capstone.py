"""The court cases of lesson 12: verdicts on the claims of the notebook, and no traces left."""

import ast
import inspect
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import attnlab as al
from attnlab.course.checks import capstone
from attnlab.course.checks.capstone import court

SOURCE = Path(__file__).parents[2] / "notebooks" / "src" / "12_capstone.py"
CASES = [module.CASE for module in vars(capstone).values() if hasattr(module, "CASE")]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def in_the_notebook(name):
    """The function or class of this name as the notebook defines it."""
    tree = ast.parse(SOURCE.read_text())
    found = [node for node in tree.body if getattr(node, "name", None) == name]
    assert len(found) == 1, f"{name} is defined {len(found)} times"
    known = {"torch": torch, "math": math, "nn": nn}
    exec(compile(ast.Module(found, []), SOURCE.name, "exec"), known)
    return known[name]


def test_there_are_cases_of_both_kinds():
    assert len(CASES) >= 8
    assert sum(not case.guilty for case in CASES) >= 2
    for case in CASES:
        assert len(case.wrong) >= 3
        assert len(case.right) >= 2


@cases
def test_the_claim_of_the_notebook_is_the_claim_before_the_court(case):
    assert case.ours(in_the_notebook(case.claim.run.__name__)) is case.guilty


@cases
def test_our_trial_tells_every_wrong_version_from_every_right_one(case):
    for seed in range(5):
        torch.manual_seed(seed)
        for version in case.wrong:
            assert case.ours(version.run) is True, version.does
        for version in case.right:
            assert case.ours(version.run) is False, version.does


@cases
def test_what_is_said_of_a_version_is_a_sentence_and_a_question(case):
    versions = [case.claim, *case.wrong, *case.right]
    for version in versions:
        assert version.does[0].islower()
        assert not version.does.endswith(".")
        assert "?" in version.ask or version.ask.endswith(".")
    assert len({version.does for version in versions}) == len(versions)


def test_no_version_can_be_told_from_another_by_its_wrapper():
    seen = set()
    for version in [CASES[0].claim, *CASES[0].wrong, *CASES[0].right]:
        candidate = court._Hearing().candidate(version, "candidate")
        seen.add((candidate.__name__, inspect.getsource(candidate), candidate.__doc__))
        assert candidate is not version.run
    assert len(seen) == 1


def test_a_trial_leaves_the_random_numbers_of_numpy_and_python_as_they_were():
    np.random.seed(3)  # noqa: NPY002 - the state that must be left alone
    random.seed(3)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - likewise
    al.checks.EXERCISES["trial_scale"].examine(lambda candidate: scale(candidate))
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002 - likewise
    assert random.getstate() == before[1]


def scale(candidate):
    for width in (4, 64):
        query, key = torch.randn(2, 200, width)
        if abs(candidate(query, key).log().std(-1).mean() - 1) > 0.2:
            return True
    return False
