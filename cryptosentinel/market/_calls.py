"""Calling what may be slow, busy or away: retries within a budget, and a hard limit on waiting."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

from cryptosentinel.errors import SourceError

Answer = TypeVar("Answer")


class TransientError(Exception):
    """A failure that may pass: carries the error to raise once patience ends.

    Attributes:
        error: what the caller of `with_retries` gets to see.
        retry_after_s: how long the other side asked us to wait.
    """

    def __init__(self, error: SourceError, *, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def to_ms(time: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return round(time.timestamp() * 1000)


def with_retries(
    attempt: Callable[[], Answer], *, max_attempts: int, budget_s: float, sleep: Callable[[float], None]
) -> Answer:
    """Calls `attempt` until it answers, at most `max_attempts` times within `budget_s` seconds.

    Waits between attempts: exponential with full jitter, on top of what the other side asked for. A wait that would
    overrun the budget is not begun.

    Raises:
        SourceError: the `TransientError.error` of the last attempt.
    """
    backoff = tenacity.wait_random_exponential(multiplier=0.5, max=10)

    def wait(state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked_for = failure.retry_after_s if isinstance(failure, TransientError) else None
        return (asked_for or 0.0) + backoff(state)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(max_attempts) | tenacity.stop_before_delay(budget_s),
        wait=wait,
        retry=tenacity.retry_if_exception_type(TransientError),
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except TransientError as failure:
        raise failure.error from failure.__cause__


def call_within(timeout_s: float, function: Callable[[], Answer]) -> Answer:
    """The answer of `function`, or TimeoutError after `timeout_s` seconds, whatever it hangs in.

    Name resolution cannot be interrupted, so the call runs in a daemon thread that is left behind when time is up.
    """
    outcome: queue.SimpleQueue[tuple[Answer, None] | tuple[None, BaseException]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((function(), None))
        except BaseException as failure:  # noqa: BLE001  (raised again below, in the caller's thread)
            outcome.put((None, failure))

    threading.Thread(target=work, daemon=True, name="call_within").start()
    try:
        answer, failure = outcome.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None
    if failure is not None:
        raise failure
    return answer  # type: ignore[return-value]  # without a failure there is an answer


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header, which is a number of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    text = (header or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
