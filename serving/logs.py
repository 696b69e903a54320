"""The predictor's log: one line an event, as text for people or as JSON for machines.

    log.info("swapped", extra=fields(bundle_version=3))

It never holds a request's body or its headers, but for the request id.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from serving.metrics import Outcome, Protocol

log = logging.getLogger("serving")

request_id: ContextVar[str] = ContextVar("request_id", default="")
FAILED = "failed"  # the event of an error that ends the process


def fields(**values: object) -> dict[str, dict[str, object]]:
    """What a line says besides its event: the `extra` of a call of `logging`."""
    return {"fields": values}


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Our own lines, and of KServe's and uvicorn's only what is a fault of the server."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_is_no_client_fault)
    for name, threshold in (
        ("serving", level.upper()),
        *((name, "ERROR") for name in ("kserve", "uvicorn", "opentelemetry")),
    ):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(threshold)

    # KServe's, at the first request; it is not ours to mend.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")


def failure_in(line: str) -> str | None:
    """What a line of such a log says about why the process ended, or None where it says something else."""
    _, found, text = line.partition(f"level=ERROR {FAILED} error=")
    try:
        if found:
            return str(json.loads(text)) if text.startswith('"') else text
        record = json.loads(line)
        return str(record["error"]) if record["message"] == FAILED else None
    except (ValueError, KeyError, TypeError):
        return None


class RequestLog:
    """Failures always, and at level debug every request; of those refused for want of room one a second."""

    def __init__(self) -> None:
        self._refused_at = float("-inf")
        self._unsaid = 0

    def answered(
        self,
        protocol: Protocol,
        outcome: Outcome,
        *,
        path: str,
        status: int | str,
        seconds: float,
        error: BaseException | None = None,
    ) -> None:
        """Writes the line of a request, where it deserves one.

        `path` is a template, without what the caller put in it; `status` is HTTP's number or gRPC's name; `error` is
        what failed in the server.
        """
        level = logging.DEBUG
        more: dict[str, object] = {}
        if outcome == "server_error":
            level = logging.ERROR
        elif outcome == "unavailable" and protocol != "other":
            now = time.monotonic()
            if now - self._refused_at >= 1:
                level, self._refused_at = logging.WARNING, now
                more, self._unsaid = ({"unsaid": self._unsaid} if self._unsaid else {}), 0
            else:
                self._unsaid += 1
        if log.isEnabledFor(level):
            said = fields(
                protocol=protocol,
                path=path,
                status=status,
                outcome=outcome,
                duration_ms=round(seconds * 1000, 3),
                **more,
            )
            log.log(level, "request", extra=said, exc_info=error)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        said = (f"{name}={_shown(value)}" for name, value in _said(record).items())
        return " ".join([super().formatMessage(record), *said])


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _said(record)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _said(record: logging.LogRecord) -> dict[str, object]:
    identity = request_id.get()
    return ({"request_id": identity} if identity else {}) | getattr(record, "fields", {})


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not any(c.isspace() or c in '"=' for c in text) else json.dumps(text)


def _is_no_client_fault(record: logging.LogRecord) -> bool:
    """KServe logs every refused request as an error, with a traceback."""
    if record.name != "kserve" or not record.exc_info or record.exc_info[1] is None:
        return True
    from serving._kserve import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, UnsupportedProtocol

    faults = (InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady, UnsupportedProtocol, NotImplementedError)
    return not isinstance(record.exc_info[1], faults)
