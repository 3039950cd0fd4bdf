"""Logging: structlog, the same format for the stdlib loggers of other packages, and a line per request.

Litestar's StructlogPlugin is not used: it imports the whole command line interface (a third of the startup time), and
Litestar 3 removes it.
"""

from __future__ import annotations

import logging
import os
import random
import re
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ..web.headers import header_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar.types import Receive, Scope, Send
    from structlog.typing import EventDict, Processor

    from ..settings import Settings

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z")
_CREDENTIALS = re.compile(r"(postgres(?:ql)?://[^\s:/@]*:)[^\s@]+@")
_NAMED_IN_PATHS = ("module", "run_id")

# What every log line of the current request contains. structlog's own variables, one for each field, take several times
# as long to set and reset.
_request: ContextVar[dict[str, Any] | None] = ContextVar("request", default=None)

_REQUESTS = "pgdbm_service.request"

logger = structlog.get_logger(_REQUESTS)
# Checks the level before a line is built.
_requests = logging.getLogger(_REQUESTS)
_ids = random.Random()  # noqa: S311 - see its use
# Otherwise workers that a server forks after loading the app would all generate the same ids.
os.register_at_fork(after_in_child=_ids.seed)


class _Handler(logging.StreamHandler[Any]):
    """Writes to the current ``sys.stderr``; its type distinguishes it from other handlers."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def configure_logs(settings: Settings) -> None:
    """Send every logger of the process to stderr in one format. Safe to call again."""
    on_terminal = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    final: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _drop_color_message,
        # A traceback becomes text before masking, because it ends with an exception's message.
        structlog.processors.format_exc_info,
        _mask_credentials,
    ]
    if on_terminal:
        # The default would print local variables, including passwords.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        final += [renderer]
    else:
        final += [structlog.processors.JSONRenderer(serializer=_as_json)]
    handler = _Handler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    # Warnings of Python libraries, too, in the log's format.
    logging.captureWarnings(True)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        # The service writes the line per request itself; uvicorn checks the handlers to decide whether to write its
        # own.
        theirs.propagate = name != "uvicorn.access"
        theirs.setLevel(logging.NOTSET)


async def log_request(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    scope: Scope,
    receive: Receive,
    send: Send,
    answered: Callable[[str, str, int, float], None],
) -> None:
    """Answer one HTTP request with ``app``, and log one line about it.

    ``app`` finds the id of the request in the state of ``scope``, and sets ``http_status`` there. The client's id is
    kept if it is a short word. ``answered`` is called with method, route, status and seconds.
    """
    state = scope["state"]
    state["request_id"] = request_id = _request_id(scope)
    token = _request.set({"request_id": request_id})
    started = time.perf_counter()
    try:
        await app(scope, receive, send)
    finally:
        path = scope.get("path_template") or "(no route)"
        status: int = state.get("http_status", 0)
        seconds = time.perf_counter() - started
        answered(str(scope.get("method", "")), path, status, seconds)
        quiet = path.startswith(("/health", "/metrics")) and status < 400
        level = logging.DEBUG if quiet else logging.INFO
        if _requests.isEnabledFor(level):
            _log_line(scope, level, path, status, seconds)
        _request.reset(token)


def _log_line(scope: Scope, level: int, path: str, status: int, seconds: float) -> None:
    state: Mapping[str, Any] = scope["state"]
    fields = {"problem_code": state["problem_code"]} if "problem_code" in state else {}
    if scope.get("auth"):
        fields["principal"] = scope["user"].name
    logger.log(
        level,
        "request",
        method=scope.get("method", ""),
        path=path,
        address=state["address"],
        http_status=status,
        duration_ms=round(seconds * 1000, 1),
        **fields,
    )


def bind_path_parameters(path_params: Mapping[str, Any]) -> None:
    """Add the module and the run in the path to every further log line of the request."""
    fields = _request.get()
    if fields is not None:
        for name in _NAMED_IN_PATHS:
            if name in path_params:
                fields[name] = path_params[name]


def _request_id(scope: Scope) -> str:
    given = header_of(scope, b"x-request-id")
    if given is not None and _SANE_ID.match(given):
        return given
    # The ids are not secret: this avoids a system call per request.
    return f"{_ids.getrandbits(128):032x}"


def _add_request(_: object, __: str, event: EventDict) -> EventDict:
    for name, value in (_request.get() or {}).items():
        event.setdefault(name, value)
    return event


def _mask_credentials(_: object, __: str, event: EventDict) -> EventDict:
    """No code of pgdbm logs an unmasked DSN; an exception of another library might."""
    for key, value in event.items():
        if isinstance(value, str) and "://" in value:
            event[key] = _CREDENTIALS.sub(r"\1****@", value)
    return event


def _drop_color_message(_: object, __: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)
    return event


def _as_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
