"""A small HTTP/1.1 client for load tests: it costs little, as it shares the processor."""

import asyncio
import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

from attnlab.errors import AttnlabError

__all__ = ["Connections", "checked_url", "is_loopback"]

MOST_OPEN = 512  # connections; more requests at a time wait for one
_LONGEST_HEAD = 2**16  # bytes


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine, and nothing else can.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("192.0.2.1")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> tuple[str, int]:
    """Return host and port of a service on this machine; AttnlabError for another address."""
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise AttnlabError(f"{url!r} is no address such as 'http://127.0.0.1:8900'.")
    if not is_loopback(parts.hostname):
        raise AttnlabError(
            f"{parts.hostname} is another machine. Load tests go to services on this one only: "
            "'http://127.0.0.1:8900'."
        )
    return parts.hostname, port


class Connections:
    """Asks one server, and keeps connections open for the next questions.

    Parameters
    ----------
    url : of a service on this machine

    Raises AttnlabError for another address.
    """

    def __init__(self, url: str):
        self.host, self.port = checked_url(url)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._free = asyncio.Semaphore(MOST_OPEN)

    async def ask(self, method: str, path: str, given: Any = None) -> tuple[int, dict[str, Any]]:
        """Return the status of an answer, and what its JSON holds.

        ConnectionError, OSError or asyncio.IncompleteReadError where no answer comes.
        """
        body = b"" if given is None else json.dumps(given).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        async with self._free:
            status, answer = await self._exchange(head.encode() + body)
        try:
            found = json.loads(answer)
        except ValueError:
            found = {}
        return status, found if isinstance(found, dict) else {}

    def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        while self._idle:  # one that the server has closed meanwhile is no answer
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                try:
                    return await self._over(reader, writer, request)
                except _NeverBegun:
                    continue
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=_LONGEST_HEAD)
        return await self._over(reader, writer, request)

    async def _over(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bytes]:
        whole = False
        try:
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if getattr(error, "partial", b""):
                    raise
                raise _NeverBegun("The server closed the connection.") from error
            status, length, stays = _read_head(head)
            answer = await reader.readexactly(length)
            whole = stays
        finally:  # also when nobody waits for the answer any more
            if whole:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return status, answer


class _NeverBegun(ConnectionError):
    """A connection was closed before any byte of an answer."""


def _read_head(head: bytes) -> tuple[int, int, bool]:
    """Status, bytes of the body, and whether the connection stays open."""
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    status = int(first.split(" ", 2)[1])
    return status, int(fields.get("content-length", 0)), fields.get("connection") != "close"


def __dir__() -> list[str]:
    return sorted(__all__)
