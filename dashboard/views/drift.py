"""Whether the market still looks as in training, and the champion's forecasts still do what they say."""

from __future__ import annotations

import streamlit as st

from cryptosentinel.drift import DriftReport
from cryptosentinel.errors import CryptoSentinelError
from dashboard import parts, parts_runs, shell, text
from dashboard import parts_drift as own
from dashboard.charts.drift import history_figure, score_gauge
from dashboard.data.drift import Drift, read_concept, read_drift, read_history
from dashboard.data.home import Home
from dashboard.text import plain

HISTORY = {"1 week": 7, "1 month": 30, "1 year": 365}


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def verdict() -> None:
    """What the newest check found, and what to do about it."""
    home = shell.home()
    if home is None:
        st.info(f"No bars yet. The feature pipeline brings them {shell.when('feature')}.")
        return
    if not BELOW:  # there is something by now
        st.rerun()
    st.header("Does the market look as it did in training?", anchor=False)
    drift = _drift()
    if drift.report is None:
        _nothing_yet(drift)
    else:
        _report(drift, drift.report, home)


def actions() -> None:
    """Asks for a check, or for a training; each says below how it goes."""
    check, train = st.columns(2, gap="small")
    with check:
        parts_runs.asking("drift", "Check only", explained="Holds the newest features against the baseline, now.")
    with train:
        parts_runs.asking(
            "training",
            "Train and update the baseline",
            explained="Trains a version now. If it passes the gate it becomes champion, and its rows the baseline.",
        )


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def details() -> None:
    """Feature by feature, over time, and the forecasts."""
    home, drift = shell.home(), _drift()
    if home is None:
        return
    if drift.report is not None:
        st.header("Feature by feature", anchor=False)
        own.features(drift.report)
        st.header("Then and now", anchor=False)
        own.distributions(drift.report)
        _history()
    _concept(drift, home)


def _drift() -> Drift:
    return shell.read(read_drift, of=["clock"])


def _nothing_yet(drift: Drift) -> None:
    why = (
        "No check yet: the champion is the random walk, which has learnt nothing to hold the market against. The first"
        "  version that passes the gate brings a baseline."
        if not drift.champion
        else "No check yet: the training pipeline's first step makes it."
    )
    st.info(f"{why} It runs {shell.when('training')}.", icon=":material/info:")


def _report(drift: Drift, report: DriftReport, home: Home) -> None:
    if drift.outdated:
        st.warning(
            f"This check was made against version {report.version}; version {drift.champion} serves by now. The next "
            f"check is made {shell.when('training')}.",
            icon=":material/schedule:",
        )
    late = shell.market().settings.alerts.training_late_s
    if drift.checked_at is not None and not home.recorded and (home.now - drift.checked_at).total_seconds() > late:
        age = text.duration(home.now - drift.checked_at)
        st.badge(f"STALE: checked {age} ago", icon=":material/warning:", color="orange")
    own.data_verdict(report)
    parts.chart(
        score_gauge(report), "score", config={"displayModeBar": False}, alt="Drift scores against the threshold"
    )
    own.about_check(drift, report, home.clock, shell.zone())
    own.download(report)


def _history() -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Scores over time", anchor=False, width="content")
        chosen = st.segmented_control(
            "Time shown",
            list(HISTORY),
            default="1 month",
            required=True,
            key="history",
            bind="query-params",
            label_visibility="collapsed",
        )
    history = shell.read(read_history, HISTORY[chosen], of=["clock"])
    parts.chart(
        history_figure(history, shell.zone()),
        "scores",
        "Drift scores over time, the threshold, and when the champion changed",
    )


def _concept(drift: Drift, home: Home) -> None:
    st.header("Do the forecasts still do what they say?", anchor=False)
    found = shell.read(read_concept, of=["forecasts", "registry"])
    if found is None:
        parts.aside(
            plain(f"Nothing to say yet: no forecast that version {drift.champion or 0} has learnt to make is settled.")
        )
    else:
        own.concept(found, shell.market().settings.drift.concept)
    own.detections(drift.detections, home.clock, shell.zone())


def _is_there() -> bool:
    """Whether anything is to be shown; else the verdict says why, and that once is enough."""
    try:
        return shell.home() is not None
    except CryptoSentinelError:
        return False


BELOW = _is_there()
verdict()
if BELOW:
    actions()
    details()
