"""Who is told of alerts: webhooks, Slack, Teams, e-mail, Alertmanager. A call tells one, and says what came back.

No address and no token comes into a message: Slack's and Teams's addresses are secrets.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, Protocol, runtime_checkable

from pydantic import SecretStr

from cryptosentinel.alerting.events import Event
from cryptosentinel.alerting.formats import (
    alertmanager_alert,
    alertmanager_ended,
    slack_message,
    teams_message,
    webhook_message,
)
from cryptosentinel.config import AlertSettings, EmailSettings
from cryptosentinel.errors import DeliveryError

# Answers that are about this moment, not about what was sent.
_PASSING = frozenset({408, 425, 429})


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


class Sink(Protocol):
    """Somebody who is told of alerts.

    Attributes:
        name: under which the outbox keeps what is due; it stays the same as long as the receiver does.
    """

    @property
    def name(self) -> str:
        """See the class."""

    def send(self, event: Event) -> str:
        """Tells it; returns what it answered, in a few words.

        Raises:
            DeliveryError: it cannot be reached, or did not take it. It may have taken it all the same.
        """


@runtime_checkable
class Renewed(Protocol):
    """A sink that forgets: it is told again and again what is open."""

    def renew(self, events: Sequence[Event]) -> None:
        """Tells it what is open, by the newest event of each alert.

        Raises:
            DeliveryError: as `Sink.send`.
        """


@dataclass(frozen=True)
class Webhook:
    """A POST of JSON for each event: our own format, Slack's or Teams's."""

    name: str
    url: SecretStr
    timeout_s: float
    token: SecretStr | None = None

    def send(self, event: Event) -> str:
        """Tells it; see `Sink`."""
        message = {"slack": slack_message, "teams": teams_message}.get(self.name, webhook_message)
        return post(self.name, self.url.get_secret_value(), message(event), event.id, self.timeout_s, self.token)


@dataclass(frozen=True)
class Alertmanager:
    """Prometheus's Alertmanager, over version 2 of its API. What it is told twice counts once."""

    url: str
    timeout_s: float
    hold_s: float
    token: SecretStr | None = None
    name: str = "alertmanager"
    clock: Callable[[], datetime] = utc_now

    def send(self, event: Event) -> str:
        """Tells it; see `Sink`."""
        return self._post([alertmanager_alert(event, self._until), *alertmanager_ended(event, self.clock())], event.id)

    def renew(self, events: Sequence[Event]) -> None:
        """Tells it what is open; see `Renewed`."""
        self._post([alertmanager_alert(event, self._until) for event in events], "")

    @property
    def _until(self) -> datetime:
        return self.clock() + timedelta(seconds=self.hold_s)

    def _post(self, alerts: list[dict[str, Any]], key: str) -> str:
        return post(self.name, f"{self.url.rstrip('/')}/api/v2/alerts", alerts, key, self.timeout_s, self.token)


@dataclass(frozen=True)
class Email:
    """An e-mail to one recipient, so that one who is refused does not have the others told twice."""

    to: str
    server: EmailSettings
    timeout_s: float

    @property
    def name(self) -> str:
        """Under which the outbox keeps what is due."""
        return f"email:{self.to}"

    def send(self, event: Event) -> str:
        """Tells it; see `Sink`. A repeat carries the same Message-ID."""
        message = EmailMessage()
        message["Subject"] = event.title
        message["From"], message["To"] = self.server.sender, self.to
        message["Date"] = event.resolved_at or event.raised_at
        message["Message-ID"] = f"<{event.id}.{self.to.replace('@', '.')}@{self.server.sender.partition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(f"{event.text}\n\n{event.model_dump_json(indent=2)}\n")
        try:
            with self._connect() as client:
                client.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise self._failure(f"{error.smtp_code} {_words(error.smtp_error)}", away=error.smtp_code < 500) from error
        except smtplib.SMTPRecipientsRefused as error:
            ((code, said),) = error.recipients.values()
            raise self._failure(f"{code} {_words(said)}", away=False) from error
        except (smtplib.SMTPException, OSError) as error:
            raise self._failure(f"{type(error).__name__}: {error}", away=True) from error
        return "accepted by the mail server"

    def _connect(self) -> smtplib.SMTP:
        host, context = str(self.server.host), ssl.create_default_context()
        if self.server.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(host, self.server.port, timeout=self.timeout_s, context=context)
        else:
            client = smtplib.SMTP(host, self.server.port, timeout=self.timeout_s)
        try:
            if self.server.security == "starttls":
                client.starttls(context=context)
            if self.server.user and self.server.password:
                client.login(self.server.user, self.server.password.get_secret_value())
        except BaseException:
            client.close()
            raise
        return client

    def _failure(self, said: str, *, away: bool) -> DeliveryError:
        return DeliveryError(f"The mail server did not take it for {self.to}: {said[:200]}.", away=away)


def open_sinks(settings: AlertSettings) -> list[Sink]:
    """All who are to be told, as the settings say."""
    webhooks = {"webhook": settings.webhook_url, "slack": settings.slack_url, "teams": settings.teams_url}
    timeout_s = settings.timeout_s
    sinks: list[Sink] = [
        Webhook(name, url, timeout_s, settings.webhook_token if name == "webhook" else None)
        for name, url in webhooks.items()
        if url is not None
    ]
    if settings.alertmanager_url is not None:
        hold_s = settings.alertmanager_hold_s
        sinks.append(Alertmanager(settings.alertmanager_url, timeout_s, hold_s, settings.alertmanager_token))
    return sinks + [Email(to, settings.email, timeout_s) for to in settings.email.to]


def post(name: str, url: str, body: Any, key: str, timeout_s: float, token: SecretStr | None) -> str:
    """One POST of JSON, whose answer is a success or a `DeliveryError`; redirects are not followed.

    Args:
        name: the receiver's, for messages.
        url: where to.
        body: what JSON can hold.
        key: the same for the same event: the header `Idempotency-Key`.
        timeout_s: for connecting, for sending, and for the first of the answer.
        token: a bearer token.
    """
    import httpx  # 0.15 s, which only those pay who have somebody to tell

    headers = {"idempotency-key": key} if key else {}
    if token is not None:
        headers["authorization"] = f"Bearer {token.get_secret_value()}"
    try:
        # What it says besides is not waited for: it may take its time.
        with httpx.stream("POST", url, json=body, headers=headers, timeout=timeout_s, follow_redirects=False) as answer:
            pass
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error).replace(url, "its address")
        raise DeliveryError(f"{name} cannot be reached ({type(error).__name__}: {said[:200]}).", away=True) from None
    if answer.is_success:
        return f"{answer.status_code} {answer.reason_phrase}".strip()
    wait = answer.headers.get("retry-after", "")
    raise DeliveryError(
        f"{name} answered {answer.status_code} {answer.reason_phrase}".strip() + ".",
        away=answer.status_code >= 500 or answer.status_code in _PASSING,
        retry_after_s=float(wait) if wait.isdecimal() else 0.0,
    )


def _words(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
