"""Running the service: in this process, or beside a notebook and no longer than it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.adaptive.service import BatchingService
from attnlab.adaptive.web import Limits, app
from attnlab.errors import AttnlabError, AttnlabWarning, needs, option
from attnlab.inference import short_pauses

__all__ = ["Server", "listen", "run"]

MOST_CONNECTIONS = 1024
HEAD_S = 5.0  # that a request's first lines may take
KEEP_ALIVE_S = 15
STOP_S = 20  # that answers may take once the service is to stop
_READY = re.compile(r"http://\S+:\d+")


# --- in this process -----------------------------------------------------------------------------


def listen(host: str = "127.0.0.1", port: int = 8900) -> socket.socket:
    """Return a socket that is bound; AttnlabError if the port is in use, or the host is none.

    Parameters
    ----------
    host : an address of this machine
    port : 0 for any that is free
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise AttnlabError(_cannot_listen(host, port, error)) from error
    if os.name == "posix":  # the port of a server that was killed is free at once
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(MOST_CONNECTIONS)  # only now two of them are told apart
    except OSError as error:
        bound.close()
        raise AttnlabError(_cannot_listen(host, port, error)) from error
    return bound


def run(
    service: BatchingService,
    bound: socket.socket,
    limits: Limits | None = None,
    ready: Callable[[str], None] | None = None,
    owned: bool = False,
) -> None:
    """Answer requests over HTTP until SIGTERM or Ctrl-C; what was taken is answered before the end.

    Parameters
    ----------
    service : is started, and stopped at the end
    bound : of `listen`
    limits : of requests
    ready : called with the address as soon as requests are taken
    owned : another process owns this one: it stops when its standard input is closed, and leaves
        Ctrl-C to the owner

    Raises
    ------
    MissingPackage : without fastapi or uvicorn
    """
    web = app(service, limits)
    server = _server(web, ready, bound, owned)
    if owned:
        threading.Thread(target=_wait_for_owner, args=(server,), daemon=True).start()
    with warnings.catch_warnings(), short_pauses(), service:
        warnings.simplefilter("ignore", AttnlabWarning)  # texts that are cut, time and again
        server.run([bound])


def _server(
    web: Any, ready: Callable[[str], None] | None, bound: socket.socket, owned: bool
) -> Any:
    """A server of uvicorn that says when it is ready, and ends quietly."""
    with needs("serve"):
        import uvicorn

    class Told(uvicorn.Server):
        """Says where it listens; a signal ends it, and is not raised again afterwards."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if ready is not None:
                ready(_address(bound))

        def handle_exit(self, sig: int, frame: Any) -> None:
            if owned and sig == signal.SIGINT:
                return
            self.force_exit = (
                self.should_exit and sig == signal.SIGINT
            )  # Ctrl-C for the second time
            self.should_exit = True

    return Told(
        uvicorn.Config(
            web,
            http=_patient_protocol(),
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
    )


def _patient_protocol() -> Any:
    """uvicorn's protocol, which closes a connection whose request does not begin in time."""
    with needs("serve"):
        from uvicorn.protocols.http.h11_impl import H11Protocol

    class Patient(H11Protocol):
        """Waits so long for the first lines of a request."""

        waits: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.waits = self.loop.call_later(HEAD_S, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            begun = self.cycle is not None and not self.cycle.response_complete
            if begun and self.waits is not None:
                self.waits.cancel()
                self.waits = None
            elif not begun and self.waits is None and not self.transport.is_closing():
                self.waits = self.loop.call_later(HEAD_S, self.transport.close)

        def connection_lost(self, error: Exception | None) -> None:
            if self.waits is not None:
                self.waits.cancel()
            super().connection_lost(error)

    return Patient


def _wait_for_owner(server: Any) -> None:
    """Stop the server when the other end of standard input is closed, by its owner or its end."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):  # not sys.stdin, whose lock would hinder the interpreter's end
            pass
    server.should_exit = True


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _cannot_listen(host: str, port: int, error: Exception) -> str:
    return (
        f"Nothing can listen at {host}, port {port}: {error}. Another service may be there "
        f"already; {option('port', 0)} takes any port that is free."
    )


# --- beside a notebook ---------------------------------------------------------------------------


class Server:
    """``attnlab serve`` in a process of its own, which ends with this one, however it ends.

    As a context manager it stops at the end of the block. Without, it runs until `stop`, until it
    is forgotten, or until the kernel ends, also when that is killed.

    Parameters
    ----------
    model : as for `load_classifier`
    options : of the command, such as ``target=200`` or ``points="full,tokens-0.5"``
    ready_s : seconds that loading and measuring may take

    Attributes
    ----------
    url : where it listens
    process : subprocess.Popen

    Raises
    ------
    AttnlabError : it did not start; the message holds what it said
    """

    def __init__(self, model: str = "movie-sentiment", ready_s: float = 300.0, **options: Any):
        given = {"port": 0} | options
        command = [sys.executable, "-m", "attnlab", "serve", model, "--with-parent"]
        for name, value in given.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        folder = tempfile.TemporaryDirectory(prefix="attnlab-serve-")
        log = Path(folder.name) / "log"
        with log.open("wb") as said:
            # without start_new_session: whoever ends the group of the kernel ends this, too
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
            )
        self._end = weakref.finalize(self, _end, self.process, folder)
        try:
            self.url = _wait_until_ready(self.process, log, ready_s)
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Stop it; what it has taken is answered before."""
        self._end()

    def state(self) -> dict[str, Any]:
        """Return point, points, target, readings and the last steps of the controller."""
        return self._ask("/controller")

    def set_target(self, target_ms: float) -> dict[str, Any]:
        """Promise another latency, and return the state; AttnlabError says why not."""
        return self._ask("/controller", "PUT", {"target_ms": target_ms})

    def predict(self, texts: list[str]) -> dict[str, Any]:
        """Ask for answers; AttnlabError says what was wrong."""
        return self._ask("/predict", "POST", {"texts": texts})

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        runs = "stopped" if self.process.poll() is not None else "running"
        return f"Server({self.url}, {runs})"

    def _ask(self, path: str, method: str = "GET", given: Any = None) -> dict[str, Any]:
        if self.process.poll() is not None:
            raise AttnlabError("This server has stopped. Start another: al.adaptive.Server(...).")
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(self.url + path, body, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
        try:
            with direct.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error, contextlib.suppress(ValueError, AttributeError):
                raise AttnlabError(json.loads(error.read())["message"]) from error
            raise AttnlabError(f"The server answered {error.code}.") from error
        except OSError as error:
            raise AttnlabError(f"The server at {self.url} does not answer: {error}.") from error


def _wait_until_ready(process: subprocess.Popen, log: Path, ready_s: float) -> str:
    """The address that a server says; AttnlabError with its words if it ends, or takes too long."""
    end = time.monotonic() + ready_s
    while time.monotonic() < end:
        ended = process.poll() is not None
        said = log.read_text(errors="replace")
        found = _READY.search(said)
        if found:
            return found.group()
        if ended:
            raise AttnlabError(f"The server did not start. It said: {said[-2000:].strip()}")
        time.sleep(0.1)
    raise AttnlabError(f"The server was not ready after {ready_s:g} s. Give it more: ready_s=...")


def _end(process: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    """Stop a server gracefully, and if that does not help, at once."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    for give_up in (process.terminate, process.kill):
        try:
            process.wait(STOP_S + 5)
            break
        except subprocess.TimeoutExpired:
            give_up()
    process.wait()
    folder.cleanup()


def __dir__() -> list[str]:
    return sorted(__all__)
