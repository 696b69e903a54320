"""Pieces of the page Drift."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import streamlit as st

from cryptosentinel.alerting import remedy_of
from cryptosentinel.config import ConceptSettings
from cryptosentinel.drift import CHALLENGERS, Concept, DriftReport, in_words, page
from dashboard import parts, text
from dashboard.charts.drift import Level, gauge_figure, then_and_now
from dashboard.data.drift import Drift, feature_table, what_follows
from dashboard.text import plain
from dashboard.zone import Zone


def verdict(drifted: bool, sentence: str, advice: str) -> None:
    """What was found and what to do about it, by sign and word."""
    said = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}. {advice}"
    if drifted:
        st.warning(plain(said), icon=":material/warning:")
    else:
        st.success(plain(said), icon=":material/check_circle:")


def data_verdict(report: DriftReport) -> None:
    """The verdict on the market."""
    verdict(
        report.drifted, report.sentence(), f"{report.advice()} {remedy_of('drift') if report.drifted else ''}".strip()
    )


def about_check(drift: Drift, report: DriftReport, now: datetime, zone: Zone) -> None:
    """What was held against what, and when."""
    checked = "" if drift.checked_at is None else f"Checked {zone.told(drift.checked_at, now)}, "
    parts.aside(
        plain(
            f"The score is the share of features, by importance, that have drifted. "
            f"{checked}rows up to {zone.told(report.data_end, now)}. The baseline: {report.reference_rows:,} rows that "
            f"champion {report.version} was fitted on, from {zone.told(report.reference_start, now)} to "
            f"{zone.told(report.reference_end, now)}. Detector: {report.detector}"
            f"{f' ({report.note})' if report.note else ''}."
        )
    )


def download(report: DriftReport) -> None:
    """The report as the page of HTML that the pipeline keeps with its run."""
    st.download_button(
        "Report as HTML",
        data=lambda: page(report).encode(),
        file_name=f"drift-{report.asset}-{report.data_end:%Y%m%dT%H%M}.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )


def features(report: DriftReport) -> None:
    """The table of features; a click on a column sorts by it."""
    table = feature_table(report)
    words = [in_words(window.hours) for window in report.windows]
    columns = {
        "Importance": st.column_config.NumberColumn(
            format="%.1f%%", help="How far the champion's answers move when this feature is shuffled, of all."
        )
    }
    for window in words:
        columns |= {
            f"Distance, {window}": st.column_config.NumberColumn(
                format="%.3f", help="Kolmogorov and Smirnov's: 0 alike, 1 nothing in common."
            ),
            f"p, {window}": st.column_config.NumberColumn(
                format="%.4f", help="How often a stretch of the baseline itself is as far off; corrected for many."
            ),
            f"Shift, {window}": st.column_config.NumberColumn(
                format="%+.2f", help="How far the mean is off, in standard deviations of the baseline."
            ),
        }
    st.dataframe(
        table,
        hide_index=True,
        height=min(420, 38 + 35 * len(table)),
        placeholder="",
        column_config=columns,
        alt="Each feature with its importance, distance, p-value and shift, drifted ones first",
    )
    rates = " and ".join(f"{window.rate:g} ({in_words(window.hours)})" for window in report.windows)
    parts.aside(
        plain(
            f"A feature has drifted where p is at most {rates} and the distance is large enough. Compared without "
            "hours and weekends, which repeat; the short window leaves out features that look back for hours."
        )
    )


def distributions(report: DriftReport) -> None:
    """Then and now of one feature, the drifted ones listed first."""
    order = list(feature_table(report)["Feature"])
    drifted = {each.feature for window in report.windows for each in window.features if each.drifted}
    by_name = {histogram.feature: histogram for histogram in report.histograms}
    names = [name for name in order if name in by_name]
    if not names:
        return
    chosen = st.selectbox(
        "Feature", names, format_func=lambda name: f"{name}, drifted" if name in drifted else name, key="feature",
        bind="query-params", width=380,
    )  # fmt: skip
    windows = [in_words(window.hours) for window in report.windows]
    parts.chart(
        then_and_now(by_name[chosen], windows),
        "then",
        f"How {chosen} was distributed in the baseline, and how it is now",
    )
    parts.aside("As it is, hours and weekends included. The bins at the ends hold what lies beyond its outer 0.5%.")


def concept(found: Concept, settings: ConceptSettings) -> None:
    """Whether the champion's forecasts still do what they say."""
    verdict(found.drifted, found.sentence(), remedy_of("concept_drift") if found.drifted else "Nothing is to be done.")
    level = Level("evidence", min(found.level / 1.25, 1), 1 / 1.25, f"{found.evidence:,.3g}")
    limit = f"{found.limit / 1e6:,.2f} million" if found.limit >= 1e6 else f"{found.limit:,.0f}"
    parts.chart(
        gauge_figure([level], f" limit {limit} "),
        "evidence",
        config={"displayModeBar": False},
        alt="The evidence against the forecasts, by its digits, against its limit",
    )
    parts.aside(
        plain(
            f"What a stake of 1, wagered against every forecast, has become: above the limit forecasts are called "
            f"useless; ones that are right pass it in {settings.window_days:g} days with a chance of "
            f"{settings.false_alarms:g} at most. Then follows by itself: {what_follows(settings)}."
        )
    )
    with st.expander("What would speak against them"):
        shares = sorted(found.by.items(), key=lambda each: -each[1])
        st.dataframe(
            pd.DataFrame(
                {
                    "Of the evidence": [100 * share for _, share in shares],
                    "That": [CHALLENGERS[name] for name, _ in shares],
                }
            ),
            hide_index=True,
            column_config={"Of the evidence": st.column_config.NumberColumn(format="%.0f%%")},
            alt="The share of each challenger in the evidence",
        )


def detections(rows: pd.DataFrame, now: datetime, zone: Zone) -> None:
    """Versions that were called useless, the newest first, and what was done about it."""
    for each in rows.head(5).itertuples():
        acts = (("a training was started", each.retrained_at), ("the random walk took its place", each.fell_back_at))
        done = [f"{what} {zone.told(when, now)}" for what, when in acts if pd.notna(when)]
        said = f"Version {each.bundle_version} was called useless {zone.told(each.detected_at, now)}"
        st.markdown(f"- {plain('; '.join([said, *done]))}. {plain(text.name(each.reason or ''))}")
