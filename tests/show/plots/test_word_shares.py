"""The picture of a label's share among texts with a word, beside what the word does."""

import pytest

from attnlab.errors import AttnlabError
from attnlab.show import plots

WORDS = ["dull", "life", "the", "I"]
FOUND, COUNTS = [10, 80, 500, 60], [100, 100, 1000, 200]


def drawn(words=WORDS, found=FOUND, counts=COUNTS, changes=(9, -30, 0, -20)):
    labels = ("praise (%)", "change (points)")
    return plots.word_shares(words, found, counts, changes, overall=0.5, labels=labels)


def test_words_stand_in_the_order_of_their_shares_with_how_many_texts_there_are():
    left = drawn().figure.axes[0]
    named = [text.get_text() for text in left.get_yticklabels()]
    assert named == ["life  (100)", "the  (1,000)", "I  (200)", "dull  (100)"]
    assert list(left.lines[0].get_xdata()) == [80, 50, 30, 10]


def test_a_word_fits_where_its_share_and_its_change_say_the_same():
    alt = drawn().alt
    assert "Fits: life, dull; does not fit: I; share not clear: the." in alt
    assert "Fits: dull; does not fit: life, I;" in drawn(changes=[9, 30, 0, -20]).alt


def test_every_bar_has_its_number():
    side = drawn().figure.axes[1]
    assert [text.get_text() for text in side.texts] == ["−30", "0", "−20", "+9"]


def test_numbers_that_do_not_fit_and_words_that_no_text_has_are_refused():
    with pytest.raises(AttnlabError, match="4 words"):
        drawn(found=[1, 2])
    with pytest.raises(AttnlabError, match="No text has the word 'life'"):
        drawn(counts=[100, 0, 1000, 200], found=[10, 0, 500, 60])


def test_a_dollar_is_no_formula():
    left = drawn(words=["$5", "life", "the", "I"]).figure.axes[0]
    assert left.get_yticklabels()[-1].get_text() == r"\$5  (100)"
