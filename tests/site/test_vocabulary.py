"""A classifier with fewer word pieces answers as before where its pieces are kept."""

import numpy as np
import pytest
import torch
from tiny_classifiers import tiny_classifier
from tiny_tokenizers import CORPUS, subword_classifier

from attnlab.errors import ModelError
from attnlab.site.vocabulary import browser_tokenizer, needed_pieces, with_pieces

TEXTS = CORPUS[:3]


@pytest.fixture(scope="module")
def clf():
    return subword_classifier("bert")


@pytest.fixture(scope="module")
def small(clf):
    return with_pieces(clf, needed_pieces(clf.tokenizer, TEXTS), clf.max_length)


def test_answers_to_texts_of_kept_pieces_stay(clf, small):
    assert len(small.tokenizer) < 0.8 * len(clf.tokenizer)
    for text in TEXTS:
        assert small.tokenizer.tokenize(text) == clf.tokenizer.tokenize(text)
    before, after = (one.predict(TEXTS).probabilities for one in (clf, small))
    assert after == pytest.approx(before, abs=1e-6)
    before, after = (one.attend(TEXTS[0]).weights for one in (clf, small))
    assert torch.allclose(after, before, atol=1e-6)


def test_any_other_word_is_cut_down_to_its_letters(clf, small):
    (lost, *_) = [
        piece
        for piece in clf.tokenizer.get_vocab()
        if piece.isalpha() and len(piece) > 2 and piece not in small.tokenizer.get_vocab()
    ]
    cut = small.tokenizer.tokenize(lost)
    assert len(cut) > 1
    assert "".join(piece.removeprefix("##") for piece in cut) == lost


def test_a_longer_text_is_cut_where_the_desk_cuts_it(clf):
    short = with_pieces(clf, needed_pieces(clf.tokenizer, TEXTS), 12)
    assert short.max_length == 12
    with pytest.warns(Warning, match="longer than 12 tokens"):
        assert short.encode([" ".join(TEXTS)]).lengths.tolist() == [12]


def test_pieces_are_filled_up_with_the_most_frequent(clf):
    least = needed_pieces(clf.tokenizer, TEXTS)
    more = needed_pieces(clf.tokenizer, TEXTS, len(least) + 5)
    added = sorted({*more} - {*least})
    names = clf.tokenizer.convert_ids_to_tokens(list(range(len(clf.tokenizer))))
    known = [index for index, name in enumerate(names) if not name.startswith("[unused")]
    assert len(added) == 5
    assert {index for index in known if index <= added[-1]} <= {*more}  # the lowest ids
    assert needed_pieces(clf.tokenizer, TEXTS, 10**6) == known


def test_the_classifier_it_is_made_from_stays(clf):
    before = {name: weight.clone() for name, weight in clf.model.state_dict().items()}
    with_pieces(clf, needed_pieces(clf.tokenizer, TEXTS[:1]), 12)
    after = clf.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert clf.max_length == 40


def test_a_page_is_told_everything_of_the_tokenizer(small):
    told = browser_tokenizer(small.tokenizer)
    ids = small.tokenizer("A film")["input_ids"]
    assert [told["pieces"][id] for id in ids] == small.tokenizer.convert_ids_to_tokens(ids)
    assert (ids[0], ids[-1]) == (told["cls"], told["sep"])
    assert told["pieces"][told["unknown"]] == "[UNK]"
    assert (told["lowercase"], told["without_accents"], told["apart"]) == (True, True, True)
    assert np.all([told["pieces"].count(name) == 1 for name in told["special"]])


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_another_kind_of_tokenizer_is_refused(family):
    clf = tiny_classifier(family)  # of whole words
    with pytest.raises(ModelError, match="BERT's WordPiece, such as movie-sentiment"):
        with_pieces(clf, range(10), 20)
