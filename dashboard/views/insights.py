"""Why a forecast is what it is, how good the models are, how they came to serve, what they say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from cryptosentinel.explaining import Subject
from dashboard import explaining, parts, shell, text
from dashboard import parts_insights as pieces
from dashboard.data import insights as data
from dashboard.data.insights import Registry, Version
from dashboard.data.market import is_recorded
from dashboard.explaining import Unexplained

FORECASTS = 96
SUBJECTS: dict[Subject, str] = {"price": "Price", "direction": "Direction", "range": "Range"}
NEWEST, ALL, THIS = "newest", "All versions", "This version"


def page() -> None:
    """One of the views; only what is seen is read."""
    views = {"This forecast": live, "How good": _good, "Versions": _versions, "Model card": _card}
    for tab, view in zip(st.tabs(list(views), key="view", bind="query-params"), views.values(), strict=True):
        with tab:
            if tab.open:
                view()


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def live() -> None:
    """The explanation, which follows the newest forecast."""
    made = shell.read(data.read_forecast_times, FORECASTS, of=["forecasts", "bars"])
    if made.empty:
        st.info(f"No forecast yet. The inference pipeline makes the first {shell.when('inference')}.")
        return
    target, now = made["target_at"].iloc[0], datetime.now(UTC)
    if target < now and not is_recorded(shell.market()):
        st.warning(
            f"The newest forecast was for {shell.zone().told(target, now)}, which is past. The inference pipeline runs "
            f"again {shell.when('inference')}.",
            icon=":material/warning:",
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = _forecast(made)
        subject = st.segmented_control(
            "What of it",
            list(SUBJECTS),
            default="price",
            required=True,
            format_func=SUBJECTS.__getitem__,
            key="of",
            bind="query-params",
        )
        lime = st.toggle(
            "LIME, a second opinion", key="lime", bind="query-params", help="Takes some tenths of a second."
        )
    outcome = shell.read(explaining.explain_forecast, row.made_at, "shap", of=["clock"])
    if isinstance(outcome, Unexplained):
        pieces.why_not(outcome)
        pieces.importances(outcome, subject)
        return
    pieces.sentence(outcome, row, shell.zone())
    left, right = st.columns([3, 2], gap="medium")
    with left:
        pieces.taken_apart(outcome.explanations[0], subject)
    with right:
        pieces.importances(outcome, subject)
    with st.expander("Every feature of this row"):
        pieces.all_features(outcome.explanations[0])
    if lime:
        pieces.lime(row, outcome.bundle_version)


def _forecast(made: pd.DataFrame) -> pd.Series:
    """The forecast to explain; a link names it by when it was made, in UTC."""
    rows = {NEWEST: made.iloc[0]} | {f"{row.made_at:%Y-%m-%d %H:%M}": row for _, row in made.iterrows()}
    return rows[st.selectbox("Forecast made (UTC)", list(rows), key="made", bind="query-params", width=200)]


def _looked_at() -> tuple[Registry, Version] | None:
    """The versions, and the one that is looked at, by its figures; without a link the one that serves."""
    registry = shell.read(data.read_registry, of=["registry"])
    if not registry.versions:
        st.info(f"No model yet. The training pipeline brings one {shell.when('training')}.")
        return None
    first = registry.versions[0].version if registry.champion is None else registry.champion
    version = _chosen("Version", "version", registry, first)
    pieces.headline(version, registry)
    return registry, version


def _good() -> None:
    if (found := _looked_at()) is None:
        return
    _, version = found
    st.header("Candidates and baselines", anchor=False)
    pieces.league(version)
    st.header("Calibration and coverage of logged forecasts", anchor=False)
    whose = st.segmented_control(
        "Forecasts of", [ALL, THIS], default=ALL, required=True, key="whose", bind="query-params"
    )
    number = version.model.version if whose == THIS else None
    record = shell.read(data.read_record, number, of=["forecasts", "bars"])
    if record.settled:
        pieces.record(record, version)
    else:
        parts.aside(f"None of these is settled yet. The inference pipeline runs again {shell.when('inference')}.")


def _versions() -> None:
    if (found := _looked_at()) is None:
        return
    registry, version = found
    st.header("Gate history", anchor=False)
    pieces.gate_history(registry, shell.zone())
    st.header(f"Version {version.model.version} beside another", anchor=False)
    others = [model.version for model in registry.versions if model.version != version.model.version]
    if not others:
        parts.aside("There is no other version yet.")
        return
    first = registry.champion if registry.champion in others else others[0]
    pieces.compared(version, _chosen("Against", "against", registry, first))


def _card() -> None:
    if (found := _looked_at()) is not None:
        st.markdown(text.plain_document(found[1].card) or "This version's card is not there.", width=900)


def _chosen(label: str, key: str, registry: Registry, first: int) -> Version:
    """A version that a link names by its number."""
    numbers = [model.version for model in registry.versions]
    number = st.selectbox(label, numbers, index=numbers.index(first), key=key, bind="query-params", width=140)
    return shell.read(data.read_version, number, of=["registry"])


page()
