"""The reading aid: what it reads, how sure it is, where it looks, and how that is measured."""

import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from attnlab import applications, datasets
from attnlab.applications import line_pieces, ppocr
from attnlab.applications.edits import edit_distance, right_characters
from attnlab.applications.line_model import BEHIND, LineTransformer
from attnlab.applications.reading import Reader, Reading
from attnlab.cli import main
from attnlab.datasets import pages, printed
from attnlab.errors import DataError, ModelError, TensorError

SMALL = {"d_model": 32, "heads": 2, "feed_forward": 32}


@pytest.fixture(scope="module")
def reader():
    return applications.load_reader("printed")


@pytest.fixture(scope="module")
def dev():
    return printed.make(60, "dev", strength=(0, 1), seed=7)


@pytest.fixture(scope="module")
def readings(reader, dev):
    return reader.read(dev.images)


def drawn(text, font="DejaVuSerif", size=40, colours=(255, 0), margin=15):
    """A picture of a line of any length, of its own height."""
    face = printed._font(font, size)
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin), colours[0])
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=colours[1], font=face)
    return np.asarray(image)


# ── the reader that comes with attnlab ─────────────────────────────────────────────────────────


def test_it_reads_lines_of_tales_that_it_never_saw(dev, readings):
    wrong = [edit_distance(one.text, text) for one, text in zip(readings, dev.texts, strict=True)]
    assert sum(wrong) / sum(map(len, dev.texts)) < 0.05
    assert np.mean([not count for count in wrong]) > 0.7


def test_a_reading_has_a_number_for_each_character(dev, readings):
    for one, image in zip(readings, dev.images, strict=True):
        count = len(one.text)
        assert one.probabilities.shape == one.where.shape == (count,)
        assert ((one.probabilities > 0) & (one.probabilities <= 1)).all() and 0 < one.end <= 1
        assert one.attention.shape == (count, len(one.columns))
        np.testing.assert_allclose(one.attention.sum(1), 1, atol=1e-4)
        assert (one.columns >= 0).all() and (one.columns < image.shape[1] + 4).all()
        np.testing.assert_allclose(one.where, one.attention @ one.columns, atol=1e-3)
        for character, chance, others in zip(
            one.text, one.probabilities, one.alternatives, strict=True
        ):
            assert len(others) == 3
            assert others[0][0] == character and others[0][1] == pytest.approx(chance)
            assert [share for _, share in others] == sorted((s for _, s in others), reverse=True)


def test_the_pointer_lies_on_the_letter_far_more_often_than_chance(reader, dev):
    """Not more often than the place in the line does, on lines as short as these."""
    table = applications.pointer_table(reader, dev).set_index("way")
    assert table.loc["attention", "inside_low"] > 0.75
    assert table.loc["middle", "inside_high"] < 0.2
    assert table.loc["proportional", "above"] == 0


def test_sure_characters_are_right_more_often_than_unsure_ones(reader):
    hard = printed.make(60, "dev", strength=3.0, seed=8)
    table = applications.calibration_table(reader.read(hard.images), hard.texts)
    assert table["n"].sum() > 300
    assert table["right"].iloc[-1] > 0.9 > table["right"].iloc[0]


def test_a_line_is_read_alike_alone_and_among_others(reader, dev, readings):
    for row in (0, int(np.argmin(dev.widths)), int(np.argmax(dev.widths))):
        (alone,) = reader.read([dev.images[row]])
        assert alone.text == readings[row].text
        np.testing.assert_allclose(alone.probabilities, readings[row].probabilities, atol=1e-4)
        np.testing.assert_allclose(alone.where, readings[row].where, atol=0.02)


@pytest.mark.parametrize("colours", [(255, 0), (20, 230)])
@pytest.mark.parametrize("size", [24, 90])
def test_pictures_of_any_size_dark_on_light_or_light_on_dark(reader, colours, size):
    image = drawn("the old king", size=size, colours=colours)
    colour = np.stack([image] * 3, -1)
    for given in (image, colour):
        (one,) = reader.read([given])
        assert edit_distance(one.text, "the old king") <= 1
        assert (np.diff(one.where) > 0).mean() > 0.9  # from left to right
        assert 0 < one.where[0] < image.shape[1] / 6  # in pixels of the picture that was given


def test_long_lines_are_read_in_pieces_and_put_together(reader):
    text = "There was once a poor woman who lived in the wood with her little daughter"
    image = drawn(text)
    (one,) = reader.read([image])
    assert edit_distance(one.text, text) <= 6
    assert len(one.probabilities) == len(one.where) == len(one.alternatives) == len(one.text)
    assert one.attention.shape == (len(one.text), len(one.columns))
    proportional = (np.arange(len(one.text)) + 0.5) / len(one.text) * image.shape[1]
    assert np.corrcoef(one.where, proportional)[0, 1] > 0.99


