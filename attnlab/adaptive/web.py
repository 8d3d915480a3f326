"""The service over HTTP: what is refused, and with which words."""

import asyncio
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnlab.adaptive.connections import is_loopback
from attnlab.adaptive.service import BatchingService
from attnlab.adaptive.waiting import Answer, Failed, Refused, TimedOut
from attnlab.errors import SettingsError, needs, suggest

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

__all__ = ["Limits", "app"]

METRICS = "text/plain; version=0.0.4; charset=utf-8"
_ROUTES = "POST /predict, GET /metrics, GET /healthz, GET or PUT /controller"
_EXAMPLE = '{"texts": ["A fine film."]}'


@dataclass(frozen=True)
class Limits:
    """What a request may be.

    Attributes
    ----------
    texts : in a request
    characters : in a text
    body : bytes of a request's body
    body_s : seconds that the body may take to arrive
    """

    texts: int = 32
    characters: int = 5_000
    body: int = 512_000
    body_s: float = 5.0


class _Problem(Exception):
    """What a client is told instead of an answer."""

    def __init__(self, status: int, error: str, message: str, **headers: str):
        super().__init__(message)
        self.status, self.error, self.message = status, error, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def app(service: BatchingService, limits: Limits | None = None) -> "FastAPI":
    """Return the web application of a service that was started.

    - ``POST /predict`` takes ``{"texts": [...]}`` and answers ``{"labels": [...],
      "probabilities": [{label: probability}, ...], "point": name}``. With ``"labels"``, the true
      ones as far as they are known, the monitor learns the accuracy.
    - ``GET /metrics``: the monitor, in the text format of Prometheus.
    - ``GET /healthz``: 200 while requests are taken, 503 while it stops.
    - ``GET /controller``: point, target, readings and the last steps; ``PUT`` with ``{"target_ms":
      200}`` sets the target, from this machine only.

    Whatever goes wrong is answered with ``{"error": kind, "message": what to do}``.

    Parameters
    ----------
    service : answers
    limits : of a request; default those of `Limits`

    Raises
    ------
    MissingPackage : without fastapi
    """
    with needs("serve"):
        from fastapi import FastAPI, Request
        from fastapi.responses import JSONResponse, PlainTextResponse, Response

    bounds = limits or Limits()
    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @web.post("/predict")
    async def predict(request: Request) -> Response:
        body = await _body(request, bounds)
        names = service.label_names
        texts, labels = _wish(body, bounds, names)
        answer = await _answer(request, service, texts)
        for answered, label in zip(answer.labels, labels, strict=False):
            service.monitor.labelled(answered == label)
        return JSONResponse(_told(answer))

    @web.get("/metrics")
    def metrics() -> Response:
        return PlainTextResponse(service.monitor.prometheus(), media_type=METRICS)

    @web.get("/healthz")
    async def healthz() -> Response:
        state = {"status": "stopping" if service.stopping else "ok", "point": service.point.name}
        return JSONResponse(state, 503 if service.stopping else 200)

    @web.get("/controller")
    def controller() -> Response:
        return JSONResponse(_state(service))

    @web.put("/controller")
    async def steer(request: Request) -> Response:
        _check_near(request)
        _set_target(service, _parsed(await _body(request, bounds)))
        return JSONResponse(_state(service))

    @web.exception_handler(_Problem)
    async def problem(request: Request, found: _Problem) -> Response:
        told = {"error": found.error, "message": found.message}
        return JSONResponse(told, found.status, found.headers)

    @web.exception_handler(404)
    @web.exception_handler(405)
    async def elsewhere(request: Request, found: Any) -> Response:
        message = f"There is no {request.method} {request.url.path[:100]}. There are: {_ROUTES}."
        return JSONResponse({"error": "not_found", "message": message}, found.status_code)

    @web.exception_handler(Exception)
    async def unexpected(request: Request, found: Exception) -> Response:
        message = "The service made a mistake; its log says which. It goes on: ask again."
        return JSONResponse({"error": "failed", "message": message}, 500)

    return web


# --- what is asked -------------------------------------------------------------------------------


async def _body(request: "Request", limits: Limits) -> bytes:
    """The body of a request; a problem if it is too large or comes too slowly."""
    declared = request.headers.get("content-length", "0")
    too_large = _Problem(
        413,
        "too_large",
        f"The body may have {limits.body:,} bytes. Send fewer texts at a time.",
        connection="close",
    )
    if declared.isdecimal() and int(declared) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise _Problem(400, "gone", "The connection was closed in mid-request.")
                body += message.get("body", b"")
                if len(body) > limits.body:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        slow = f"The body took longer than {limits.body_s:g} s. Send it at once."
        raise _Problem(408, "too_slow", slow, connection="close") from error


