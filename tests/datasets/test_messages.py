"""Synthetic messages: templates to learn from and templates held out, which share no message."""

import pytest

from attnlab import datasets
from attnlab.datasets import messages
from attnlab.errors import DataError


def test_held_out_templates_are_worded_unlike_those_that_are_seen():
    seen, unseen = messages.messages(480), messages.messages(480, "unseen")
    assert not {*seen["text"]} & {*unseen["text"]}
    for part in (seen, unseen):
        assert part["text"].is_unique
        assert not part["text"].str.contains(r"[\[\]{}|]").any()  # everything is filled in
        assert part["template"].nunique() == 48 and part["entry"].nunique() == 24


def test_every_message_has_its_answer_in_the_book():
    book, asked = messages.answer_book(), messages.messages(240)
    assert book["topic"].unique().tolist() == list(messages.TOPICS)
    assert (book["topic"].to_numpy()[asked["entry"]] == asked["topic"]).all()
    assert book["question"].is_unique


def test_a_seed_gives_the_same_messages_again_and_another_gives_others():
    first = messages.messages(60, seed=3)
    assert first.equals(messages.messages(60, seed=3))
    assert not first["text"].equals(messages.messages(60, seed=4)["text"])


def test_what_cannot_be_made_is_refused():
    with pytest.raises(DataError, match="Did you mean 'unseen'"):
        messages.messages(3, "unsee")
    with pytest.raises(DataError, match="and not 100000"):
        messages.messages(100_000)


def test_texts_without_labels_are_read_from_a_table(tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text('said,when\n"broken, again",1\nlovely,2\n')
    assert datasets.texts_from_file(path, "said") == ["broken, again", "lovely"]
    with pytest.raises(DataError, match=r"no column 'text'.*Name columns with text="):
        datasets.texts_from_file(path)
    path.write_text("text;when\n;1\n")
    with pytest.raises(DataError, match="has no text"):
        datasets.texts_from_file(path)
