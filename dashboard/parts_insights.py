"""Pieces of the page on the models."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from cryptosentinel.bundle import BLEND, DIRECTION, RANDOM_WALK
from cryptosentinel.explaining import (
    DESCRIPTIONS,
    DIRECTION_TARGET,
    FORECAST,
    SPREAD_TARGET,
    Explanation,
    Subject,
    contribution_sums,
)
from cryptosentinel.predicting import evidence
from dashboard import explaining, parts, shell, text
from dashboard.charts import insights as charts
from dashboard.data import insights as data
from dashboard.data import versions
from dashboard.data.insights import Record, Registry, Version
from dashboard.explaining import Explained, NotExplainedError, Unexplained
from dashboard.text import plain
from dashboard.zone import Zone

TOP = 10
_LIME = {"blend": "Price by the blend, in basis points", "p_up": "Probability of a rise, in points"}


def headline(version: Version, registry: Registry) -> None:
    """A version's figures on rows that none of its models was fitted on."""
    serves = version.model.version == registry.champion
    word = versions.verdict(version.model)[0]
    trained = version.trained
    with st.container(horizontal=True, gap="small"):
        parts.card("Verdict", word, "serves now" if serves else "does not serve")
        if trained is None:
            return
        stays = trained.champion == RANDOM_WALK
        direction, figures = trained.metrics.get(DIRECTION, {}), trained.gate.figures
        low, high = figures.get("accuracy_low"), figures.get("accuracy_high")
        parts.card(
            "Price: skill",
            f"{100 * version.model.metrics.get('skill', 0.0):+.3f}%",
            "the price stays where it is" if stays else f"{trained.shrinkage:.1%} of the blend is believed",
            explained="1 less the squared error over that of saying that the price stays. A few hundredths of a "
            "percent are all that can be hoped for.",
        )
        parts.card(
            "Direction right",
            text.share(direction.get("accuracy")),
            "" if low is None or high is None else f"95% interval {low:.0%} to {high:.0%}",
            explained="Of the rises and falls called. Always saying the more frequent one would have been right in "
            f"{text.share(direction.get('base_rate'))}.",
        )
        for level, held in versions.held_out(version).items():
            parts.card(
                f"In the {level}% band",
                f"{held.value:.1%}",
                f"95% interval {held.lower:.0%} to {held.upper:.0%}",
                explained=f"How often the price was within the {level}% interval.",
            )
    parts.aside(
        f"Measured on {trained.data.holdout_rows:,} rows that no model was fitted on, up to "  # type: ignore[union-attr]
        f"{trained.data.end:%Y-%m-%d %H:%M} UTC: {plain(evidence(version.independent))}."  # type: ignore[union-attr]
    )


def sentence(outcome: Explained, row: pd.Series, zone: Zone) -> None:
    """An explanation in words, and of which version it is."""
    target = row.target_at
    st.markdown(
        f"**For {zone.told(target, target)}**, made {zone.told(row.made_at, target)}. {plain(outcome.sentence[0])}"
    )
    if outcome.bundle_version != row.bundle_version:
        parts.aside(
            f"Version {row.bundle_version} made this forecast; version {outcome.bundle_version}, which serves now, is "
            "explained, as it answers for the same row."
        )


def taken_apart(explanation: Explanation, subject: Subject) -> None:
    """What moves the price, the direction or the range."""
    st.subheader("This row", anchor=False)
    shown = contribution_sums(explanation).get(subject)
    if shown is None:
        parts.aside(f"Nothing was learnt that moves the {subject}.")
        return
    st.markdown(f"**{plain(shown.title)}**: {plain(shown.total)}")
    figure = charts.waterfall(shown, subject, explanation.features, TOP)
    parts.chart(figure, "waterfall", f"What each feature adds to the {subject}: {shown.total}")
    parts.aside(
        "What the models make of a value, not what moved the market. The range is the bundle's own: what is logged is "
        "adjusted by how earlier forecasts came out."
    )


