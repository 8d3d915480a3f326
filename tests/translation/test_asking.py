"""What a search asks a translator."""

import pytest
import torch

import attnlab as al
from attnlab.translation import asking


@pytest.fixture(scope="module")
def dates():
    return al.load_translator("dates")


def _decode(model, target, memory):
    return model.decode(target, memory)


def test_taking_the_likeliest_token_each_time_writes_what_the_translator_writes(dates):
    ask, asked = asking(dates, "fr: 2021-03-03", _decode)
    words = dates.target_words
    ids = [words.start]
    while ids[-1] != words.end and len(ids) < 14:
        ids.append(int(ask([ids])[0].argmax()))
    assert words.decode(ids[1:-1]) == dates.translate(["fr: 2021-03-03"])[0]
    assert list(asked) == [tuple(ids[:end]) for end in range(1, len(ids))]


def test_probabilities_sum_to_one_without_padding_and_start(dates):
    words = dates.target_words
    logs = asking(dates, "fr: 2021-03-03", _decode)[0]([[words.start], [words.start, 5]])
    assert torch.allclose(logs.exp().sum(-1), torch.ones(2))
    assert (logs[:, [dates.model.padding, words.start]] == -torch.inf).all()
