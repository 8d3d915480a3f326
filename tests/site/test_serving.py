"""A folder, handed to a room."""

import gzip
import threading
import urllib.error
import urllib.request

import pytest

from attnlab.errors import AttnlabError
from attnlab.site.serving import addresses, qr_code, serving

FILES = {
    "index.html": b"<!doctype html>",
    "ort.mjs": b"export {};",
    "manifest.webmanifest": b"{}",
    "model.onnx.gz": gzip.compress(b"model"),
    "sub/page.css": b"",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def address(folder):
    with serving(folder) as (server, (found,)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def ask(address, **headers):
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10)


def test_browsers_are_told_what_each_file_is(address):
    kinds = {
        "": "text/html; charset=utf-8",
        "ort.mjs": "text/javascript; charset=utf-8",
        "manifest.webmanifest": "application/manifest+json",
        "model.onnx.gz": "application/gzip",
    }
    for name, kind in kinds.items():
        with ask(address + name) as found:
            assert found.headers["Content-Type"] == kind
            assert found.headers["Content-Encoding"] is None  # the page unpacks
            assert found.headers["X-Content-Type-Options"] == "nosniff"
            assert found.read() == FILES[name or "index.html"]


def test_what_has_not_changed_is_not_sent_again(address):
    with ask(address + "ort.mjs") as found:
        changed = found.headers["Last-Modified"]
    with pytest.raises(urllib.error.HTTPError, match="304"):
        ask(address + "ort.mjs", **{"If-Modified-Since": changed})


@pytest.mark.parametrize("path", ["sub/", "missing.js", "../secret", "%2e%2e/secret"])
def test_nothing_else_is_handed_out(address, folder, path):
    (folder.parent / "secret").write_text("secret")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(address + path)


def test_many_phones_are_served_at_once(address):
    done = []

    def load():
        with ask(address + "model.onnx.gz") as found:
            done.append(found.read())

    threads = [threading.Thread(target=load) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == 50 * [FILES["model.onnx.gz"]]


def test_the_room_is_told_an_address_that_it_can_reach():
    assert addresses("127.0.0.1", 8800) == ["http://127.0.0.1:8800/"]
    assert addresses("::1", 80) == ["http://[::1]:80/"]
    found = addresses("0.0.0.0", 8800)
    assert found[-1] == "http://127.0.0.1:8800/"
    assert not any("0.0.0.0" in address for address in found)


def test_a_folder_without_a_page_is_refused(tmp_path):
    with (
        pytest.raises(AttnlabError, match="attnlab site desk --out"),
        serving(tmp_path / "nothing"),
    ):
        pass


def test_a_port_in_use_is_named(folder):
    with serving(folder) as (server, _):
        port = server.socket.getsockname()[1]
        with pytest.raises(AttnlabError, match=str(port)), serving(folder, port=port):
            pass


def test_the_qr_code_fits_a_terminal():
    code = qr_code("http://192.168.178.101:8800/")
    lines = code.rstrip("\n").split("\n")
    assert 10 < len(lines) < 24
    assert max(map(len, lines)) < 80
    assert qr_code("http://192.168.178.102:8800/") != code