def test_a_page_of_lines_is_read_in_order(reader):
    texts = ["Once upon a time", "in the deep forest", "he found it."]
    lines = [drawn(text, size=28) for text in texts]
    width = max(line.shape[1] for line in lines)
    page = np.vstack(
        [np.pad(line, ((0, 0), (0, width - line.shape[1])), constant_values=255) for line in lines]
    )
    found = reader.read([line.image for line in pages.cut_lines(page)])
    assert len(found) == 3
    for one, text in zip(found, texts, strict=True):
        assert edit_distance(one.text, text) <= 2


def test_pictures_that_cannot_be_read_are_named_with_their_number(reader):
    good = drawn("king")
    refused = {
        "Picture 1: Nothing stands out": [good, np.full((50, 90), 255, np.uint8)],
        "Picture 0: A picture of print is a uint8 array": [np.zeros((50, 90))],
        r"Write \[image\] for one": good,
    }
    for told, images in refused.items():
        with pytest.raises(DataError, match=told):
            reader.read(images)
    assert reader.read([]) == []


def test_unsure_characters_stand_in_brackets():
    one = Reading("king", np.array([1, 0.2, 0.3, 0.95]), *[None] * 4, end=1.0)
    assert one.marked(0.9) == "k[in]g"
    assert one.marked(0.97) == "k[ing]" and one.marked(0) == "king"


# ── the model ──────────────────────────────────────────────────────────────────────────────────


def test_what_stands_behind_a_picture_has_no_say():
    torch.manual_seed(0)
    model = LineTransformer(10, **SMALL).eval()
    picture = torch.rand(1, 32, 37)
    wide = torch.full((1, 32, 90), BEHIND)
    wide[..., :37] = picture
    alone, padded = model.encode(picture), model.encode(wide)
    count = alone.states.shape[1]
    assert count == 10 and padded.mask[0, 0].sum() == count
    torch.testing.assert_close(padded.states[:, :count], alone.states, atol=1e-5, rtol=1e-5)


def test_pictures_of_another_height_and_far_too_wide_ones_are_refused():
    model = LineTransformer(10, **SMALL)
    for picture, told in (
        (torch.rand(1, 30, 64), r"\(batch, 32, width\)"),
        (torch.rand(32, 64), r"\(batch, 32, width\)"),
        (torch.rand(1, 32, 4000), "Cut it at a gap"),
    ):
        with pytest.raises(TensorError, match=told):
            model.encode(picture)


def test_training_goes_on_saves_and_loads_the_same_reader(tmp_path):
    train, dev = printed.make(40, "train"), printed.make(6, "dev")
    made = Reader.train(train, dev, steps=3, batch_size=20, model=SMALL)
    assert {"dev_right", "dev_exact"} <= set(made.history.rows[-1])
    path = made.save(tmp_path / "mine.safetensors")
    again = applications.load_reader(path)
    assert again.characters == made.characters and again.history.rows == made.history.rows
    half = {name: tensor.half().float() for name, tensor in made.model.state_dict().items()}
    for name, tensor in again.model.state_dict().items():
        torch.testing.assert_close(tensor, half[name], atol=0, rtol=0)
    with pytest.raises(DataError, match="no printed lines"):
        Reader.train(train, dev.select([]), model=SMALL)
    with pytest.raises(DataError, match="does not know"):
        made.ids("naïve")
    with pytest.raises(ModelError, match="Give those that it was made with"):
        Reader(made.model, "abc")
    with pytest.raises(ModelError, match="Did you mean 'printed'"):
        applications.load_reader("print")


@pytest.mark.slow
@pytest.mark.thorough
def test_the_loss_of_a_small_reader_falls():
    lines = printed.make(64, "train", seed=3)
    train = lines.select(list(range(64)) * 20)  # measured every 40 steps
    made = Reader.train(train, lines, steps=240, batch_size=32, learning_rate=3e-3, model=SMALL)
    first, last = made.history.rows[0], made.history.rows[-1]
    assert last["train_loss"] < 0.75 * first["train_loss"]


# ── measuring ──────────────────────────────────────────────────────────────────────────────────


def test_a_table_counts_lines_and_characters_and_compares_on_the_same_lines():
    lines = printed.make(40, "dev", seed=2)
    table = applications.reading_table(
        {
            "perfect": lambda images: lines.texts,
            "first letter lost": lambda images: [text[1:] for text in lines.texts],
            "no spaces": lambda images: [text.replace(" ", "") for text in lines.texts],
        },
        {"dev": lines},
    ).set_index("way")
    characters = sum(map(len, lines.texts))
    assert table.loc["perfect", ["exact", "errors", "more"]].tolist() == [1, 0, 0]
    assert table.loc["first letter lost", "errors"] == pytest.approx(40 / characters)
    assert table.loc["first letter lost", "exact"] == 0
    assert table.loc["first letter lost", "more_low"] > 0
    spaces = sum(text.count(" ") for text in lines.texts)
    assert table.loc["no spaces", "errors"] == pytest.approx(spaces / characters)
    without = applications.reading_table(
        {"no spaces": lambda images: [text.replace(" ", "") for text in lines.texts]},
        {"dev": lines},
        spaces=False,
    )
    assert without["errors"].item() == 0
    with pytest.raises(DataError, match="read 1 lines of 40"):
        applications.reading_table({"one": lambda images: ["a"]}, {"dev": lines})