def why_not(outcome: Unexplained) -> None:
    """That there is no explanation, and what is shown all the same."""
    icon = ":material/hourglass_top:" if outcome.why == "loading" else ":material/cloud_off:"
    shown = st.info if outcome.why in {"loading", "off"} else st.warning
    shown(
        f"{plain(outcome.sentence)} What the versions say of themselves is in the other views.",
        icon=icon,
    )


def all_features(explanation: Explanation) -> None:
    """The row with what each of its features adds, as a table."""
    sums = contribution_sums(explanation)
    rows = pd.DataFrame({"Feature": explanation.features.keys(), "Value": explanation.features.values()})
    rows["What it is"] = rows["Feature"].map(lambda each: DESCRIPTIONS.get(each, each))
    for subject, shown in sums.items():
        rows[f"{text.name(subject)} ({shown.title.rpartition('in ')[2]})" if subject != "range" else "Range (log)"] = (
            rows["Feature"].map(shown.contributions)
        )
    st.dataframe(rows, hide_index=True, height=400, alt="Every feature of the row, its value and its contributions")


def lime(row: pd.Series, version: int) -> None:
    """The second opinion on a forecast's row, by the version that serves."""
    st.header("LIME, a second opinion", anchor=False)
    try:
        with st.spinner("The predictor is asked."):
            outcome = shell.read(explaining.explain_nearby, row.made_at, version, of=[])
    except NotExplainedError as error:
        parts.aside(plain(str(error)))
        return
    models = outcome.explanations[0].lime or {}
    known = {target: model for target, model in models.items() if any(model.weights.values())}
    if not known:
        parts.aside("LIME found nothing that moves an answer: nothing was learnt.")
        return
    for column, (target, model) in zip(st.columns(len(known), gap="medium"), known.items(), strict=True):
        with column:
            st.markdown(f"**{_LIME.get(target, plain(target))}**, R² {model.r_squared:.2f}")
            figure = charts.local_chart(model)
            parts.chart(figure, f"lime-{target}", f"LIME's weights of {target}")
    parts.aside(
        "What one standard deviation more of a feature would change, by a straight line fitted around the row. R² says "
        "how well a straight line describes the models there; where it is low, the weights say little."
    )


def importances(outcome: Explained | Unexplained, subject: Subject) -> None:
    """How much each feature matters: by the predictor, or, where it cannot be asked, by the drift check.

    Args:
        outcome: what the predictor said of a row.
        subject: of which of the answers; the drift check knows only all of them together.
    """
    st.subheader("In general", anchor=False)
    measured = "Not known: no drift check has measured a trained version yet, and no predictor answers."
    found = None
    values: Mapping[str, float] = {}
    if isinstance(outcome, Explained):
        try:
            found = shell.read(explaining.importances, outcome.bundle_version, of=["registry"])
        except NotExplainedError as error:
            measured = str(error)
    weights = None if found else shell.read(data.read_weights, of=["clock"])
    if found is not None:
        values = _of(subject, found.targets)
        st.markdown(f"**How much each feature moves the {subject}**: its share of all")
        measured = f"The mean size of its contribution over {found.rows} of the bundle's background rows."
    elif weights is not None:
        number, values = weights
        st.markdown(f"**How much each feature moves the answers of version {number}**: its share of all")
        measured = "By the newest drift check: how far price, direction and range move when it is shuffled among rows."
    if any(values.values()):
        figure = charts.importance_chart(values, TOP)
        parts.chart(figure, "importances", "How much each feature matters in general")
        measured += " How much a model uses a feature, not whether that helps."
    parts.aside(plain(measured))


def _of(subject: Subject, targets: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    """The importances of what a waterfall is of: the blend stands in for a price that stays."""
    values = targets.get({"price": FORECAST, "direction": DIRECTION_TARGET, "range": SPREAD_TARGET}[subject], {})
    return targets.get(BLEND, values) if subject == "price" and not any(values.values()) else values


def league(version: Version) -> None:
    """The candidates and baselines, best first."""
    table = versions.league(version)
    if table.empty:
        parts.aside("Nothing was measured of this version.")
        return
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        placeholder="",
        column_config={
            "Serves": st.column_config.TextColumn(width=80),
            "RMSE bp": number(format="%.3f", help="Root mean squared error of the log return, in basis points"),
            "MAE bp": number(format="%.3f", help="Mean absolute error of the log return, in basis points"),
            "R2": number(format="%+.4f", help="Against the mean of the actual returns"),
            "Skill": number(format="%+.3f%%", help="1 less the squared error over the random walk's"),
            "Direction": number(format="%.1f%%", help="Share of signs that were right; by a coin one half"),
            "95% interval": st.column_config.TextColumn(help="Of the direction, counting outcomes that do not overlap"),
            "RMSE price": number(format="accounting", help="Root mean squared error of the price"),
        },
        alt="Candidates and baselines with their errors, best first",
    )


