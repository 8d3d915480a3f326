"""Those that are left after an early exit share batches again, and nobody's states change."""

import numpy as np
import torch

from attnlab.classification.encoding import batches
from attnlab.compression.exit_batches import OnTheWay, regrouped

WIDTH = 3


def on_their_way(lengths, *groups):
    """Batches of texts whose state at a token is (place, token, ...), padded with 99."""
    found = []
    for group in groups:
        longest = max(lengths[place] for place in group)
        hidden = torch.full((len(group), longest, WIDTH), 99.0)
        real = torch.zeros(len(group), 1, 1, longest, dtype=torch.bool)
        for row, place in enumerate(group):
            tokens = int(lengths[place])
            hidden[row, :tokens, 0] = place
            hidden[row, :tokens, 1] = torch.arange(tokens, dtype=torch.float32)
            real[row, ..., :tokens] = True
        found.append(OnTheWay(np.array(group), hidden, None if real.all() else real))
    return found


def states(there):
    """By place: the states at the text's tokens, by the mask."""
    found = {}
    for batch in there:
        for row, place in enumerate(batch.texts.tolist()):
            hidden = batch.hidden[row]
            found[place] = hidden if batch.mask is None else hidden[batch.mask[row, 0, 0]]
    return found


def test_texts_of_several_batches_share_one_and_keep_their_states():
    lengths = np.array([5, 30, 6, 31, 7])
    there = on_their_way(lengths, [0, 2], [4], [1], [3])
    together = regrouped(there, lengths)
    assert len(together) == len(list(batches(lengths))) == 2
    before, after = states(there), states(together)
    assert sorted(after) == [0, 1, 2, 3, 4]
    assert all(torch.equal(before[place], after[place]) for place in before)


def test_batches_that_cannot_be_fewer_stay_as_they_are():
    lengths = np.array([5, 300])
    there = on_their_way(lengths, [0], [1])
    assert regrouped(there, lengths) is there
    assert regrouped([], lengths) == []


def test_what_was_padded_to_a_text_that_left_goes_with_it():
    lengths = np.array([5, 9, 5])
    (batch,) = on_their_way(lengths, [0, 1, 2])
    left = batch.kept(np.array([True, False, True]), lengths)
    assert left.texts.tolist() == [0, 2]
    assert left.hidden.shape == (2, 5, WIDTH)
    assert left.mask is None  # nothing is padded any more
    assert batch.kept(np.ones(3, bool), lengths) is batch
