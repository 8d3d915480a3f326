"""Where heads look: each score finds the head made to have it, whatever the padding."""

import pytest
import torch

import attnlab as al
from attnlab.errors import TensorError
from attnlab.language import LanguageModel
from attnlab.language.looking import (
    HeadScores,
    induction_scores,
    previous_token_scores,
    sink_shares,
)

TOKENS = 12


def causal(batch=2, heads=3, tokens=TOKENS, seed=0):
    """Random causal weights, (B, H, T, T)."""
    scores = torch.randn(
        batch, heads, tokens, tokens, generator=torch.Generator().manual_seed(seed)
    )
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def looks_at(keys, tokens=TOKENS):
    """Weights (T, T) of a head that puts everything on one key of each query."""
    return torch.nn.functional.one_hot(torch.tensor(keys), tokens).float()


def test_previous_token_score_is_the_mean_of_the_first_lower_diagonal():
    weights = causal()
    expected = [weights[:, head, range(1, 12), range(11)].mean() for head in range(3)]
    found = previous_token_scores([weights])
    torch.testing.assert_close(found.scores[0], torch.stack(expected))
    assert found.queries == 2 * 11


def test_a_previous_token_head_and_an_induction_head_are_told_apart():
    ids = torch.tensor([[4, 1, 7, 2, 9, 3] * 2])
    before = looks_at([0, *range(11)])
    induction = looks_at([0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    weights = torch.stack([before, induction])[None]
    assert previous_token_scores([weights]).best == (0, 0)
    assert previous_token_scores([weights]).scores[0, 0] == 1
    found = induction_scores([weights], ids)
    assert found.best == (0, 1) and found.scores[0, 1] == 1 and found.scores[0, 0] < 0.2
    assert found.queries == 6


def test_the_latest_earlier_copy_counts_and_a_copy_right_before_does_not():
    ids = torch.tensor([[5, 8, 5, 6, 5, 5]])
    # queries 2 and 4 have copies at 0 and 2; query 5 has one right before it, at 4
    found = induction_scores([looks_at([0, 0, 1, 0, 3, 0], 6)[None, None]], ids)
    assert found.queries == 2 and found.scores.item() == 1


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("score", ["previous", "induction", "sink", "third"])
def test_padding_on_either_side_changes_nothing(side, score):
    weights = causal(1)
    ids = torch.tensor([[4, 1, 7, 2, 9, 3] * 2])
    padded = torch.full((1, 3, 15, 15), 0.5)  # padding looks anywhere
    where = slice(3, 15) if side == "left" else slice(0, 12)
    mask, more = torch.zeros(1, 15, dtype=torch.bool), torch.full((1, 15), 4)
    mask[:, where], more[:, where] = True, ids
    padded[:, :, where] = 0
    padded[:, :, where, where] = weights
    measure = {
        "previous": lambda weights, ids, mask: previous_token_scores([weights], mask),
        "induction": lambda weights, ids, mask: induction_scores([weights], ids, mask),
        "sink": lambda weights, ids, mask: sink_shares([weights], mask=mask),
        "third": lambda weights, ids, mask: sink_shares([weights], 2, mask),
    }[score]
    plain, found = measure(weights, ids, None), measure(padded, more, mask)
    torch.testing.assert_close(found.scores, plain.scores)
    assert found.uniform == pytest.approx(plain.uniform) and found.queries == plain.queries


def test_a_uniform_causal_head_is_not_above_itself():
    tokens = torch.arange(1, TOKENS + 1)
    uniform = (torch.ones(TOKENS, TOKENS).tril() / tokens[:, None])[None, None]
    ids = torch.tensor([[4, 1, 7, 2, 9, 3] * 2])
    for found in (
        previous_token_scores([uniform]),
        induction_scores([uniform], ids),
        sink_shares([uniform]),
        sink_shares([uniform], 3),
    ):
        assert found.above.item() == pytest.approx(0, abs=1e-6)


def test_sink_share_of_an_encoder_counts_all_queries_and_compares_with_one_over_all_tokens():
    weights = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    weights /= weights.sum(-1, keepdim=True)
    first, last = sink_shares([weights]), sink_shares([weights], -1)
    assert first.uniform == last.uniform == pytest.approx(1 / 8)
    torch.testing.assert_close(first.scores[0], weights[0, :, :, 0].mean(-1))
    torch.testing.assert_close(last.scores[0], weights[0, :, :, -1].mean(-1))


def test_maps_of_the_bundled_bert_show_its_sinks():
    clf = al.load_classifier("movie-sentiment")
    text = "it was a good film and then it was not so good any more but the end made up for it all"
    maps = clf.attend(text)
    both = sink_shares(maps).scores + sink_shares(maps, -1).scores
    assert both[1:].mean() > 0.3 > 2 / len(maps.tokens)


def test_every_form_of_weights_gives_the_same():
    torch.manual_seed(0)
    model = LanguageModel(20, 16, 4, 2).eval()
    ids, seen = torch.randint(0, 20, (1, 9)), []
    model(ids, seen=seen)
    forms = [
        seen,
        [weights for weights, _ in seen],
        torch.stack([weights for weights, _ in seen]),
        torch.stack([weights[0] for weights, _ in seen]),
    ]
    found = [previous_token_scores(form).scores for form in forms]
    assert found[0].shape == (2, 4)
    for other in found[1:]:
        assert torch.equal(found[0], other)


def test_a_table_has_a_row_for_each_head():
    table = HeadScores(torch.tensor([[0.5, 0.2], [0.1, 0.9]]), 0.1, 3).frame()
    assert table[["layer", "head"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert table["above"].tolist() == pytest.approx([0.4, 0.1, 0.0, 0.8], abs=1e-6)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(TensorError, match="without a cache"):
        previous_token_scores([torch.ones(1, 2, 1, 5)])
    with pytest.raises(TensorError, match="needs \\(2, 12\\)"):
        previous_token_scores([causal()], torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(TensorError, match="No query counts"):
        induction_scores([causal(1)], torch.arange(12)[None])
    with pytest.raises(TensorError, match="do not belong together"):
        induction_scores([causal(1)], torch.arange(5)[None])
    with pytest.raises(TensorError, match="No query counts"):
        sink_shares([causal(1)], -1)  # later tokens do not exist
    with pytest.raises(TensorError, match="No query counts"):
        previous_token_scores([torch.ones(1, 1, 1, 1)])
