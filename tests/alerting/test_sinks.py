"""What each receiver is sent, what counts as taken, and that no secret shows."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from email import message_from_string
from email.message import Message
from threading import Thread
from typing import Any

import pytest

from cryptosentinel.alerting import Event, Sink, open_sinks
from cryptosentinel.errors import DeliveryError, SettingsError
from tests.alerting.builders import Clock, Receiver
from tests.builders import T0, settings_of

LATER = T0 + timedelta(minutes=40)


def event(name: str = "raised", severity: str = "warning", message: str = "It <is> & down.") -> Event:
    return Event(
        id=f"abc-{name}",
        event=name,
        alert_id="abc",
        kind="price_move_24h",
        severity=severity,
        asset="bitcoin",
        market="bitcoin/usd 5m (coingecko)",
        raised_at=T0,
        resolved_at=LATER if name == "resolved" else None,
        value=0.06,
        threshold=0.05,
        message=message,
        remedy="Do this.",
    )


def only_sink(**alerts: Any) -> Sink:
    (sink,) = open_sinks(settings_of(**{f"alerts__{name}": value for name, value in alerts.items()}).alerts)
    return sink


class TestWebhooks:
    def test_a_webhook_gets_everything_there_is_and_a_key(self, receiver: Receiver) -> None:
        assert only_sink(webhook_url=receiver.url, webhook_token="t0ken").send(event()) == "200 OK"
        (request,) = receiver.requests
        assert request.path == "/hook"
        assert request.headers["idempotency-key"] == "abc-raised"
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.headers["content-type"] == "application/json"
        assert request.json == {
            "version": 1,
            "id": "abc-raised",
            "event": "raised",
            "alert_id": "abc",
            "kind": "price_move_24h",
            "severity": "warning",
            "asset": "bitcoin",
            "market": "bitcoin/usd 5m (coingecko)",
            "raised_at": "2025-01-06T00:00:00Z",
            "resolved_at": None,
            "value": 0.06,
            "threshold": 0.05,
            "message": "It <is> & down.",
            "remedy": "Do this.",
            "title": "[WARNING] price move 24h, bitcoin/usd 5m (coingecko)",
        }

    def test_slack_gets_text_and_blocks_with_its_own_characters_escaped(self, receiver: Receiver) -> None:
        only_sink(slack_url=receiver.url).send(event())
        sent = receiver.requests[0].json
        assert sent["text"] == (
            "[WARNING] price move 24h, bitcoin/usd 5m (coingecko): It &lt;is&gt; &amp; down. Do this."
        )
        section, context = sent["blocks"]
        assert section["text"]["type"] == "mrkdwn"
        assert "It &lt;is&gt; &amp; down." in section["text"]["text"]
        assert context["elements"] == [{"type": "plain_text", "text": "abc-raised"}]

    @pytest.mark.parametrize(
        ("name", "severity", "color", "title"),
        [
            ("raised", "warning", "Warning", "[WARNING]"),
            ("escalated", "critical", "Attention", "[NOW CRITICAL]"),
            ("resolved", "critical", "Good", "[RESOLVED]"),
        ],
    )
    def test_teams_gets_an_adaptive_card(
        self, receiver: Receiver, name: str, severity: str, color: str, title: str
    ) -> None:
        only_sink(teams_url=receiver.url).send(event(name, severity))
        sent = receiver.requests[0].json
        (attachment,) = sent["attachments"]
        assert (sent["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
        first, text, identity = attachment["content"]["body"]
        assert (first["color"], first["text"].partition(" price")[0]) == (color, title)
        assert text["text"].startswith("Over since 2025-01-06 00:40 UTC." if name == "resolved" else "It <is> & down.")
        assert identity["text"] == f"abc-{name}"

    @pytest.mark.parametrize(
        ("status", "away"),
        [(500, True), (503, True), (429, True), (408, True), (400, False), (404, False), (302, False)],
    )
    def test_what_is_no_success_was_not_taken(self, receiver: Receiver, status: int, away: bool) -> None:
        receiver.answer, receiver.headers = status, {"location": receiver.url}
        with pytest.raises(DeliveryError, match=f"webhook answered {status}") as caught:
            only_sink(webhook_url=receiver.url).send(event())
        assert caught.value.away is away
        assert len(receiver.requests) == 1  # no redirect is followed

    def test_who_does_not_answer_is_away(self, receiver: Receiver) -> None:
        receiver.on_request = lambda: time.sleep(0.5)
        with pytest.raises(DeliveryError, match="ReadTimeout") as caught:
            only_sink(webhook_url=receiver.url, timeout_s=0.1).send(event())
        assert caught.value.away

    def test_an_address_is_a_secret(self) -> None:
        url = "http://127.0.0.1:9/services/T000/hidden"
        with pytest.raises(DeliveryError) as caught:
            only_sink(slack_url=url, timeout_s=1).send(event())
        settings = settings_of(
            alerts__slack_url=url, alerts__webhook_url="https://x/hidden", alerts__webhook_token="hidden"
        )
        for text in (str(caught.value), repr(caught.value), repr(open_sinks(settings.alerts)), settings.public_json()):
            assert "hidden" not in text
        with pytest.raises(SettingsError) as refused:
            settings_of(alerts__slack_url="ftp://hidden", alerts__webhook_token="hid den")
        assert "ftp" not in str(refused.value)
        assert "hid den" not in str(refused.value)


class TestAlertmanager:
    def sink(self, receiver: Receiver) -> Any:
        root = receiver.url.removesuffix("/hook") + "/"
        sink = only_sink(alertmanager_url=root, alertmanager_hold_s=3600)
        return replace(sink, clock=Clock(T0 + timedelta(minutes=5)))

    def test_an_open_alert_holds_for_a_while(self, receiver: Receiver) -> None:
        self.sink(receiver).send(event())
        (request,) = receiver.requests
        assert request.path == "/api/v2/alerts"
        assert request.json == [
            {
                "labels": {
                    "alertname": "CryptoSentinelPriceMove24h",
                    "severity": "warning",
                    "asset": "bitcoin",
                    "market": "bitcoin/usd 5m (coingecko)",
                },
                "annotations": {
                    "summary": "It <is> & down.",
                    "description": "It <is> & down. Do this.",
                    "alert_id": "abc",
                },
                "startsAt": "2025-01-06T00:00:00+00:00",
                "endsAt": "2025-01-06T01:05:00+00:00",
            }
        ]

    def test_one_that_is_over_ends_when_it_ended_by_the_same_labels(self, receiver: Receiver) -> None:
        sink = self.sink(receiver)
        sink.send(event())
        sink.send(event("resolved"))
        (first,), (last,) = (request.json for request in receiver.requests)
        assert last["labels"] == first["labels"]
        assert last["endsAt"] == "2025-01-06T00:40:00+00:00"

    def test_one_that_got_worse_ends_as_a_warning_and_begins_as_critical(self, receiver: Receiver) -> None:
        self.sink(receiver).send(event("escalated", "critical"))
        ends = {alert["labels"]["severity"]: alert["endsAt"] for alert in receiver.requests[0].json}
        assert ends == {"critical": "2025-01-06T01:05:00+00:00", "warning": "2025-01-06T00:05:00+00:00"}


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        say = lambda line: self.wfile.write(f"{line}\r\n".encode())  # noqa: E731
        say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
                server.mails.append(message_from_string("\n".join(lines)))
                say("250 taken")
            elif verb == "RCPT" and server.refuses and server.refuses[0] in line:
                say(server.refuses[1])
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")


@contextmanager
def mail_server(refuses: tuple[str, str] | None = None) -> Iterator[tuple[int, list[Message]]]:
    """A real SMTP server, as far as one is needed; `refuses` a recipient with an answer."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        server.mails, server.refuses = [], refuses  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1], server.mails  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def mail_sinks(port: int, to: str) -> list[Sink]:
    email = {"host": "127.0.0.1", "port": port, "security": "none", "to": to, "sender": "watch@example.org"}
    return open_sinks(settings_of(**{f"alerts__email__{name}": value for name, value in email.items()}).alerts)


