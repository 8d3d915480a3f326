"""Lines of print rendered by code, and pages of people's own cut into lines."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from attnlab import datasets
from attnlab.datasets import pages, printed
from attnlab.errors import DataError


@pytest.fixture(scope="module")
def lines():
    return printed.make(30, "train", strength=(0, 2), shuffled=0.3, seed=1)


def test_a_seed_draws_the_same_lines_and_another_does_not(lines):
    again = printed.make(30, "train", strength=(0, 2), shuffled=0.3, seed=1)
    assert again.texts == lines.texts and again.fonts == lines.fonts
    assert all(map(np.array_equal, again.images, lines.images))
    assert printed.make(30, "train", shuffled=0.3, seed=2).texts != lines.texts


def test_lines_are_as_promised(lines):
    for image, text, boxes in zip(lines.images, lines.texts, lines.boxes, strict=True):
        assert image.shape[0] == printed.HEIGHT and image.dtype == np.uint8
        assert 0 < len(text) <= printed.LONGEST and len(text.split()) <= 4
        assert set(text) <= set(printed.CHARACTERS) and text == text.strip()
        assert boxes.shape == (len(text), 4)
        cells = boxes[:, 0] + boxes[:, 2]
        np.testing.assert_allclose(cells[:-1], boxes[1:, 0], atol=1e-3)  # cells lie side by side


def test_the_ink_of_a_letter_lies_in_its_box():
    image, boxes = printed.draw_line("i wide", "DejaVuSans", ink=20)
    ink = 255 - image.astype(float)
    for character, (x, y, width, height) in zip("i wide", boxes, strict=True):
        inside = ink[round(y) : round(y + height), round(x) : round(x + width)]
        assert (inside.sum() > 500) == (character != " ")
    inside = np.zeros_like(ink)
    for x, y, width, height in boxes:
        inside[max(0, round(y) - 1) : round(y + height) + 1, int(x) - 1 : round(x + width) + 1] = 1
    assert (ink * (1 - inside)).sum() == 0


def test_parts_draw_from_their_own_tales_and_held_out_fonts_are_apart():
    train, test = printed.make(40, "train"), printed.make(40, "test", fonts="held-out")
    assert not set(train.fonts) & set(test.fonts)
    assert set(test.fonts) <= set(printed.FONTS[printed.HELD_OUT])
    assert test.texts == printed.make(40, "test").texts  # the same lines in other fonts
    tales = datasets.load_tales("grimm")
    words = [word for text in tales.test for word in text.split()]
    plain = [
        line
        for line in printed.make(60, "test").texts
        if line.islower() and not any(map(str.isdigit, line))
    ]
    assert len(plain) > 20
    known = {"".join(c for c in word if c in printed.CHARACTERS) for word in words}
    assert {word for line in plain for word in line.split()} <= known
    assert "king" in printed.known_words()


def test_noise_grows_with_its_strength_and_leaves_the_rest_as_it_is():
    data = [printed.make(12, "dev", strength=float(strength)) for strength in range(4)]
    assert all(one.texts == data[0].texts for one in data)
    away = [
        np.mean(
            [
                np.abs(noisy.astype(float) - clean).mean()
                for noisy, clean in zip(one.images, data[0].images, strict=True)
            ]
        )
        for one in data
    ]
    assert away[0] == 0 and away[1] > 1
    assert sorted(away) == away
    assert printed.scan(data[0].images[0], 2.0, 5).tolist() != (
        printed.scan(data[0].images[0], 2.0, 6).tolist()
    )


def test_pictures_of_several_widths_make_a_batch_with_a_mask(lines):
    images, mask = lines.padded([0, 1, 2])
    assert images.shape == (3, 32, max(lines.widths[:3])) and mask.shape == (3, images.shape[2])
    for row, image in enumerate(lines.images[:3]):
        np.testing.assert_array_equal(images[row][:, mask[row]], image)
    assert (images.transpose(0, 2, 1)[~mask] == 255).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"part": "tset"}, "Did you mean 'test'"),
        ({"fonts": "Stix"}, "Did you mean 'STIX'"),
        ({"strength": -1.0}, "from 0 .clean. to 4"),
        ({"strength": (2.0, 1.0)}, "the lowest and the highest"),
        ({"shuffled": 2.0}, "a share of words"),
    ],
)
def test_what_cannot_be_is_named(options, told):
    with pytest.raises(DataError, match=told):
        printed.make(1, **options)


# ── pages ──────────────────────────────────────────────────────────────────────────────────────

TEXTS = ["There was a king", "nine on sea", "jumping, twice", "The end."]


def page_of(texts, size=24, leading=1.5, colours=(250, 20)):
    """A page with a line for each text, and where each begins."""
    font = printed._font("DejaVuSerif", size)
    step = int(size * leading)
    page = Image.new("L", (40 + 16 * size, 40 + step * len(texts)), colours[0])
    for row, text in enumerate(texts):
        ImageDraw.Draw(page).text((20, 20 + row * step), text, fill=colours[1], font=font)
    return np.asarray(page)


@pytest.mark.parametrize("colours", [(250, 20), (10, 230)])
def test_a_page_is_cut_into_its_lines_dark_on_light_or_light_on_dark(colours):
    page = page_of(TEXTS, colours=colours)
    found = pages.cut_lines(page)
    assert len(found) == len(TEXTS)
    assert [line.box[1] for line in found] == sorted(line.box[1] for line in found)
    for line in found:
        assert line.image.shape == (line.box[3], line.box[2])
        assert np.median(line.image) > 200 and line.image.min() < 60  # dark on white


def test_a_shadow_over_the_page_and_specks_make_no_difference():
    page = page_of(TEXTS).astype(float)
    page *= np.linspace(1, 0.55, page.shape[1])
    specks = np.random.default_rng(0).integers(0, page.size, 30)
    page.ravel()[specks] = 0
    assert len(pages.cut_lines(page.astype(np.uint8))) == len(TEXTS)


def test_one_short_line_on_a_large_page_is_found():
    page = np.full((1400, 1000), 240, np.uint8)
    line = page_of(["alone"], colours=(240, 10))
    page[600 : 600 + len(line), 100 : 100 + line.shape[1]] = line
    (found,) = pages.cut_lines(page)
    assert 600 < found.box[1] < 600 + len(line)
    assert found.box[0] == pytest.approx(120, abs=8)


def test_a_dot_above_its_letter_stays_with_the_line():
    (line,) = pages.cut_lines(page_of(["nine on sea"], size=40))
    rows = np.flatnonzero((line.image < 100).any(1))
    assert rows[-1] - rows[0] > 27  # x-height and the dots


def test_files_are_read_at_their_own_size(tmp_path):
    page = page_of(TEXTS)
    Image.fromarray(page).save(tmp_path / "page.png")
    np.testing.assert_array_equal(pages.read_page(tmp_path / "page.png"), page)
    turned = Image.fromarray(page.T.copy())
    exif = Image.Exif()
    exif[0x0112] = 5  # taken with the camera turned and mirrored
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert pages.read_page(tmp_path / "turned.jpg").shape == page.shape


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "b.png").write_text("<html>")
    for name in ("a.png", "b.png", "none.png"):
        with pytest.raises(DataError, match=name):
            pages.read_page(tmp_path / name)
    with pytest.raises(DataError, match="Nothing stands out"):
        pages.cut_lines(np.full((60, 200), 200, np.uint8))
    with pytest.raises(DataError, match="uint8 array"):
        pages.cut_lines(np.zeros((60, 200)))
    with pytest.raises(DataError, match="uint8 array"):
        pages.ink_of(np.zeros((0, 5), np.uint8))
