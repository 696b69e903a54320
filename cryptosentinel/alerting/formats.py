"""An event as its receivers want to read it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from cryptosentinel.alerting.events import ESCALATED, Event
from cryptosentinel.storage.schemas import WARNING


def webhook_message(event: Event) -> dict[str, Any]:
    """Our own format: everything there is; `version` changes when a field changes its meaning or goes."""
    return {"version": 1, **json.loads(event.model_dump_json()), "title": event.title}


def slack_message(event: Event) -> dict[str, Any]:
    """For an incoming webhook of Slack."""
    title, text = _for_slack(event.title), _for_slack(event.text)
    return {
        "text": f"{title}: {text}",  # what notifications show
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{text}"}},
            {"type": "context", "elements": [{"type": "plain_text", "text": event.id}]},
        ],
    }


def teams_message(event: Event) -> dict[str, Any]:
    """For a Teams workflow "when a webhook request is received": an adaptive card."""
    color = "Good" if event.resolved_at else "Warning" if event.severity == WARNING else "Attention"
    body = [
        {"type": "TextBlock", "text": event.title, "weight": "Bolder", "color": color, "wrap": True},
        {"type": "TextBlock", "text": event.text, "wrap": True},
        {"type": "TextBlock", "text": event.id, "isSubtle": True, "size": "Small"},
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def alertmanager_alert(event: Event, until: datetime) -> dict[str, Any]:
    """For Alertmanager's `POST /api/v2/alerts`; an open alert ends there at `until`, unless it is renewed."""
    return _alertmanager_alert(event, event.severity, event.resolved_at or until)


def alertmanager_ended(event: Event, now: datetime) -> list[dict[str, Any]]:
    """What ends with an event: an alert that got worse ends as what it was.

    Labels are an alert's identity there, and routes go by severity: as critical it is another one.
    """
    return [_alertmanager_alert(event, WARNING, now)] if event.event == ESCALATED else []


def _alertmanager_alert(event: Event, severity: str, ends_at: datetime) -> dict[str, Any]:
    name = "".join(part.capitalize() for part in event.kind.split("_"))
    labels = {"severity": severity, "asset": event.asset, "market": event.market}
    return {
        "labels": {"alertname": f"CryptoSentinel{name}", **labels},
        "annotations": {"summary": event.message, "description": event.text, "alert_id": event.alert_id},
        "startsAt": event.raised_at.isoformat(),
        "endsAt": ends_at.isoformat(),
    }


def _for_slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
