"""Pictures of one's own: files of every kind, folders of classes, and what is broken in them."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import attnlab as al
from attnlab.datasets import images_from_folder, read_picture
from attnlab.errors import AttnlabWarning, DataError


def noise(height=8, width=8, colours=(), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, *colours), np.uint8)


def packed(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(tmp_path, content, size=(8, 8), name="a.png", **options):
    return read_picture(write(tmp_path / name, content), size, **options)


# ── kinds of files ─────────────────────────────────────────────────────────────────────────────


def test_a_picture_of_the_right_size_comes_back_as_it_is(tmp_path):
    grey, colour = noise(6, 9), noise(6, 9, (3,))
    assert (read(tmp_path, packed(grey), (6, 9)) == grey).all()
    assert (read(tmp_path, packed(colour), (6, 9), grey=False) == colour).all()
    assert (read(tmp_path, packed(grey), (6, 9), grey=False) == grey[..., None]).all()
    assert (read(tmp_path, packed(noise()), 8) == noise()).all()


def test_colour_becomes_grey_by_brightness(tmp_path):
    colour = noise(colours=(3,))
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(read(tmp_path, packed(colour)) - luma).max() <= 1


def test_sixteen_bits_become_eight_and_are_not_cut_off(tmp_path):
    wide = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    assert (read(tmp_path, packed(wide)) == np.round(wide / 257)).all()
    assert (read(tmp_path, packed(wide), grey=False)[..., 2] == np.round(wide / 257)).all()


def test_palettes_and_two_colours_are_looked_up(tmp_path):
    colour = np.repeat(np.array([[[200, 10, 30]], [[0, 250, 90]]], np.uint8), 8, 1).repeat(4, 0)
    palette = Image.fromarray(colour).quantize(2)
    assert palette.mode == "P"
    assert (read(tmp_path, packed(palette), grey=False) == colour).all()
    bits = noise() > 127
    assert (read(tmp_path, packed(Image.fromarray(bits))) == 255 * bits).all()


@pytest.mark.parametrize("background", [0, 255, 100])
def test_what_is_transparent_lies_on_the_background(tmp_path, background):
    pixels, alpha = noise(colours=(3,)).astype(float), noise(seed=1)
    whole = np.dstack([pixels.astype(np.uint8), alpha])
    share = alpha[..., None] / 255
    found = read(tmp_path, packed(whole), grey=False, background=background)
    assert np.abs(found - (share * pixels + (1 - share) * background)).max() <= 1
    grey = np.dstack([noise(), alpha])
    found = read(tmp_path, packed(grey), background=background)
    assert np.abs(found - (share[..., 0] * noise() + (1 - share[..., 0]) * background)).max() <= 1
    one_colour = packed(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))
    assert (read(tmp_path, one_colour, background=background) == background).all()


STORED = {  # how a picture is stored that is to be shown as it is: EXIF 2.3, table of tag 274
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.T,
    6: lambda shown: np.rot90(shown),
    7: lambda shown: shown.T[::-1, ::-1],
    8: lambda shown: np.rot90(shown, -1),
}


@pytest.mark.parametrize("value", [*STORED, 0, 9])
def test_a_turned_picture_is_turned_back(tmp_path, value):
    shown, exif = noise(6, 9), Image.Exif()
    exif[274] = value
    stored = STORED.get(value, STORED[1])(shown)
    content = packed(np.ascontiguousarray(stored), exif=exif)
    assert (read(tmp_path, content, (6, 9)) == shown).all()


def test_an_odd_exif_does_no_harm_to_a_whole_picture(tmp_path):
    content = packed(noise(), "JPEG", quality=100, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\2\3")
    assert np.abs(read(tmp_path, content).astype(int) - noise()).max() < 9


@pytest.mark.parametrize("exif", [b"is no TIFF", b"Exif\0\0II*\0"])
def test_a_broken_exif_of_a_png_does_no_harm(tmp_path, exif):
    assert (read(tmp_path, packed(noise(), exif=exif)) == noise()).all()


def test_a_broken_exif_in_a_text_of_a_png_does_no_harm(tmp_path):
    about = PngImagePlugin.PngInfo()
    about.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal digits")
    assert (read(tmp_path, packed(noise(), pnginfo=about)) == noise()).all()


def test_photographs_of_printers_and_large_ones_are_read(tmp_path):
    printed = packed(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert np.abs(read(tmp_path, printed, grey=False) - [255, 0, 0]).max() < 9
    halves = np.repeat(np.array([[20, 220]], np.uint8), 600, 1).repeat(900, 0)
    exif = Image.Exif()
    exif[274] = 6  # shown with its left side on top
    found = read(tmp_path, packed(halves, "JPEG", exif=exif), (12, 9))
    assert (np.abs(found[:5].astype(int) - 20) < 4).all()
    assert (np.abs(found[7:].astype(int) - 220) < 4).all()


# ── sizes ──────────────────────────────────────────────────────────────────────────────────────


def test_other_proportions_are_fitted_into_the_middle(tmp_path):
    wide = np.full((10, 40), 90, np.uint8)
    found = read(tmp_path, packed(wide), (20, 20), background=7)
    assert (found[7:12] == 90).all() or (found[8:13] == 90).all()
    assert (found == 90).sum() == 5 * 20
    assert (found == 7).sum() == 15 * 20
    high = read(tmp_path, packed(wide.T), (20, 20), background=7)
    assert (high == found.T).all()


def test_scaling_averages_what_lies_under_a_pixel(tmp_path):
    board = np.kron(np.indices((14, 14)).sum(0) % 2, np.ones((2, 2))) * 200
    found = read(tmp_path, packed(board.astype(np.uint8)), (7, 7))
    assert np.abs(found.astype(int) - 100).max() <= 30
    assert found.mean() == pytest.approx(100, abs=2)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 40)] * 2),
    st.tuples(*[st.integers(1, 40)] * 2),
    st.integers(0, 255),
    st.booleans(),
)
def test_every_size_fits_into_every_other(tmp_path_factory, given_size, size, background, grey):
    path = tmp_path_factory.mktemp("sizes") / "a.png"
    image = 50 + noise(*given_size, () if grey else (3,)) // 4
    found = read_picture(
        write(path, packed(image.astype(np.uint8))), size, grey, background=background
    )
    assert found.shape == (*size, *(() if grey else (3,)))
    assert found.dtype == np.uint8
    inside = found[found != background]
    assert ((inside >= image.min() - 1) & (inside <= image.max() + 1)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": (28, 2000)}, "from 1 to 1,024"),
        ({"size": (28.0, 28)}, "whole|Give height and width"),
        ({"size": (28,)}, "Give height and width"),
        ({"background": 256}, "background is 256"),
        ({"background": 0.5}, "background is 0.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, words):
    with pytest.raises(DataError, match=words):
        read_picture(write(tmp_path / "a.png", packed(noise())), **options)


# ── broken files ───────────────────────────────────────────────────────────────────────────────


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def bomb(side):
    """The beginning of a PNG of so many pixels, and next to nothing in it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def comment_bomb():
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b" " * 100_000_000, 1))
    whole = packed(noise())
    return whole[:33] + text + whole[33:]


