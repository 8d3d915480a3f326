"""Files of models as people bring them, and what is said of damaged ones."""

import json

import pytest
import torch
from little_space import little_space
from safetensors.torch import save

from attnlab.errors import AttnlabError, ModelError
from attnlab.files import atomic_write, damage, read_json, read_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.int8)}


def test_a_sound_file_is_read_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(TENSORS, {"about": "me"}))
    about, tensors = read_tensors(path)
    assert damage(path) is None
    assert about == {"about": "me"}
    assert all(tensors[name].equal(tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n", "git lfs pull"),
        (b"\n <!doctype html><title>404</title>", "web page"),
        (b"PK\x03\x04pytorch", "pickled"),
        (b"nothing", "no safetensors"),
        (b"\xff" * 40, "no safetensors"),
        (save(TENSORS)[:30], "cut off after 30 bytes"),
        (save(TENSORS)[:-1], "holds .* and should hold"),
        (save(TENSORS) + b"\0", "holds .* and should hold"),
        (b"\x02\0\0\0\0\0\0\0{]", "header cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_of_weights_is_said(tmp_path, content, words):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        read_tensors(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    for read in (read_tensors, read_json):
        with pytest.raises(ModelError, match="cannot be read"):
            read(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("content", "words"), [("{", "no valid JSON"), ("[1]", "holds no"), ("", "is empty")]
)
def test_what_is_wrong_with_json_is_said(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=words):
        read_json(path)


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": "ö"}).encode())
    assert read_json(path) == {"a": "ö"}


def test_a_file_that_cannot_be_written_whole_is_not_written(tmp_path):
    path = atomic_write(tmp_path / "a.csv", b"before")
    with (
        little_space(100),
        pytest.raises(AttnlabError, match=r"a\.csv cannot be written: File too"),
    ):
        atomic_write(path, bytes(1000))
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
