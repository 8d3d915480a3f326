"""Order and batches: how many tokens are padding, counted by hand."""

import pytest
from tiny_classifiers import WORDS, tiny_classifier

from attnlab.compression.batching import throughput
from attnlab.errors import AttnlabError, DataError

# numbers of words; each text has two special tokens more
COUNTS = [3, 20, 3, 18, 4, 20, 3]
TEXTS = [" ".join(WORDS[index % len(WORDS)] for index in range(count)) for count in COUNTS]
TOKENS = sum(COUNTS) + 2 * len(COUNTS)


@pytest.fixture(scope="module")
def clf():
    return tiny_classifier("bert")


def padding(groups):
    return sum(max(group) * len(group) - sum(group) for group in groups)


@pytest.mark.parametrize(
    ("by", "batch", "groups"),
    [
        ("as they come", 2, [[3, 20], [3, 18], [4, 20], [3]]),
        ("as they come", 3, [[3, 20, 3], [18, 4, 20], [3]]),
        ("as they come", 32, [COUNTS]),
        ("length", 2, [[3, 3], [3, 4], [18, 20], [20]]),
        ("length", 3, [[3, 3, 3], [4, 18, 20], [20]]),
    ],
)
def test_padding_is_counted_batch_by_batch(clf, by, batch, groups):
    measured = throughput(clf, TEXTS, by, batch)
    assert (measured.texts, measured.batches) == (7, len(groups))
    assert measured.tokens == TOKENS
    assert measured.padding == padding(groups)
    assert measured.padding_share == pytest.approx(padding(groups) / (TOKENS + padding(groups)))
    assert measured.texts_per_second == pytest.approx(7 / measured.seconds)


def test_a_budget_of_tokens_makes_the_batches_that_predict_makes(clf):
    many = TEXTS * 30
    measured = throughput(clf, many, "tokens", batch=1)
    encoded = clf.encode(many)
    groups = [encoded.lengths[group].tolist() for group in encoded.batches()]
    assert (measured.batches, measured.padding) == (len(groups), padding(groups))
    assert measured.padding < throughput(clf, many, "as they come").padding / 10


def test_every_text_runs_in_the_batches_that_are_counted(clf, monkeypatch):
    shapes, plain = [], clf.model.forward

    def forward(*args, **inputs):
        shapes.append(tuple(inputs["input_ids"].shape))
        return plain(*args, **inputs)

    monkeypatch.setattr(clf.model, "forward", forward)
    throughput(clf, TEXTS, "length", 3)
    assert shapes[1:] == [(3, 5), (3, 22), (1, 22)]  # the first warms up


def test_what_cannot_be_measured_is_refused(clf):
    with pytest.raises(AttnlabError, match=r"no order 'lenght'. Did you mean 'length'"):
        throughput(clf, TEXTS, "lenght")
    with pytest.raises(DataError, match="no texts"):
        throughput(clf, [])
    for batch in (0, 2.5):
        with pytest.raises(AttnlabError, match=f"batch is {batch}"):
            throughput(clf, TEXTS, batch=batch)