def test_new_words_are_counted_apart():
    lines = printed.PrintedDataset([None] * 2, ["the king", "Xylophon, the"], [], [], "made up")
    table = applications.word_table(
        {"way": lambda images: ["the kind", "Xylophon, the"]}, {"made up": lines}
    ).set_index("words")
    assert table.loc["known", "n"] == 3 and table.loc["known", "right"] == pytest.approx(2 / 3)
    assert table.loc["new", "n"] == 1 and table.loc["new", "right"] == 1


@pytest.mark.parametrize(
    ("found", "wanted", "distance", "right"),
    [
        ("king", "king", 0, "1111"),
        ("k1ng", "king", 1, "1011"),
        ("kiing", "king", 1, None),
        ("", "king", 4, ""),
        ("kingdom", "", 7, "0000000"),
        ("ing", "king", 1, "111"),
    ],
)
def test_distances_and_right_characters(found, wanted, distance, right):
    assert edit_distance(found, wanted) == edit_distance(wanted, found) == distance
    told = right_characters(found, wanted)
    assert len(told) == len(found)
    if right is not None:
        assert "".join(map(str, told.astype(int))) == right
    assert (~told).sum() <= distance


def test_a_pointer_that_always_hits_is_counted_so():
    lines = printed.make(20, "dev", seed=4)

    class Perfect:
        def read(self, images):
            return [
                Reading(text, *[None] * 1, boxes[:, 0] + boxes[:, 2] / 2, [], None, np.arange(9), 1)
                for text, boxes in zip(lines.texts, lines.boxes, strict=True)
            ]

    table = applications.pointer_table(Perfect(), lines).set_index("way")
    assert table.loc["attention", "inside"] == 1 and table.loc["attention", "pixels"] == 0
    assert table.loc["middle", "inside"] < 0.5
    assert table["n"].nunique() == 1
    letters = sum(len(text.replace(" ", "")) for text in lines.texts)
    assert table.loc["attention", "n"] == letters


def test_pieces_lie_where_they_were_cut():
    image = drawn("a very long line of words that no reader takes at once")
    pieces = line_pieces.pieces_of(image)
    assert len(pieces) > 2
    assert all(piece.space for piece in pieces[1:]) and not pieces[0].space
    assert [piece.left for piece in pieces] == sorted(piece.left for piece in pieces)
    for piece in pieces:
        assert piece.ink.shape[0] == 32 and piece.ink.shape[1] <= 260
        assert 0 <= piece.left + 6 * piece.scale <= image.shape[1]


# ── the peer and the command ───────────────────────────────────────────────────────────────────


def test_the_peer_reads_clean_lines():
    if not (datasets.cache_dir() / ppocr.PPOCR.file).exists():
        pytest.skip("the peer's file is fetched only when it is asked for")
    lines = printed.make(8, "dev", fonts="DejaVu Serif")
    table = applications.reading_table({"peer": applications.by_ppocr}, {"dev": lines})
    assert table["errors"].item() < 0.1


def typed(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["apps", "read", *map(str, arguments)])
    told = capsys.readouterr()
    return told.out, told.err, ended.value.code


def test_the_command_reads_your_own_files_and_marks_what_is_unsure(tmp_path, capsys):
    Image.fromarray(drawn("the old king", size=30)).save(tmp_path / "one.png")
    Image.fromarray(drawn("went away", size=30)).save(tmp_path / "two.jpg")
    out, err, code = typed(capsys, tmp_path / "one.png", tmp_path / "two.jpg", "--unsure", "0")
    assert code == 0 and not err
    lines = out.splitlines()
    assert lines[0].endswith("one.png:") and edit_distance(lines[1], "the old king") <= 1
    assert lines[2].endswith("two.jpg:") and edit_distance(lines[3], "went away") <= 1
    out, _, _ = typed(capsys, tmp_path / "one.png", "--unsure", "1", "--alternatives")
    assert out.startswith("[") and re.search(r"line 1, character 1: \S+ \d+%, \S+ \d+%", out)


def test_the_command_names_files_that_it_cannot_read(tmp_path, capsys):
    (tmp_path / "page.png").write_text("no picture")
    Image.new("L", (90, 60), 255).save(tmp_path / "white.png")
    for name in ("page.png", "white.png", "none.png"):
        _, err, code = typed(capsys, tmp_path / name)
        assert code == 1 and name in err and "Traceback" not in err


def test_the_help_says_what_it_must_not_be_used_for(capsys):
    out, _, code = typed(capsys, "--help")
    assert code == 0
    assert "Do not use it" in out and "handwriting" in out