def record(found: Record, version: Version) -> None:
    """Calibration and coverage of what was logged, at least one settled forecast."""
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Probabilities of a rise**")
        if found.reliability:
            figure = charts.calibration_chart(found.reliability)
            parts.chart(figure, "calibration", "How often the price rose, by what was said")
    with right:
        st.markdown("**Intervals**")
        figure = charts.coverage_chart(found.covered, versions.held_out(version))
        parts.chart(figure, "coverage", "How often prices were within their intervals")
    independent = max((each.independent for each in found.covered.values()), default=0)
    parts.aside(
        f"{found.settled:,} settled forecasts of the log since {found.since:%Y-%m-%d %H:%M} UTC; "
        f"{plain(evidence(independent))}. Bars are 95% intervals that count overlapping outcomes once. How "
        f"well version {version.model.version} was calibrated on unseen rows before that is in its model card."
    )


def gate_history(registry: Registry, zone: Zone) -> None:
    """Every version's verdict, newest first."""
    time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone=zone.name)
    number = st.column_config.NumberColumn
    st.dataframe(
        versions.gate_history(registry),
        hide_index=True,
        placeholder="",
        height="auto" if len(registry.versions) < 10 else 380,
        column_config={
            "Registered": time,
            "Data to": time,
            "Formal look": st.column_config.TextColumn(help="Whether the price forecast was tested, which is rationed"),
            "Skill": number(format="%+.3f%%", help="Of the price that it would serve, on unseen rows"),
            "RMSE bp": number(format="%.3f"),
            "MAE bp": number(format="%.3f"),
            "Why": st.column_config.TextColumn(width="large"),
        },
        alt=f"Every version's verdict; times in {zone.name}",
    )
    if registry.count > len(registry.versions):
        parts.aside(f"The newest {len(registry.versions):,} of {registry.count:,} versions.")


def compared(left: Version, right: Version) -> None:
    """Two versions side by side."""
    columns = [f"Version {version.model.version}" for version in (left, right)]
    st.markdown("**Figures**")
    st.dataframe(
        versions.side_by_side(versions.figures(left), versions.figures(right), columns),
        hide_index=True,
        height="content",
        # On a telephone both are seen; where there is room, all grow alike.
        column_config={
            "≠": st.column_config.TextColumn(width=30, help="Where they differ"),
            "Figure": st.column_config.TextColumn(width=130),
            **dict.fromkeys(columns, st.column_config.TextColumn(width=100)),
        },
        alt="Figures of two versions side by side",
    )
    parts.aside(
        "Each was measured on its own last block of rows, so that figures of different data are not a contest; the "
        "gate holds both against each other on the same rows, and its verdict says what came of it."
    )
    st.markdown("**Settings and libraries that differ**")
    differing = versions.settings_that_differ(left, right)
    if differing:
        table = pd.DataFrame([(label, *pair) for label, pair in differing.items()], columns=["", *columns])
        st.dataframe(table, hide_index=True, height="content", alt="Settings that are not the same in both")
    else:
        parts.aside("None." if left.manifest and right.manifest else "Not known: a bundle is not there any more.")
    gone, new = versions.features_that_differ(right, left)
    for only, column in ((new, columns[0]), (gone, columns[1])):
        if only:
            parts.aside(f"Features of {column.lower()} alone: {plain(', '.join(only))}.")
    if left.manifest and right.manifest and not gone and not new:
        parts.aside(f"Both were given the same {len(left.manifest.features)} features.")
