"""Texts one behind the other: what is computed in groups belongs to the right tokens."""

import numpy as np
import pytest
import torch

from attnlab.classification.encoding import batches
from attnlab.evaluation.packed import Packed

WIDTH = 3


def states(lengths):
    """For each text its tokens' states (T, E): its number, then the token's, then chance."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.stack(
            [
                torch.full((length,), float(text)),
                torch.arange(float(length)),
                torch.rand(length, generator=generator),
            ],
            1,
        )
        for text, length in enumerate(lengths)
    ]


def packed(lengths):
    return Packed(torch.cat(states(lengths)), np.array(lengths))


CASES = [[4], [5, 5, 5], [5, 30, 6, 31, 7], [1, 300, 2, 299, 1, 1], list(range(40, 0, -1))]


@pytest.mark.parametrize("lengths", CASES)
def test_each_group_gets_its_texts_with_padding_masked(lengths):
    texts, seen = packed(lengths), []

    def compute(tokens, mask):
        real = torch.ones(tokens.shape[:2], dtype=bool) if mask is None else mask[:, 0, 0]
        for row, there in zip(tokens, real, strict=True):
            assert (row[there, 0] == row[0, 0]).all(), "one text's tokens only"
            assert row[there, 1].tolist() == list(range(int(there.sum()))), "in their order"
            seen.append(int(row[0, 0]))
        return tokens * 2

    found = texts.in_groups(texts.hidden, compute)
    assert torch.equal(found, 2 * texts.hidden)
    assert sorted(seen) == list(range(len(lengths)))
    assert len(texts.groups) == len(list(batches(np.array(lengths))))


@pytest.mark.parametrize("lengths", CASES)
def test_what_is_pooled_is_the_mean_of_a_texts_tokens_or_its_first(lengths):
    texts = packed(lengths)
    expected = torch.stack([text.mean(0) for text in states(lengths)])
    assert torch.allclose(texts.pooled("mean"), expected, atol=1e-5)
    first = torch.stack([text[0] for text in states(lengths)])
    assert torch.equal(texts.pooled("cls"), first)


@pytest.mark.parametrize("lengths", CASES)
def test_padded_batches_are_packed_in_the_order_of_the_texts(lengths):
    own, order, hidden = states(lengths), [], []
    for group in batches(np.array(lengths)):
        longest = max(lengths[text] for text in group)
        padded = torch.full((len(group), longest, WIDTH), 99.0)
        for row, text in enumerate(group):
            padded[row, : lengths[text]] = own[text]
        order.extend(group)
        hidden.append(padded)
    found = Packed.of(hidden, np.array(lengths), np.array(order))
    assert torch.equal(found.hidden, torch.cat(own))


def test_those_that_stay_keep_their_tokens():
    texts = packed([5, 30, 6])
    assert [len(group.texts) for group in texts.groups]  # cached, and not taken over
    left = texts.kept(np.array([True, False, True]))
    own = states([5, 30, 6])
    assert torch.equal(left.hidden, torch.cat([own[0], own[2]]))
    assert left.lengths.tolist() == [5, 6]
    assert sorted(np.concatenate([group.texts for group in left.groups])) == [0, 1]
    assert texts.kept(np.ones(3, bool)) is texts
