"""Pieces of pages: what Streamlit shows of the frames that `data` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from time import sleep
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cryptosentinel.alerting import Mute
from cryptosentinel.bundle import FLAT
from cryptosentinel.predicting import NO_BETTER_THAN_A_COIN, REGIME_WORDS, is_coin, made_by
from dashboard import text
from dashboard.charts.base import CONFIG
from dashboard.data.alerts import loud_first
from dashboard.data.home import Home
from dashboard.text import name, plain
from dashboard.zone import UTC_ZONE, Zone

Tone = Literal["blue", "orange", "off"]
# What a browser takes to show the figures that it was sent before a first chart.
FIGURES_FIRST_S = 0.5
_DRAWN = "a chart was drawn"


def tone(move: float) -> Tone:
    """The colour of a move: up, down or none; wherever it is used, a sign says the same."""
    return "blue" if move > 0 else "orange" if move < 0 else "off"


def card(
    label: str,
    value: str,
    note: str,
    colour: Tone = "off",
    *,
    explained: str | None = None,
    height: Literal["stretch", "content"] = "stretch",
) -> None:
    """A figure with what it is called above and a note below; behind a question mark, what it means.

    `stretch` makes it as high as its neighbours; in a column of a page, cards that wrap would overlap.
    """
    st.metric(label, value, note, delta_color=colour, delta_arrow="off", border=True, height=height, help=explained)


def aside(sentence: str) -> None:
    """A sentence in grey; `st.caption` is too pale to be read by everybody."""
    st.markdown(f":small[:gray[{sentence}]]")


def chart(figure: go.Figure, key: str, alt: str, *, config: dict[str, Any] = CONFIG) -> None:
    """A chart; `alt` says what it shows. The first that a viewer is sent comes a moment after what is above it.

    By it their browser loads Plotly, which keeps it from everything else for a second, on a slow machine for two: it
    would show the figures that it already has only afterwards.
    """
    if _DRAWN not in st.session_state:
        st.session_state[_DRAWN] = True
        sleep(FIGURES_FIRST_S)
    st.plotly_chart(figure, key=key, config=config, alt=alt)


def alerts(rows: pd.DataFrame, mutes: Mapping[str, Mute], now: datetime, zone: Zone) -> None:
    """Open alerts, one below the other; last those that somebody looks after or that are muted, a quiet line each."""
    for alert in loud_first(rows, mutes).itertuples():
        critical = alert.severity == "critical"
        if notes := quiet_notes(alert, mutes, now, zone):
            words = f"{name(alert.severity)} since {zone.told(alert.raised_at, now)}: {alert.message or alert.kind}"
            aside(" ".join([f"{icon} {plain(note)}." for icon, note in notes] + [plain(words)]))
            continue
        (st.error if critical else st.warning)(
            f"**{plain(name(alert.severity))}** since {zone.told(alert.raised_at, now)}: "
            f"{plain(alert.message or alert.kind)}",
            icon=":material/error:" if critical else ":material/notifications:",
        )


def quiet_notes(alert: Any, mutes: Mapping[str, Mute], now: datetime, zone: Zone) -> list[tuple[str, str]]:
    """Why an alert (a row of `itertuples`) is not shouted about: an icon and a few words each."""
    notes = []
    if pd.notna(alert.acknowledged_at):
        when = zone.told(alert.acknowledged_at, now)
        notes.append((":material/person_check:", f"Acknowledged by {alert.acknowledged_by}, {when}"))
    if muted := mutes.get(alert.kind):
        why = f": {muted.reason}" if muted.reason else ""
        notes.append((":material/notifications_off:", f"Muted until {zone.told(muted.until, now)}{why}"))
    return notes


def forecast(home: Home, forecast: pd.Series, zone: Zone) -> None:
    """The newest forecast in cards: grey once its time is past."""
    target, made = zone.told(forecast["target_at"], home.now), zone.clock(forecast["made_at"], home.now)
    target_utc, made_utc = (UTC_ZONE.told(forecast[name], home.now) for name in ("target_at", "made_at"))
    predicted, move = forecast["predicted_price"], forecast["predicted_price"] / forecast["price"] - 1

    def shown(value: str) -> str:
        return f":gray[{value}]" if home.expired else value

    colour = "off" if home.expired else tone(move)
    way = f"{text.arrow(move)} {text.change(move)}" if move else f"{text.arrow(0)} stays"
    at = f", made {made} at {text.price(forecast['price'])}" if home.moved_on else "" if move else " where it is"
    card(
        f"Forecast was for {target}, past" if home.expired else f"Forecast for {target}",
        shown(text.price(predicted)),
        way + at,
        colour,
        explained=f"For {target_utc}. The change is from the price when the forecast was made, {made_utc}.",
    )
    lower, upper = forecast["lower_80"], forecast["upper_80"]
    card(
        "Likely range, 80%",
        shown(text.spread(lower, upper, predicted)),
        f"{text.price(lower)} to {text.price(upper)}",
        explained=f"The price at {target_utc} should be inside in 80 of 100 such forecasts.",
    )
    sure = "" if forecast["direction"] == FLAT else f", {text.odds(forecast['confidence'])} sure"
    card(
        "Chance of a rise",
        shown(text.odds(forecast["p_up"])),
        NO_BETTER_THAN_A_COIN if is_coin(forecast) else text.DIRECTIONS[forecast["direction"]] + sure,
        explained=f"The probability that the price at {target_utc} is above that of {made_utc}, when the forecast was "
        "made. Sure: the probability that the direction called is right. Within half a point of 50% that is no better "
        f"than a coin, whatever is logged: here {text.DIRECTIONS[forecast['direction']]}.",
    )
    card(
        "Market regime",
        shown(plain(name(forecast["regime"]))),
        f"{REGIME_WORDS.get(forecast['regime'], 'not known')}, at {made}",
        explained="; ".join(f"{name(regime)}: {words}" for regime, words in REGIME_WORDS.items()) + ".",
    )
    learnt = home.learnt_to
    card(
        "Model",
        shown(f"Bundle {forecast['bundle_version']}"),
        "learnt nothing yet" if learnt is None else f"data up to {text.duration(home.now - learnt)} ago",
        explained=f"What made the forecast: {plain(made_by(forecast))}."
        + ("" if learnt is None else f" It has seen data up to {learnt:%Y-%m-%d %H:%M} UTC; ago is by ")
        + ("" if learnt is None else "the recording's clock." if home.recorded else "the clock."),
    )


def models(home: Home, zone: Zone) -> None:
    """What made the newest forecast, and what became of the last training, a sentence each."""
    sentences = []
    if home.forecast is not None:
        said = made_by(home.forecast)
        sentences.append(f"{said[0].upper()}{said[1:]}.")
    if home.trained is not None:
        reason = re.sub(r" \([^()]*\)", "", home.trained.verdict).split("; ")[0]  # the first, without its figures
        when = "" if home.recorded else f", {zone.told(home.trained.registered_at, home.now)}"
        sentences.append(f"Last training{when}: version {home.trained.version} {reason}.")
    if sentences:
        aside(plain(" ".join(sentences)))


def forecasts(table: pd.DataFrame, decimals: int, zone: Zone, **chosen: Any) -> None:
    """The rows of `data.home.forecast_table`; `chosen` is what `st.dataframe` takes for a row to be chosen."""
    price = st.column_config.NumberColumn(format="accounting" if decimals == 2 else f"%.{decimals}f")
    time = st.column_config.DatetimeColumn(format="MMM D, HH:mm", timezone=zone.name)
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        placeholder="",
        column_config={
            **dict.fromkeys(("Forecast", "Actual", "80% from", "80% to", "95% from", "95% to", "Price then"), price),
            **dict.fromkeys(("For", "Made"), time),
            "Actual - forecast": st.column_config.NumberColumn(format=f"%+.{decimals}f"),
            "P(rise)": st.column_config.NumberColumn(format="%.1f%%", help="Probability of a rise, when it was made"),
        },
        alt=f"Forecasts and their outcomes; times in {zone.name}",
        **chosen,
    )
