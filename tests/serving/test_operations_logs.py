"""The lines of the predictor's log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from serving import logs
from serving.logs import RequestLog, failure_in, fields
from serving.process import _last_lines

log = logging.getLogger("serving")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., io.StringIO]]:
    """Configures the log, and gives what it writes."""
    names = ("serving", "kserve", "uvicorn", "opentelemetry")
    before = [(logging.getLogger(n), logging.getLogger(n).handlers, logging.getLogger(n).level) for n in names]
    stream = io.StringIO()

    def configure(level: str = "info", form: str = "json") -> io.StringIO:
        monkeypatch.setattr("sys.stderr", stream)
        logs.configure(level, form)
        return stream

    yield configure
    for logger, handlers, level in before:
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def answered(to: RequestLog, outcome: str, **more: object) -> None:
    to.answered("v2", outcome, path="/v2/models/{model_name}/infer", status=500, seconds=0.0012345, **more)


def test_a_line_is_one_json_object_whatever_it_holds(written):
    stream = written()
    log.warning("swapped", extra=fields(bundle_version=3, note='two\nlines "quoted" \x00 é', other=object))
    (line,) = lines(stream)
    assert line["message"] == "swapped"
    assert line["level"] == "warning"
    assert line["bundle_version"] == 3
    assert line["note"] == 'two\nlines "quoted" \x00 é'
    assert line["time"].endswith("+00:00")


def test_a_failed_request_is_told_with_its_id_and_traceback(written):
    stream = written()
    token = logs.request_id.set("mine")
    answered(RequestLog(), "server_error", error=ZeroDivisionError("inner"))
    logs.request_id.reset(token)
    (line,) = lines(stream)
    assert line["request_id"] == "mine"
    assert (line["protocol"], line["path"], line["status"]) == ("v2", "/v2/models/{model_name}/infer", 500)
    assert line["duration_ms"] == 1.234
    assert "ZeroDivisionError: inner" in line["exception"]


def test_requests_that_are_answered_or_refused_rightly_are_told_at_debug_only(written):
    stream = written("info")
    for outcome in ("ok", "client_error"):
        answered(RequestLog(), outcome)
    assert lines(stream) == []
    written("debug")
    for outcome in ("ok", "client_error"):
        answered(RequestLog(), outcome)
    assert [line["outcome"] for line in lines(stream)] == ["ok", "client_error"]


def test_a_flood_of_refusals_is_one_line_a_second(written, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("serving.logs.time.monotonic", lambda: now[0])
    stream, to = written(), RequestLog()
    for _ in range(50):
        answered(to, "unavailable")
    now[0] += 1
    answered(to, "unavailable")
    assert [line.get("unsaid") for line in lines(stream)] == [None, 49]


def test_text_is_for_people(written):
    stream = written(form="text")
    log.info("swapped", extra=fields(bundle_version=3, reason="two words", nothing=""))
    assert stream.getvalue().endswith(' level=INFO swapped bundle_version=3 reason="two words" nothing=""\n')


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("error", ['It\'s "gone"\nTry again.', "gone"])
def test_why_a_process_ended_can_be_read_from_its_log(written, tmp_path, form, error):
    stream = written(form=form)
    log.info("ready")
    log.error(logs.FAILED, extra=fields(error=error))
    log.info("after")
    (tmp_path / "log").write_text(stream.getvalue())
    assert _last_lines(tmp_path / "log") == error


@pytest.mark.parametrize("line", ["", "{", "[]", "7", '{"message": "ready"}', "level=ERROR swap_failed error=1"])
def test_other_lines_tell_no_failure(line):
    assert failure_in(line) is None
