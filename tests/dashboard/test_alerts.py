"""The page of alerts: what it reads, its chart, its states, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from cryptosentinel.alerting import Mute, mute, read_mutes
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.storage import ALERTS, DELIVERIES, Storage
from cryptosentinel.storage.frames import of_records
from cryptosentinel.workspace import open_workspace
from dashboard import parts
from dashboard.acting import Permission
from dashboard.charts.alerts import alert_chart
from dashboard.data.alerts import (
    KINDS,
    Alerts,
    chosen,
    loud_first,
    past_table,
    reach,
    read_alerts,
    told,
    typical_length,
    waiting_table,
)
from dashboard.zone import Zone
from tests.builders import FIVE

NOW = datetime(2025, 1, 6, 12, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
MUTED = {"drift": Mute("drift", NOW + HOUR, "bob", NOW, "known")}


def an_alert(name: str, kind: str = "volatility", severity: str = "warning", **more: object) -> dict[str, object]:
    """An alert of three hours ago, open."""
    row = {"alert_id": name, "kind": kind, "severity": severity, "asset": "bitcoin", "raised_at": NOW - 3 * HOUR}
    return row | {"value": 0.7, "threshold": 0.5, "message": f"{name} is wrong."} | more


def alerts(*rows: dict[str, object]) -> pd.DataFrame:
    return of_records([dict.fromkeys(ALERTS.names) | row for row in rows], ALERTS)


def a_delivery(
    alert: str, sink: str, event: str = "raised", *, done: bool = False, **more: object
) -> dict[str, object]:
    row = {"delivery_id": f"{alert}-{event}-{sink}", "event_id": f"{alert}-{event}", "alert_id": alert, "sink": sink}
    row |= {"asset": "bitcoin", "event": event, "body": "{}", "created_at": NOW, "due_at": NOW, "attempts": 1}
    return row | {"delivered_at": NOW if done else None} | more


SEEN = {"acknowledged_by": "ann", "acknowledged_at": NOW}


def test_what_nobody_looks_after_comes_first_and_of_that_the_critical() -> None:
    rows = alerts(
        an_alert("seen", severity="critical", **SEEN),
        an_alert("mild"),
        an_alert("muted", "drift", "critical"),
        an_alert("bad", severity="critical"),
    )
    assert loud_first(rows, MUTED)["alert_id"].tolist() == ["bad", "mild", "seen", "muted"]
    assert loud_first(rows.head(0), {}).empty


def test_alerts_are_chosen_by_kind_severity_and_when_they_were_open() -> None:
    rows = alerts(
        an_alert("open"),
        an_alert("ended since", "drift", "critical", resolved_at=NOW - HOUR),
        an_alert("ended before", resolved_at=NOW - 2 * HOUR),
    )
    since = NOW - 1.5 * HOUR
    assert chosen(rows, [], None, since)["alert_id"].tolist() == ["open", "ended since"]
    assert chosen(rows, ["drift"], None, since)["alert_id"].tolist() == ["ended since"]
    assert chosen(rows, [], "warning", since)["alert_id"].tolist() == ["open"]
    assert typical_length(rows) == 1.5 * HOUR
    assert typical_length(rows.head(1)) is None


@pytest.mark.parametrize(
    ("kind", "value", "limit", "share", "words"),
    [
        ("volatility", 0.75, 0.5, 0.75, "It was 75.0%; limit 50.0%, critical above 100.0%"),
        ("stale_bars", 3000, 900, 1.0, "It was 50 minutes; limit 15 minutes, critical above 30 minutes"),
        ("model_expired", 50, 45, 1.0, "It was 50 days; limit 45 days"),
        ("concept_drift", 1.5, 1.0, 0.75, "It was 1.5; limit 1, critical above 2"),
        ("run_failed", float("nan"), 2, 1.0, "It was nan; limit 2, critical above 4"),
    ],
)
def test_how_far_a_figure_went_is_told_in_its_unit(
    kind: str, value: float, limit: float, share: float, words: str
) -> None:
    assert reach(kind, value, limit) == (share, words)


def test_tables_say_how_long_and_what_is_waited_for() -> None:
    rows = alerts(
        an_alert("a", resolved_at=NOW, **SEEN), an_alert("b", "of another release", "critical", resolved_at=NOW)
    )
    table = past_table(rows)
    assert table["Severity"].tolist() == ["! warning", "‼ critical"]
    assert table["Kind"].tolist() == ["Volatility", "Of another release"]
    assert table["Minutes"].tolist() == [180, 180]
    assert (table["Value"][0], table["Limit"][0], table["Value"][1]) == ("70.0%", "50.0%", "0.7")
    queued = of_records(
        [
            dict.fromkeys(DELIVERIES.names) | a_delivery("a", "slack", answer="503"),
            dict.fromkeys(DELIVERIES.names) | a_delivery("a", "webhook", done=True),
            dict.fromkeys(DELIVERIES.names) | a_delivery("d", "webhook", "escalated", attempts=0),
            dict.fromkeys(DELIVERIES.names) | a_delivery("a", "webhook", "resolved", attempts=0),
        ],
        DELIVERIES,
    )
    now = Alerts(NOW, NOW, FIVE, alerts(an_alert("a"), an_alert("d", "drift")), MUTED, queued)
    waiting = waiting_table(now.waiting, MUTED)
    assert waiting["To"].tolist() == ["slack", "webhook", "webhook"]
    assert waiting["That it"].tolist() == ["began", "became critical", "is over"]
    assert waiting["Why it waits"].tolist()[:2] == ["503", "its kind is muted"]
    assert waiting["Why it waits"][2].startswith("nobody has tried yet")
    assert told(queued, "a") == (["webhook"], ["slack", "webhook"])


def bars_of(figure: object) -> dict[str, list[tuple[str, datetime, float]]]:
    """By severity: the row, the beginning and the hours of each bar."""
    return {
        trace.name: [(y, base, x / 3.6e6) for y, base, x in zip(trace.y, trace.base, trace.x, strict=True)]
        for trace in figure.data
        if trace.type == "bar"
    }


def test_a_bar_reaches_from_its_beginning_to_its_end_or_to_now() -> None:
    rows = alerts(
        an_alert("open", raised_at=NOW - timedelta(minutes=62), **SEEN),
        an_alert("long", "drift", "critical", raised_at=NOW - 40 * HOUR, resolved_at=NOW - 22 * HOUR),
        an_alert("other", "<b>of data</b>", resolved_at=NOW - HOUR),
    )
    figure = alert_chart(rows, KINDS, NOW, FIVE, 1, Zone("Asia/Karachi"))
    day = pd.Timestamp("2025-01-06")
    assert bars_of(figure) == {
        "warning": [
            ("Volatility", day.replace(hour=16), 65 / 60),  # to the end of this bar
            ("Other", day.replace(hour=14, minute=2), 2.0),
        ],
        "critical": [("Drift", pd.Timestamp("2025-01-05 17:05"), pytest.approx(1.95))],
    }
    assert figure.layout.yaxis.categoryarray == ("Other", "Volatility", "Drift")
    assert "of data" not in figure.to_json()
    said = {trace.name: trace.customdata[0] for trace in figure.data if trace.type == "bar"}
    assert said["critical"] == "05 Jan 01:02 to 05 Jan 19:02: 18 h<br>04 Jan 20:02 to 05 Jan 14:02 UTC"
    assert [trace.name for trace in figure.data if trace.type == "scatter"] == ["acknowledged"]


def test_the_chart_stays_as_it_is_until_the_bar_ends() -> None:
    rows = alerts(an_alert("open"))
    shown = [alert_chart(rows, KINDS, NOW + timedelta(seconds=s), FIVE, 7).to_json() for s in (0, 179, 181)]
    assert shown[0] == shown[1] != shown[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {"home": str(tmp_path), "market.source": "simulated:3", "dashboard.actions": True}
    return load_settings(environ={}, overrides=given)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    """An open alert a severity, one that is over, what is muted, and who waits, by the clock on the wall."""
    now = datetime.now(UTC)
    storage = open_workspace(settings).storage
    times = {"raised_at": now - 3 * HOUR}
    rows = [
        an_alert("bad", severity="critical", **times, message="**Loud** <b>"),
        an_alert("mild", "stale_bars", value=1200, threshold=900, **times),
        an_alert("past", "drift", resolved_at=now - HOUR, **times),
    ]
    storage.log.write_alerts(alerts(*rows))
    mute(storage.log, "bitcoin", "stale_bars", now + HOUR, "bob", reason="known", now=now)
    row = dict.fromkeys(DELIVERIES.names) | a_delivery("bad", "slack", answer="503 @ http://slack")
    storage.outbox.add(of_records([row], DELIVERIES))
    return storage


@pytest.fixture
def show(look: Callable[..., AppTest], forget: Callable[[], None], settings: Settings):
    def run(shown: Settings = settings, **query: str) -> AppTest:
        forget()
        return look(shown, "alerts", **query)

    return run


def said(page: AppTest) -> str:
    kinds = (page.header, page.subheader, page.markdown, page.info, page.error, page.button)
    return "\n".join(str(getattr(element, "label", "") or element.value) for kind in kinds for element in kind)


def test_what_is_open_is_shown_with_what_to_do_and_who_knows(show, storage: Storage, waited: list[float]) -> None:
    page = show()
    cards = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert cards["Open"] == ("2", "1 critical, 0 acknowledged")
    assert cards["Muted kinds"] == ("1", "nobody is told of them")
    assert cards["Raised in 7 days"] == ("3", "half are over in 2 h")
    assert cards["To be told"] == ("1", "to slack")
    assert [header.value for header in page.subheader] == ["Volatility", "Stale bars"]
    words = said(page)
    assert "\\*\\*Loud\\*\\* \\<b\\>" in words
    assert "**What to do.** Nothing is broken\\. Intervals widen" in words
    assert "docs/operations.md#volatility" in words
    assert "Not told yet\\: slack" in words
    assert "Muted until" in words
    assert [table.value["Kind"].tolist() for table in page.dataframe] == [["Drift"], ["Volatility"]]
    assert len(page.get("plotly_chart")) == 1
    assert waited == [parts.FIGURES_FIRST_S]
    assert len(page.run().get("plotly_chart")) == 1
    assert waited == [parts.FIGURES_FIRST_S], "a viewer waits again for a chart, though their browser has Plotly"
    past = show(show="Past", kinds="Drift")
    assert not past.subheader
    assert "Past" in [header.value for header in past.header]
    assert "Open" not in [header.value for header in past.header]


def test_buttons_act_in_the_viewers_name_and_what_they_did_is_seen_at_once(show, storage: Storage) -> None:
    page = show()
    page.button(key="acknowledge-bad").click().run()
    assert "Volatility\\: acknowledged by local\\." in [info.value for info in page.info]
    assert storage.log.read_alerts("bitcoin").set_index("alert_id")["acknowledged_by"]["bad"] == "local"
    assert "Acknowledged by local" in said(page)
    assert "acknowledge-bad" not in [button.key for button in page.button]
    page.button(key="unmute-card-stale_bars").click().run()
    assert "No kind is muted" in said(page)
    page.text_input(key="mute-reason-stale_bars").set_value("we *know*")
    page.button(key="mute-now-stale_bars").click().run()
    (muted,) = read_mutes(storage.log, "bitcoin", now=datetime.now(UTC)).values()
    assert (muted.by, muted.reason) == ("local", "we *know*")
    assert timedelta(minutes=59) < muted.until - datetime.now(UTC) <= HOUR
    page.button(key="mute-now-any").click().run()
    assert set(read_mutes(storage.log, "bitcoin", now=datetime.now(UTC))) == {"stale_bars", KINDS[0]}
    storage.log.write_alerts(alerts(an_alert("mild", "stale_bars", "critical")))
    page.button(key="acknowledge-mild").click().run()
    assert any("It got worse" in info.value for info in page.info)
    assert storage.log.read_alerts("bitcoin").set_index("alert_id")["acknowledged_by"]["mild"] is None


def test_who_may_not_act_is_told_why_and_cannot_with_a_page_of_before(
    show, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = settings.dashboard.model_copy(update={"actions": False})
    page = show(settings.model_copy(update={"dashboard": group}))
    buttons = [button for button in page.button if not button.key.startswith("mute-now")]
    assert buttons
    assert all(button.disabled and "CRYPTOSENTINEL" in button.help for button in buttons)
    page = show()
    monkeypatch.setattr("dashboard.shell.may_act", lambda: Permission(refused="Not you."))
    page.button(key="acknowledge-bad").click().run()
    assert "Not you\\." in [info.value for info in page.info]
    assert storage.log.read_alerts("bitcoin")["acknowledged_by"].isna().all()


def test_a_market_without_alerts_says_so_and_what_cannot_be_read_too(
    show, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_workspace(settings)
    page = show()
    assert "No alert was ever raised here. The inference pipeline looks again at" in page.info[0].value
    assert "No alert is open." in said(page)

    def away(*_: object) -> None:
        raise OSError("secret")

    monkeypatch.setattr("dashboard.data.alerts.read_mutes", away)
    page = show()
    assert "Something went wrong here" in page.error[0].value
    assert "secret" not in said(page)


def test_a_recordings_alerts_are_as_old_as_its_clock_says(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = SimpleNamespace(
        storage=SimpleNamespace(
            log=storage.log, outbox=storage.outbox, features=SimpleNamespace(last_timestamp=lambda _: NOW)
        ),
        settings=SimpleNamespace(market=SimpleNamespace(asset="bitcoin")),
        spec=SimpleNamespace(interval=FIVE),
    )
    monkeypatch.setattr("dashboard.data.alerts.is_recorded", lambda _: True)
    clock = datetime.now(UTC)
    found = read_alerts(workspace, clock)
    assert (found.now, found.clock) == (NOW + FIVE.delta, clock)
    assert set(found.mutes) == {"stale_bars"}, "people live by the clock on the wall"
