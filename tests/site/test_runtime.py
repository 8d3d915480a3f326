"""ONNX Runtime for browsers: verified, and what to do where it cannot be fetched."""

import hashlib
import io
import stat
import sys
import tarfile

import pytest

from attnlab.datasets.fetching import Source
from attnlab.errors import DataError, on_the_command_line
from attnlab.site import runtime

CONTENTS = {"ort.wasm.bundle.min.mjs": b"export {};", "ort-wasm-simd-threaded.wasm": b"\0asm"}


@pytest.fixture
def small_files(monkeypatch, tmp_path):
    """Files of a few bytes in place of the published ones, and a cache of one's own."""
    files = [
        Source(runtime.REQUIREMENT, name, hashlib.sha256(content).hexdigest(), len(content), "MIT")
        for name, content in CONTENTS.items()
    ]
    monkeypatch.setattr(runtime, "FILES", tuple(files))
    monkeypatch.setenv("ATTNLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fake_npm(monkeypatch, tmp_path):
    """Put an npm in the path that packs these contents, or fails."""

    def install(contents, code=0):
        packed = tmp_path / "packed.tgz"
        with tarfile.open(packed, "w:gz") as archive:
            for name, content in contents.items():
                entry = tarfile.TarInfo(f"package/dist/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        script = tmp_path / "bin" / "npm"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f"#!{sys.executable}\nimport shutil, sys\n"
            f"if {code}:\n    sys.exit('npm error network is unreachable')\n"
            "assert sys.argv[1] == 'pack' and sys.argv[2].startswith('onnxruntime-web@')\n"
            f"shutil.copy({str(packed)!r}, sys.argv[-1])\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(script.parent))

    return install


def test_the_files_are_fetched_once_and_kept(small_files, fake_npm, monkeypatch):
    fake_npm(CONTENTS | {"ort.js": b"not needed"})
    found = runtime.runtime_files()
    assert {name: path.read_bytes() for name, path in found.items()} == CONTENTS
    monkeypatch.setenv("PATH", "")
    assert runtime.runtime_files() == found  # without npm
    left = {path.name for path in found["ort-wasm-simd-threaded.wasm"].parent.iterdir()}
    assert left == {*CONTENTS, ".lock"}


def test_a_file_that_is_not_the_published_one_is_refused(small_files, fake_npm):
    fake_npm(CONTENTS | {"ort-wasm-simd-threaded.wasm": b"\0ASM"})
    with pytest.raises(DataError, match=r"without the published ort-wasm"):
        runtime.runtime_files()


def test_a_damaged_file_in_the_cache_is_fetched_again(small_files, fake_npm):
    fake_npm(CONTENTS)
    wasm = runtime.runtime_files()["ort-wasm-simd-threaded.wasm"]
    wasm.write_bytes(b"cut")
    assert runtime.runtime_files()["ort-wasm-simd-threaded.wasm"].read_bytes() == b"\0asm"


def test_without_npm_it_says_what_to_do(small_files, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with on_the_command_line(), pytest.raises(DataError) as caught:
        runtime.runtime_files()
    assert "Install Node.js" in str(caught.value)
    assert f"npm pack {runtime.REQUIREMENT}" in str(caught.value)
    assert "--runtime FOLDER" in str(caught.value)


def test_without_a_network_it_says_what_npm_said(small_files, fake_npm):
    fake_npm({}, code=1)
    with pytest.raises(DataError, match=r"network is unreachable.*needed once"):
        runtime.runtime_files()


def test_files_got_by_hand_are_found_where_they_were_unpacked(small_files, tmp_path):
    place = tmp_path / "hand" / "package" / "dist"
    place.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (place / name).write_bytes(content)
    found = runtime.runtime_files(tmp_path / "hand")
    assert {path.parent for path in found.values()} == {place}
    (place / "ort.wasm.bundle.min.mjs").write_bytes(b"export {}; // changed")
    with pytest.raises(DataError, match="expected are 10 bytes"):
        runtime.runtime_files(tmp_path / "hand")
    with pytest.raises(DataError, match="is not in"):
        runtime.runtime_files(tmp_path / "bin")


def test_what_is_pinned_is_one_version_with_hashes():
    assert runtime.REQUIREMENT.count("@") == 1
    for file in runtime.FILES:
        assert len(file.sha256) == 64
        assert file.bytes > 10_000