class TestEmail:
    def test_each_recipient_gets_a_message_whose_repeat_has_the_same_id(self) -> None:
        with mail_server() as (port, mails):
            sinks = mail_sinks(port, "a@example.org, b@example.org")
            assert [sink.name for sink in sinks] == ["email:a@example.org", "email:b@example.org"]
            for sink in [*sinks, sinks[0]]:
                assert sink.send(event(message="It is down.")) == "accepted by the mail server"
        first, other, again = mails
        assert (first["to"], first["from"]) == ("a@example.org", "watch@example.org")
        assert first["subject"] == "[WARNING] price move 24h, bitcoin/usd 5m (coingecko)"
        assert first["message-id"] == again["message-id"] == "<abc-raised.a.example.org@example.org>"
        assert other["message-id"] != first["message-id"]
        assert first.as_string() == again.as_string()
        assert "It is down. Do this." in first.get_payload()

    @pytest.mark.parametrize("answer", ["550 nobody here", "451 later"])
    def test_that_one_is_refused_is_no_matter_of_the_others(self, answer: str) -> None:
        with mail_server(("b@", answer)) as (port, mails):
            taken, refused = mail_sinks(port, "a@example.org,b@example.org")
            taken.send(event())
            with pytest.raises(DeliveryError, match=answer) as caught:
                refused.send(event())
        assert not caught.value.away
        assert [mail["to"] for mail in mails] == ["a@example.org"]

    def test_a_server_that_is_away_is_said_so(self) -> None:
        (sink,) = mail_sinks(9, "a@example.org")
        with pytest.raises(DeliveryError, match="ConnectionRefused") as caught:
            sink.send(event())
        assert caught.value.away

    @pytest.mark.parametrize(("to", "host"), [("a@example.org", ""), ("nobody", "mail"), ("a@b c", "mail")])
    def test_settings_that_cannot_work_are_refused(self, to: str, host: str) -> None:
        with pytest.raises(SettingsError):
            settings_of(alerts__email__to=to, alerts__email__host=host)


def test_without_settings_nobody_is_told() -> None:
    assert open_sinks(settings_of().alerts) == []