BROKEN = {
    "empty": (b"", "is empty"),
    "text": (b"a picture", "is no PNG or JPEG inside"),
    "page": (b"<!DOCTYPE html><p>not found", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
    "gif": (packed(noise(), "GIF"), "is no PNG or JPEG inside"),
    "cut": (packed(noise(40, 40))[:900], "is cut off"),
    "cut.jpg": (packed(noise(40, 40), "JPEG")[:900], "is cut off"),
    "bomb": (bomb(60_000), "has more than 50 million pixels"),
    "larger": (bomb(8_000), "has more than 50 million pixels"),
    "comment": (comment_bomb(), "is damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, kind):
    content, words = BROKEN[kind]
    with pytest.raises(DataError, match=rf"^a\.png {words}"):
        read(tmp_path, content)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "progressive"]), st.floats(0, 1))
def test_a_file_cut_off_anywhere_is_refused_or_still_whole(tmp_path_factory, kind, share):
    image = noise(40, 40, (3,))
    options = {"progressive": True} if kind == "progressive" else {}
    whole = packed(image, "PNG" if kind == "PNG" else "JPEG", **options)
    path = tmp_path_factory.mktemp("cut") / "a.png"
    expected = read_picture(write(path, whole), (40, 40), grey=False)
    try:
        found = read_picture(write(path, whole[: int(share * len(whole))]), (40, 40), grey=False)
    except DataError:
        return
    assert (found == expected).all()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_a_changed_bit_of_a_png_is_noticed(tmp_path_factory, place):
    image = noise(20, 20)
    content = bytearray(packed(image))
    content[place // 8 % len(content)] ^= 1 << place % 8
    path = write(tmp_path_factory.mktemp("bit") / "a.png", bytes(content))
    try:
        found = read_picture(path, (20, 20))
    except DataError:
        return
    assert (found == image).all()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([b"", *(content[:40] for content, _ in BROKEN.values())]), st.binary())
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, beginning, rest):
    path = write(tmp_path_factory.mktemp("any") / "a.jpg", beginning + rest)
    with pytest.raises(DataError, match=r"^a\.jpg "):
        read_picture(path)


