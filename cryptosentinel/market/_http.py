"""JSON over HTTP from a service that may misbehave. Knows nothing of markets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cryptosentinel.errors import RateLimitedError, SettingsError, SourceAnswerError, SourceUnavailableError
from cryptosentinel.market._calls import TransientError, retry_after_s, utc_now, with_retries

if TYPE_CHECKING:
    import httpx

MAX_BODY_BYTES = 16 * 2**20


@dataclass(frozen=True)
class JsonClient:
    """Asks one service for JSON.

    Redirects are not followed, so that a key never reaches another host.

    Attributes:
        service: its name, for messages.
        setting: the settings group to point people at.
        timeout_s: for one attempt, body included.
        budget_s: for one `get` with all its retries.
    """

    service: str
    setting: str
    base_url: str
    timeout_s: float
    budget_s: float
    max_attempts: int
    key: SecretStr | None = None
    key_header: str = ""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        # A header that cannot be sent would show its value in the error of the HTTP library.
        if self.key is not None and not re.fullmatch(r"[\x21-\x7e]+", self.key.get_secret_value()):
            raise SettingsError(f"Setting '{self.setting}.api_key': must be printable ASCII without spaces.")
        if self.key is not None and not re.fullmatch(r"[A-Za-z0-9-]+", self.key_header):
            raise SettingsError(f"Setting '{self.setting}.api_key_header': must be the name of an HTTP header.")

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The parsed JSON at `path`.

        Raises:
            RateLimitedError: it asks us to come back later than the budget allows.
            SourceUnavailableError: no complete answer within the time-outs and retries, or a server error.
            SourceAnswerError: it refuses the request, or answers something that is not JSON.
            SettingsError: the base URL is not one.
        """
        import httpx  # 0.15 s, which every process that opens a market would pay for

        deadline = time.monotonic() + self.budget_s
        headers = {self.key_header: self.key.get_secret_value()} if self.key else {}
        headers["accept"] = "application/json"
        with httpx.Client(headers=headers, follow_redirects=False) as client:
            return with_retries(
                lambda: self._attempt(client, path, params, deadline),
                max_attempts=self.max_attempts,
                budget_s=self.budget_s,
                sleep=self.sleep,
            )

    def _attempt(self, client: httpx.Client, path: str, params: Mapping[str, str | int] | None, deadline: float) -> Any:
        import httpx

        asked = f"{self.service} ({path})"
        timeout_s = max(0.05, min(self.timeout_s, deadline - time.monotonic()))
        give_up_at = time.monotonic() + timeout_s
        body = bytearray()
        try:
            with client.stream("GET", self.base_url.rstrip("/") + path, params=params, timeout=timeout_s) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise SourceAnswerError(f"{asked} answered more than {MAX_BODY_BYTES // 2**20} MiB.")
                    # The library's time-out is for each read: a body that drips would never end.
                    if time.monotonic() > give_up_at:
                        raise TransientError(
                            SourceUnavailableError(f"{asked} had not finished its answer after {timeout_s:.3g} s.")
                        )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SettingsError(f"Setting '{self.setting}.base_url': cannot be used as an address.") from error
        except httpx.TimeoutException as error:
            raise TransientError(SourceUnavailableError(f"{asked} did not answer within {timeout_s:.3g} s.")) from error
        except httpx.DecodingError as error:
            raise TransientError(SourceAnswerError(f"{asked} answered a body that cannot be decompressed.")) from error
        except httpx.TransportError as error:
            reason = self._tell(str(error)) or type(error).__name__
            raise TransientError(SourceUnavailableError(f"{asked} cannot be reached: {reason}.")) from error
        return self._read(asked, response, bytes(body))

    def _read(self, asked: str, response: httpx.Response, body: bytes) -> Any:
        try:
            answer = json.loads(body)
            is_json = True
        except (ValueError, RecursionError):
            answer, is_json = None, False
        error = _reported_error(answer)
        # Some errors come under HTTP 200; otherwise the code inside says more than the status.
        status = response.status_code
        if error and status == HTTPStatus.OK:
            status = error.code or status
        said = f"{status}"
        if error:
            said += f", code {error.code}" if error.code not in (0, status) else ""
            said += f": {self._tell(error.text)}"
        elif not is_json:
            said += f": {_kind_of(body, response.headers.get('content-type', ''))}"
        wait_s = retry_after_s(response.headers.get("retry-after"), utc_now())
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            later = f" and asks to wait {wait_s:.0f} s" if wait_s is not None else ""
            limited = RateLimitedError(
                f"{asked} limits our rate{later} ({said}).",
                retry_after_s=wait_s,
                remedy=f"Wait, or set {self.setting}.api_key." if self.key is None else "Wait, or ask less often.",
            )
            raise TransientError(limited, retry_after_s=wait_s)
        if 500 <= status < 600 or status == HTTPStatus.REQUEST_TIMEOUT:
            away = SourceUnavailableError(f"{asked} answered an error ({said}).")
            raise TransientError(away, retry_after_s=wait_s)
        if response.is_redirect:
            raise SourceAnswerError(
                f"{asked} redirects to {self._tell(response.headers.get('location', ''))}, which is not followed.",
                remedy=f"Check {self.setting}.base_url, and that no login page is in between.",
            )
        if error or status != HTTPStatus.OK:
            raise SourceAnswerError(f"{asked} refuses the request ({said}).")
        if not is_json:
            raise TransientError(SourceAnswerError(f"{asked} answered no JSON ({said})."))
        return answer

    def _tell(self, text: object) -> str:
        """Somebody else's text, fit for a message: one line, not long, without our key."""
        line = " ".join(str(text or "").split())
        if self.key is not None:
            line = line.replace(self.key.get_secret_value(), "***")
        return "".join(c for c in line if c.isprintable())[:200].rstrip(".")


@dataclass(frozen=True)
class _ReportedError:
    """An error in a JSON answer; code 0 where it has none."""

    code: int
    text: object


def _reported_error(answer: Any) -> _ReportedError | None:
    """Reads ``{"error": text}``, ``{"status": {"error_code": 429, ...}}`` and the latter inside the former."""
    if not isinstance(answer, dict):
        return None
    inner = answer.get("error")
    status = (inner if isinstance(inner, dict) else answer).get("status")
    if isinstance(status, dict) and status.get("error_code"):
        code = str(status["error_code"])
        return _ReportedError(int(code) if re.fullmatch(r"\d{1,9}", code) else 0, status.get("error_message"))
    return _ReportedError(0, inner) if inner else None


def _kind_of(body: bytes, content_type: str) -> str:
    if not body.strip():
        return "an empty body"
    if b"<html" in body[:2000].lower() or b"<!doctype" in body[:2000].lower():
        return "an HTML page"
    return f"{len(body):,} bytes of {content_type.partition(';')[0].strip()[:40] or 'no content type'}"
