"""Handing a folder of files to a room, over HTTP."""

import contextlib
import functools
import http.server
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from attnlab.adaptive.serving import listen
from attnlab.errors import AttnlabError, needs

__all__ = ["addresses", "hand_out", "qr_code", "serving"]

_KINDS = {
    ".mjs": "text/javascript; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".md": "text/markdown; charset=utf-8",
    ".pdf": "application/pdf",
    ".ttf": "font/ttf",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".gz": "application/gzip",
}
_SECONDS = 30  # that a connection may be silent


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files, and lists no folders."""

    protocol_version = "HTTP/1.1"
    extensions_map = _KINDS
    timeout = _SECONDS

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # asks each time; 304 where nothing changed
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: object) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who opens the page is nobody's business."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a room opens the page at once

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a phone that goes away in the middle is no error."""


@contextlib.contextmanager
def serving(
    folder: str | Path, host: str = "127.0.0.1", port: int = 0
) -> Iterator[tuple[http.server.HTTPServer, list[str]]]:
    """Serve a folder inside the block: yields the server, to be run, and its addresses.

    Parameters
    ----------
    folder : with an index.html
    host : 127.0.0.1 for this machine only, 0.0.0.0 for everybody who can reach it
    port : 0 for any that is free

    Raises
    ------
    AttnlabError : no index.html in the folder, a port in use, a host that is none
    """
    if not (Path(folder) / "index.html").is_file():
        raise AttnlabError(
            f"There is no index.html in {folder}. Build what is to be handed out first: "
            f"attnlab site desk --out {folder}, or attnlab site book --out {folder}."
        )
    bound = listen(host, port)
    handler = functools.partial(_Handler, directory=str(folder))
    server = _Server(bound.getsockname()[:2], handler, bind_and_activate=False)
    server.socket.close()
    server.socket = bound
    try:
        yield server, addresses(host, bound.getsockname()[1])
    finally:
        server.server_close()


def hand_out(folder: str | Path, host: str, port: int, ready: Callable[[list[str]], None]) -> None:
    """Serve a folder until Ctrl-C; ``ready`` is called with its addresses."""
    with serving(folder, host, port) as (server, found):
        ready(found)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def addresses(host: str, port: int) -> list[str]:
    """Where a browser finds a server: of one for everybody, the address in the room's network.

    >>> addresses("127.0.0.1", 8800)
    ['http://127.0.0.1:8800/']
    """
    if host not in ("0.0.0.0", "::"):
        return [f"http://{f'[{host}]' if ':' in host else host}:{port}/"]
    return [f"http://{found}:{port}/" for found in _in_the_network()] + [
        f"http://127.0.0.1:{port}/"
    ]


def _in_the_network() -> list[str]:
    """This machine's address as others see it: none where there is no network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # an address of nobody's: nothing is sent
        return [probe.getsockname()[0]]
    return []


def qr_code(address: str) -> str:
    """Return an address as a QR code of characters, for a terminal.

    Raises
    ------
    MissingPackage : segno is not installed
    """
    import io

    with needs("site"):
        import segno
    drawn = io.StringIO()
    segno.make(address, micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()


def __dir__() -> list[str]:
    return sorted(__all__)