# ── a folder for each class ────────────────────────────────────────────────────────────────────


@pytest.fixture
def pets(tmp_path):
    folder = tmp_path / "pets"
    for index in range(3):
        write(folder / "cats" / f"{index}.png", packed(noise(seed=index)))
        write(folder / "dogs" / f"{index}.jpg", packed(noise(9, 7, (3,), seed=index), "JPEG"))
    return folder


def test_folders_are_classes_and_files_their_pictures(pets):
    data = images_from_folder(pets, 8)
    assert (data.name, data.label_names, data.labels) == (
        "pets",
        ["cats", "dogs"],
        [0] * 3 + [1] * 3,
    )
    assert data.files == [
        *(f"cats/{i}.png" for i in range(3)),
        *(f"dogs/{i}.jpg" for i in range(3)),
    ]
    for index in range(3):
        assert (data.images[index] == noise(seed=index)).all()
    for file, image in zip(data.files, data.images, strict=True):
        assert (read_picture(pets / file, 8) == image).all()
    colour = images_from_folder(str(pets), (10, 12), grey=False, name="mine")
    assert (colour.name, colour.images.shape) == ("mine", (6, 10, 12, 3))


def test_numbers_stand_in_their_order_and_endings_may_be_large_or_missing(tmp_path):
    for label in ("10", "9", "2"):
        write(tmp_path / label / "A.PNG", packed(noise(seed=int(label))))
    write(tmp_path / "2" / "without ending", packed(noise(seed=1), "JPEG"))
    data = images_from_folder(tmp_path, 8)
    assert data.label_names == ["2", "9", "10"]
    assert sorted(data.labels) == [0, 0, 1, 2]