def _parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f"The body is no JSON: {str(error)[:100]}. Send {_EXAMPLE}."
        raise _Problem(400, "no_json", message) from error
    if not isinstance(found, dict):
        raise _Problem(422, "no_object", f"The body is no JSON object. Send {_EXAMPLE}.")
    return found


def _wish(body: bytes, limits: Limits, names: list[str]) -> tuple[list[str], list[str]]:
    """The texts of a request, and their true labels if they are given."""
    given = _parsed(body)
    unknown = set(given) - {"texts", "labels"}
    texts, labels = given.get("texts"), given.get("labels", [])
    if unknown or not isinstance(texts, list) or not texts:
        raise _Problem(422, "no_texts", f"Expected a list of texts, and no more. Send {_EXAMPLE}.")
    if len(texts) > limits.texts:
        message = f"{len(texts)} texts in one request; it may have {limits.texts}. Send several."
        raise _Problem(422, "too_many_texts", message)
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            kind = "empty" if isinstance(text, str) else f"of type {type(text).__name__}"
            message = f"Text {place} is {kind}; expected a string with something in it."
            raise _Problem(422, "no_text", message)
        if len(text) > limits.characters:
            message = (
                f"Text {place} has {len(text):,} characters; it may have {limits.characters:,}."
            )
            raise _Problem(422, "too_long", f"{message} Cut it, or send its parts.")
        if not _is_unicode(text):
            raise _Problem(422, "no_text", f"Text {place} holds half a character (a surrogate).")
    if labels and (not isinstance(labels, list) or len(labels) != len(texts)):
        raise _Problem(422, "labels", "Expected one label for each text, or no labels.")
    for label in labels:
        if label not in names:
            raise _Problem(422, "labels", f"No label {str(label)[:50]!r}. {suggest(label, names)}")
    return texts, labels


def _is_unicode(text: str) -> bool:
    """Whether a text can be written down: JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_near(request: "Request") -> None:
    """Refuse to be steered from elsewhere, or by a page that a browser shows."""
    client = request.client.host if request.client else ""
    asked = request.headers.get("host", "").rsplit(":", 1)[0].strip("[]")
    if not (is_loopback(client) and is_loopback(asked)) or "origin" in request.headers:
        message = "The controller is steered from the machine that it runs on, and by no web page."
        raise _Problem(403, "not_here", message)


def _set_target(service: BatchingService, given: dict[str, Any]) -> None:
    target = given.get("target_ms")
    number = isinstance(target, int | float) and not isinstance(target, bool)
    if set(given) != {"target_ms"} or not number:
        raise _Problem(422, "no_target", 'Expected milliseconds. Send {"target_ms": 200}.')
    try:
        service.set_target(float(target or 0))
    except SettingsError as error:
        raise _Problem(422, "no_target", str(error)) from error


# --- what is answered ----------------------------------------------------------------------------


async def _answer(request: "Request", service: BatchingService, texts: list[str]) -> Answer:
    """The answer of a service, unless it takes too long or nobody waits for it any more."""
    try:
        answer = asyncio.wrap_future(service.submit(texts))
    except Refused as refused:
        status = 503 if refused.reason == "stopping" else 429
        after = str(refused.retry_after_s)
        raise _Problem(status, refused.reason, str(refused), retry_after=after) from refused
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait(
            (answer, gone), timeout=service.timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if answer.done():
            return answer.result()
        if gone.done():
            raise _Problem(499, "gone", "The connection was closed before the answer.")
        raise TimedOut(f"No answer within {service.timeout_s:g} s. Ask again later.")
    except TimedOut as error:
        raise _Problem(504, "timed_out", str(error), retry_after="1") from error
    except Refused as error:
        raise _Problem(503, error.reason, str(error), retry_after="1") from error
    except Failed as error:
        raise _Problem(500, "failed", f"{error} Send others.") from error
    finally:
        gone.cancel()
        answer.cancel()


async def _gone(request: "Request") -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(answer: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    rows = answer.probabilities.astype(float).tolist()
    return {
        "labels": list(answer.labels),
        "probabilities": [
            {name: round(value, 6) for name, value in zip(answer.label_names, row, strict=True)}
            for row in rows
        ],
        "point": answer.point,
    }


def _state(service: BatchingService) -> dict[str, Any]:
    """What a desk shows of a controller."""
    controller = service.controller
    reading = asdict(service.monitor.reading())
    points = getattr(controller, "points", [service.point])
    return {
        "point": service.point.name,
        "target_ms": getattr(controller, "target_ms", None),
        "floor": getattr(controller, "floor", None),
        "points": [
            {"name": one.name, "accuracy": one.accuracy, "ms": one.ms, "kept": one.kept}
            for one in points
        ],
        "reading": {name: _finite(value) for name, value in reading.items()},
        "log": service.steps(),
    }


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def __dir__() -> list[str]:
    return sorted(__all__)
