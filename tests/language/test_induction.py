"""Induction heads: two layers learn to repeat what they read, all at once; one cannot."""

import math

import pytest
import torch

from attnlab.errors import AttnlabError
from attnlab.language import (
    ablate_language_model,
    induction_scores,
    patch_activations,
    previous_token_scores,
    repeated_sequences,
    token_losses,
    train_induction,
)


def test_each_sequence_is_followed_by_itself_and_holds_no_token_twice_before():
    drawn = repeated_sequences(50, seed=3)
    assert drawn.ids.shape == (50, 64) and len(drawn) == 50
    assert 16 <= drawn.halves.min() < 20 and 28 < drawn.halves.max() <= 32
    for ids, mask, half in zip(drawn.ids, drawn.mask, drawn.halves.tolist(), strict=True):
        assert torch.equal(ids[:half], ids[half : 2 * half])
        assert len(ids[:half].unique()) == half
        assert mask.tolist() == [True] * 2 * half + [False] * (64 - 2 * half)


def test_what_the_first_half_tells_is_the_second_but_for_its_first_token():
    drawn = repeated_sequences(20, seed=1)
    assert torch.equal(drawn.second.sum(1), drawn.halves - 1)
    for second, half in zip(drawn.second, drawn.halves.tolist(), strict=True):
        assert int(second.int().argmax()) == half  # the loss at h is about token h + 1


def test_the_same_seed_draws_the_same_and_a_generator_goes_on():
    first, again = repeated_sequences(4, seed=5), repeated_sequences(4, seed=5)
    assert torch.equal(first.ids, again.ids)
    generator = torch.Generator().manual_seed(5)
    same, other = (repeated_sequences(4, seed=generator) for _ in range(2))
    assert torch.equal(same.ids, first.ids) and not torch.equal(other.ids, first.ids)


def test_halves_that_cannot_be_are_refused():
    with pytest.raises(AttnlabError, match="at most as many as there are"):
        repeated_sequences(2, vocabulary=20, shortest=16, longest=32)
    with pytest.raises(AttnlabError, match="0 sequences"):
        repeated_sequences(0)


def test_training_is_deterministic_and_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    model, history = train_induction(steps=3, seed=1)
    assert torch.equal(torch.rand(1), expected)
    again, same = train_induction(steps=3, seed=1)
    assert history.equals(same)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert history["step"].tolist() == [0, 3] and not model.training


@pytest.fixture(scope="module")
def trained():
    return train_induction(2, 300, seed=0)


def second_half(model, drawn):
    """Nats per token of what the first half tells."""
    losses = token_losses(model, drawn.ids, drawn.mask)
    return math.log(2) * float(losses[drawn.second].mean())


@pytest.mark.slow
def test_two_layers_learn_it_all_at_once(trained):
    model, history = trained
    loss = history.set_index("step")["loss"]
    assert second_half(model, repeated_sequences(64, seed=9)) < 0.5
    fall = loss.index[loss < 0.5][0] - loss.index[loss < 3.5][0]
    assert fall <= loss.index[loss < 3.5][0]  # most of the time before nothing seems to happen


@pytest.mark.slow
def test_a_previous_token_head_below_and_an_induction_head_above_do_it(trained):
    model, history = trained
    drawn, seen = repeated_sequences(64, seed=9), []
    model(drawn.ids, drawn.mask, seen=seen)
    before = previous_token_scores(seen, drawn.mask)
    copying = induction_scores(seen, drawn.ids, drawn.mask)
    assert before.best == (0, 0) and copying.best == (1, 0)
    assert before.scores.max() > 0.3 and copying.scores.max() > 0.5
    assert history["induction"].iloc[0] < 0.1 and history["induction"].iloc[-1] > 0.5
    table = ablate_language_model(model, drawn.ids, mask=drawn.mask, counted=drawn.second)
    assert (table["ci_low"] > 3).all()  # bits: without either it is no better than a guess


@pytest.mark.slow
def test_patching_shows_that_the_induction_head_carries_the_answer(trained):
    model, _ = trained
    drawn = repeated_sequences(32, shortest=20, longest=20, seed=9)
    clean, answers = drawn.ids[:, :-1], drawn.ids[:, -1]
    corrupted = clean.clone()
    corrupted[:, 19] = (answers + 1) % 64  # what followed the last token's earlier copy
    table = patch_activations(model, clean, corrupted, answers, corrupted[:, 19], positions=[-1])
    restored = table.set_index(["layer", "head"])["restored"]
    assert restored[1, 0] > 0.8 > 0.2 > abs(restored[0, 0])


@pytest.mark.slow
def test_one_layer_cannot_unless_the_answer_always_stands_equally_far_back():
    model, history = train_induction(1, 300, seed=0)
    assert history["loss"].min() > 3.0
    model, history = train_induction(1, 150, seed=0, fixed=24)
    assert history["loss"].iloc[-1] < 0.5
    assert history["induction"].iloc[-1] > 0.9  # what a score says on sequences of one length only
    assert second_half(model, repeated_sequences(64, seed=9)) > 3.0