def test_hidden_files_are_passed_over_in_silence(pets):
    expected = images_from_folder(pets, 8)
    for name in (".DS_Store", "cats/.hidden.png", "cats/._0.png", "dogs/Thumbs.db"):
        write(pets / name, b"nothing")
    write(pets / ".cache" / "a.png", b"nothing")
    write(pets / "__MACOSX" / "a.png", b"nothing")
    write(pets / "README.txt", b"Our pets.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = images_from_folder(pets, 8)
    assert data.files == expected.files
    assert (data.images == expected.images).all()


def test_files_that_are_no_pictures_are_left_out_and_named(pets):
    write(pets / "cats" / "notes.txt", b"a list")
    write(pets / "dogs" / "b.webp", packed(noise(), "WEBP"))
    with pytest.warns(AttnlabWarning, match=r"2 files of pets .*cats/notes\.txt, dogs/b\.webp"):
        assert len(images_from_folder(pets)) == 6


def test_broken_pictures_are_all_named_and_skipped_only_on_request(pets):
    write(pets / "cats" / "1.png", packed(noise())[:80])
    write(pets / "dogs" / "2.jpg", bomb(9_000))
    words = r"2 of 6 pictures in pets cannot be read\. cats/1\.png is cut off.*dogs/2\.jpg has more"
    with pytest.raises(DataError, match=words + ".*skip_broken=True"):
        images_from_folder(pets)
    with pytest.warns(AttnlabWarning, match=words + ".*left out"):
        data = images_from_folder(pets, skip_broken=True)
    assert data.files == ["cats/0.png", "cats/2.png", "dogs/0.jpg", "dogs/1.jpg"]
    assert data.labels == [0, 0, 1, 1]
    for index in range(3):
        write(pets / "cats" / f"{index}.png", b"broken")
    with (
        pytest.raises(DataError, match="no PNG or JPEG that can be read for 'cats'"),
        pytest.warns(AttnlabWarning, match="4 of 6"),
    ):
        images_from_folder(pets, skip_broken=True)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_that_leads_nowhere_is_a_broken_picture(pets):
    (pets / "cats" / "9.png").symlink_to(pets / "none.png")
    with pytest.raises(DataError, match=r"cats/9\.png cannot be read"):
        images_from_folder(pets)


def empty_class(pets):
    (pets / "birds").mkdir()
    return pets


def other_files_only(pets):
    write(pets / "birds" / "a.txt", b"a")
    return pets


def nested(pets):
    return pets.parent


def loose(pets):
    write(pets / "a.png", packed(noise()))
    return pets


def nothing(pets):
    return pets / "cats" / ".." / ".." / "none"


def no_classes(pets):
    (pets.parent / "empty").mkdir()
    return pets.parent / "empty"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty_class, "pets has no PNG or JPEG for 'birds'"),
        (other_files_only, "pets has no PNG or JPEG for 'birds'"),
        (nested, r"class 'pets' of .* has folders in it \(cats, dogs\).*give it: .*/pets"),
        (loose, r"pictures that belong to no class \(a\.png\)"),
        (no_classes, "no folders in it"),
        (nothing, "There is no folder"),
        (lambda pets: pets / "cats" / "0.png", "is a file"),
        (lambda pets: 7, "is no path of a folder"),
        (lambda pets: "a\0b", "is no path of a folder|There is no folder"),
    ],
)
def test_folders_that_are_laid_out_otherwise_say_what_is_expected(pets, spoil, words):
    with pytest.raises(DataError, match=words), warnings.catch_warnings():
        warnings.simplefilter("ignore", AttnlabWarning)
        images_from_folder(spoil(pets))


def test_a_picture_in_two_classes_is_pointed_at(pets):
    write(pets / "dogs" / "9.png", packed(noise(seed=1)))
    with pytest.warns(AttnlabWarning, match=r"1 pictures of pets .*cats/1\.png and dogs/9\.png"):
        assert len(images_from_folder(pets, 8)) == 7


def test_own_pictures_are_split_like_named_ones(pets):
    for index in range(20):
        write(pets / "cats" / f"x{index}.png", packed(noise(seed=100 + index)))
        write(pets / "dogs" / f"x{index}.png", packed(noise(seed=200 + index)))
    splits = al.datasets.split(images_from_folder(pets), dev=0.1, test=0.1)
    assert [len(part) for part in (splits.train, splits.dev, splits.test)] == [36, 5, 5]
    assert splits.test.files
