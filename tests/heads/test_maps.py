import pytest
import torch

import attnlab as al
from attnlab.errors import AttnlabError

SOURCE, FED, TARGET = ["der", "Tag", "</s>"], ["<s>", "the", "day"], ["the", "day", "</s>"]


def cross(scale=1.0, neutral=None):
    """Maps of two layers and two heads; layer 1, head 0 is scaled."""
    settings = al.HeadSettings(2, 2)
    settings.scale[1, 0] = scale
    weights = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    return al.CrossMaps(SOURCE, TARGET, weights, weights * 2, settings, neutral)


def pair(probabilities):
    own = al.HeadSettings(2, 2)
    weights = torch.ones(2, 2, 3, 3).tril()
    weights = weights / weights.sum(-1, keepdim=True)
    one, other = (
        al.AttentionMaps(tokens, weights, weights, torch.zeros(3).bool(), own)
        for tokens in (SOURCE, FED)
    )
    return al.Seq2SeqMaps(one, other, cross(), probabilities, ["a", "b", "c", "d"])


def test_maps_of_a_pair_give_the_same_four_pictures_as_those_of_a_text():
    neutral = cross()
    maps = cross(0.5, neutral)
    assert (maps.layers, maps.heads) == (2, 2)
    assert maps.of("weights") is maps.weights
    assert maps.of("contributions") is maps.contributions
    assert maps.of("scaled")[1, 0].equal(maps.weights[1, 0] * 0.5)
    assert maps.of("scaled")[0].equal(maps.weights[0])
    assert torch.allclose(maps.of("difference")[1, 0], -0.5 * maps.weights[1, 0])
    assert not maps.of("difference")[0].any()
    with pytest.raises(AttnlabError, match="Did you mean 'weights'"):
        maps.of("weight")


def test_a_difference_is_taken_from_the_neutral_maps_where_weights_changed():
    neutral = cross()
    changed = al.CrossMaps(
        SOURCE, TARGET, neutral.weights.flip(-1), neutral.weights, neutral.settings, neutral
    )
    assert changed.of("difference").equal(neutral.weights.flip(-1) - neutral.weights)


def test_a_place_that_maps_of_a_pair_do_not_have_is_refused():
    maps = cross()
    maps.check_place(1, 1)
    for place in ((2,), (0, 2), (-1, 0)):
        with pytest.raises(AttnlabError, match="layers are 0 to 1, heads 0 to 1"):
            maps.check_place(*place)


def test_candidates_are_the_likeliest_tokens_of_each_step_best_first():
    maps = pair(torch.tensor([[0.1, 0.5, 0.15, 0.25], [1.0, 0, 0, 0], [0.2, 0.25, 0.15, 0.4]]))
    top = maps.top(2)
    assert [[token for token, _ in step] for step in top] == [
        ["b", "d"],
        ["a", top[1][1][0]],
        ["d", "b"],
    ]
    assert [chance for _, chance in top[0]] == pytest.approx([0.5, 0.25])
    assert [len(step) for step in maps.top(99)] == [4, 4, 4]
    with pytest.raises(AttnlabError, match="k is 0"):
        maps.top(0)


def test_maps_say_what_they_are():
    assert repr(cross()) == "CrossMaps(2 layers x 2 heads, 3 source and 3 target tokens)"
    assert "2 + 2 layers x 2 heads" in repr(pair(torch.ones(3, 4) / 4))
