"""Tagged words from files of columns: a column is what it is taken for, or we ask."""

import pytest

from attnlab.datasets.conll import from_conll
from attnlab.errors import AttnlabWarning, DataError

WORDS = [["Anna", "saw", "New", "York"], ["It", "rained"]]
TAGS = [["B-PER", "O", "B-LOC", "I-LOC"], ["O", "O"]]


def lines(*columns, between="\t", comment="", first=1, goes_on=False):
    """The sentences as a file: each column is "word", "tag", "count" or a text that stays."""
    number, made = first - 1, []
    for words, tags in zip(WORDS, TAGS, strict=True):
        number = number if goes_on else first - 1
        made += [comment] if comment else []
        for word, tag in zip(words, tags, strict=True):
            number += 1
            cells = {"word": word, "tag": tag, "count": str(number), "lower": word.lower()}
            made.append(between.join(cells.get(column, column) for column in columns))
        made.append("")
    return "\n".join(made)


def read(folder, content, **options):
    (folder / "a.conll").write_text(content, encoding="utf-8")
    return from_conll(folder / "a.conll", **options)


def assert_read(data):
    assert data.words == WORDS
    assert [data.named(index) for index in range(2)] == TAGS


@pytest.mark.parametrize(
    "content",
    [
        lines("word", "tag"),
        lines("word", "tag", between=" "),
        lines("word", "tag", between="  \t "),
        lines("word", "tag").replace("\n", "\r"),
        lines("word", "tag").replace("\n", "  \r\n"),
        lines("word", "tag", ""),  # a tab at every end
        lines("tag", "word"),
        lines("word", "NN", "tag"),
        lines("word", "NN", "B-NP", "tag"),
        lines("word", "tag", "NN"),
        lines("count", "word", "tag"),
        lines("count", "word", "tag", first=0, between=" "),
        lines("count", "word", "tag", goes_on=True),
        lines("count", "word", "lower", "NN", "_", "3", "nsubj", "tag"),
        lines("count", "word", "tag", "O"),  # GermEval: an inner layer that names nothing
        lines("count", "word", "tag", comment="# text = B-cells O O"),
        lines("word", "tag", comment="# a comment"),
        lines("word", "tag", comment="#\thttp://example.org\t[2009-10-17]"),
        lines("word", "O", "tag", comment="-DOCSTART- -X- O O\n", between=" "),
    ],
)
def test_words_and_tags_are_found_wherever_they_stand(tmp_path, content):
    assert_read(read(tmp_path, content))


def test_a_line_for_two_words_and_an_empty_word_of_conllu_are_no_words(tmp_path):
    content = lines("count", "word", "tag").replace(
        "3\tNew", "3-4\tNewYork\t_\n2.1\telided\t_\n3\tNew"
    )
    assert_read(read(tmp_path, content))
    dates = "3-4\tB-DATE\n5.1\tO\nx\tO\n"  # without a count these are words
    assert read(tmp_path, dates).words == [["3-4", "5.1", "x"]]


def test_a_hash_may_be_a_word(tmp_path):
    data = read(tmp_path, "# O\n#fun B-TAG\nyes O\n")
    assert data.words == [["#", "#fun", "yes"]]


def test_blanks_of_other_kinds_belong_to_words(tmp_path):
    data = read(tmp_path, "10\u00a0000 B-NUM\nNew York\tO\n".replace("New York\tO", "a\u2009b O"))
    assert data.words == [["10\u00a0000", "a\u2009b"]]
    data = read(tmp_path, "New York\tB-LOC\nin\tO\n")
    assert data.words == [["New York", "in"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lines("word", "tag", "tag"), "tags in several columns: column 1 .*tag=1 or tag=2"),
        (lines("word", "B-NP", "tag", "B-X"), "column 2 .*column 3 .*tag=2 or tag=3"),
        (lines("count", "tag"), "no words.*word=0"),
        (lines("17", "word", "tag"), "holds no letters.*word=0 or word=1"),
        (lines("word", "tag").replace("saw\tO", "saw\tNN\tO"), "Line 2 .*has 3 columns"),
        (lines("word", "tag", between=" ").replace("saw", "s a w"), "Line 2 .*has 4 columns"),
        (lines("word", "B-NP", "tag").replace("I-LOC", "LOC"), "Line 4 .*tag 'LOC'"),
        (lines("word", "tag").replace("It\t", "\t"), "Line 6"),
    ],
)
def test_what_cannot_be_told_apart_is_asked_about(tmp_path, content, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)


def test_columns_can_be_named(tmp_path):
    content = lines("count", "lower", "word", "tag", "B-X")
    assert_read(read(tmp_path, content, word=2, tag=3))
    assert_read(read(tmp_path, content, word=-3, tag=-2))
    for options, words in (
        ({"word": 5}, "columns 0 to 4"),
        ({"tag": -6}, "columns 0 to 4"),
        ({"word": 3, "tag": 3}, "both column 3"),
    ):
        with pytest.raises(DataError, match=words):
            read(tmp_path, content, **options)


def test_a_first_column_of_few_words_is_asked_about(tmp_path):
    tagged = [(f"word{number}", "B-X" if number % 3 else "O") for number in range(60)]
    content = "\n".join(f"{('DT', 'NN')[len(word) % 2]}\t{word}\t{tag}" for word, tag in tagged)
    with pytest.raises(DataError, match=r"few different words.*word=0 or word=1"):
        read(tmp_path, content)
    assert read(tmp_path, content, word=1).words[0][0] == "word0"


def test_a_header_and_missing_empty_lines_are_pointed_at(tmp_path):
    with pytest.warns(AttnlabWarning, match="names of the columns"):
        assert_read(read(tmp_path, "token\tner_tag\n" + lines("word", "tag")))
    with pytest.warns(AttnlabWarning, match="one sentence of 800 words"):
        read(tmp_path, "word\tO\nAnna\tB-PER\n" * 400)
