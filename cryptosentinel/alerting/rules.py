"""The rules, as data: what is watched, against which limit, what is said of it, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptosentinel.alerting.facts import COVERAGE, Facts
from cryptosentinel.config import Settings
from cryptosentinel.storage.schemas import CRITICAL, WARNING


@dataclass(frozen=True)
class Rule:
    """One watched figure.

    Attributes:
        kind: its name, as alerts carry it.
        figure: what is held against the limit; NaN where it is not known.
        limit: it alarms above.
        message: what is said.
        remedy: what to do about it.
        critical: from above how many times the limit on an alarm is critical.
        of_market: whether it is the market that is unusual, and nothing is to be mended.
        unit: of the figure.
    """

    kind: str
    figure: Callable[[Facts], float]
    limit: Callable[[Settings], float]
    message: Callable[[Facts], str]
    remedy: str
    critical: float = 2.0
    of_market: bool = False
    unit: Literal["share", "seconds", "days", "number"] = "share"


@dataclass(frozen=True)
class Reading:
    """A rule's figure at a moment. It alarms above its limit, and is calm again within `clears_at` of that."""

    kind: str
    value: float
    threshold: float
    message: str
    critical: float = 2.0
    clears_at: float = 1.0

    @property
    def alarming(self) -> bool:
        """Whether an alert is raised."""
        return self.value > self.threshold

    @property
    def calm(self) -> bool:
        """Whether an open alert ends."""
        return self.value <= self.threshold * self.clears_at

    @property
    def severity(self) -> str:
        """How bad it is, if it alarms."""
        return CRITICAL if self.value > self.critical * self.threshold else WARNING


def read_rules(facts: Facts, settings: Settings) -> list[Reading]:
    """What every rule reads from the facts; a rule whose figure is not known reads nothing."""
    return [
        Reading(rule.kind, value, rule.limit(settings), rule.message(facts), rule.critical, settings.alerts.clears_at)
        for rule in RULES
        if math.isfinite(value := rule.figure(facts))
    ]


def remedy_of(kind: str) -> str:
    """What to do about an alert; nothing for a kind of another release."""
    return next((rule.remedy for rule in RULES if rule.kind == kind), "")


def in_words(kind: str, value: float) -> str:
    """A rule's figure, or its limit, as people write it: `70.0%`, `16 minutes`."""
    match next((rule.unit for rule in RULES if rule.kind == kind), "number"):
        case "share":
            return f"{value:.1%}"
        case "seconds":
            return _ago(value)
        case "days":
            return f"{value:,.0f} days"
        case _:
            return f"{value:,.3g}"


def _ago(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def _why(facts: Facts) -> str:
    return f": {facts.no_forecast.rstrip('.')}." if facts.no_forecast else "."


RULES = (
    Rule(
        "price_move_24h",
        lambda facts: abs(facts.change_24h),
        lambda settings: settings.alerts.price_move_24h,
        lambda facts: f"The price moved {facts.change_24h:+.1%} in 24 hours, to {facts.price:,.2f}.",
        "Nothing is broken. Expect wider intervals, and judge forecasts by those rather than by the price alone.",
        of_market=True,
    ),
    Rule(
        "volatility",
        lambda facts: facts.volatility,
        lambda settings: settings.alerts.volatility,
        lambda facts: f"Annualised volatility over 20 bars of {facts.interval} is {facts.volatility:.0%}.",
        "Nothing is broken. Intervals widen with it; check that coverage holds.",
        of_market=True,
    ),
    Rule(
        "drawdown",
        lambda facts: facts.drawdown,
        lambda settings: settings.alerts.drawdown,
        lambda facts: f"The price is {facts.drawdown:.1%} below its highest close of the last 24 hours.",
        "Nothing is broken. Compare the newest bars with another source if the fall is in one bar.",
        of_market=True,
    ),
    Rule(
        "forecast_deviation",
        lambda facts: abs(facts.deviation),
        lambda settings: settings.alerts.forecast_deviation,
        lambda facts: f"The forecast for {facts.target} is {facts.deviation:+.1%} off the price.",
        "Look at the newest bars and at whether the forecast is flagged as outlying; a champion that goes on so is "
        "worth a retraining.",
    ),
    Rule(
        "drift",
        lambda facts: facts.drift,
        lambda settings: settings.drift.threshold,
        lambda facts: (
            f"{facts.drift:.0%} of the features, by importance, no longer look as they did in the champion's training."
        ),
        "Read the report of the run's drift step, and see that the next trainings register and pass the gate.",
    ),
    Rule(
        "concept_drift",
        lambda facts: facts.concept,
        lambda _: 1.0,
        lambda facts: (
            f"The champion is called useless: {facts.concept_in_words}. "
            f"What follows by itself: {', '.join(facts.concept_follows) or 'nothing'}."
        ),
        "Look at `cryptosentinel concept`, and for wrong bars. Until another version passes the gate, do not rely on "
        "the champion.",
        unit="number",
    ),
    Rule(
        "coverage_loss",
        lambda facts: COVERAGE - facts.coverage,
        lambda settings: settings.alerts.coverage_loss,
        lambda facts: f"The 80% intervals held only {facts.coverage:.0%} of the settled prices.",
        "Do not rely on the intervals. Look for wrong bars first, then at drift; a retraining mends a stale model.",
    ),
    Rule(
        "stale_bars",
        lambda facts: facts.bars_age_s,
        lambda settings: settings.alerts.stale_bars_s,
        lambda facts: f"The newest bar closed {_ago(facts.bars_age_s)} ago.",
        "Look at the feature pipeline's newest run: the source is away or limits us, or the schedule stands still.",
        unit="seconds",
    ),
    Rule(
        "feature_lag",
        lambda facts: facts.feature_lag_s,
        lambda settings: settings.alerts.feature_lag_s,
        lambda facts: f"Features are {_ago(facts.feature_lag_s)} behind the bars.",
        "Look at the featurize step of the feature pipeline's newest run.",
        unit="seconds",
    ),
    Rule(
        "forecast_late",
        lambda facts: facts.forecast_age_s,
        lambda settings: settings.alerts.forecast_late_s,
        lambda facts: f"The newest forecast was made {_ago(facts.forecast_age_s)} ago{_why(facts)}",
        "The message says why, if the step ran; else look at the inference pipeline's schedule and the predictor.",
        unit="seconds",
    ),
    Rule(
        "training_late",
        lambda facts: facts.training_age_s,
        lambda settings: settings.alerts.training_late_s,
        lambda facts: f"No training has registered a version for {_ago(facts.training_age_s)}.",
        "Look at the training pipeline's newest run: it failed, had too few rows, or its schedule stands still.",
        unit="seconds",
    ),
    Rule(
        "run_failed",
        lambda facts: facts.failures,
        lambda settings: settings.alerts.failed_runs,
        lambda facts: facts.failed,
        "The message says what is wrong, and the log of the pipeline's newest run has the traceback.",
        unit="number",
    ),
    Rule(
        "run_late",
        lambda facts: facts.missed_runs,
        lambda settings: settings.alerts.missed_runs,
        lambda facts: facts.missed,
        "See that its schedule is on (`cryptosentinel pipelines status`, or `cryptosentinel up`), that no run of it "
        "hangs, and that the cluster has room for its pods.",
        unit="number",
    ),
    Rule(
        "feature_store_lag",
        lambda facts: facts.store_lag_s,
        lambda settings: settings.alerts.feature_store_lag_s,
        lambda facts: f"Features have waited for Hopsworks for {_ago(facts.store_lag_s)}.",
        "Nothing is lost: they wait in the store. `cryptosentinel hopsworks check` says what is wrong there.",
        unit="seconds",
    ),
    Rule(
        "model_expired",
        lambda facts: facts.model_age_days,
        lambda settings: settings.forecast.max_model_age_days,
        lambda facts: f"The champion's data ended {facts.model_age_days:,.0f} days ago: it does not forecast any more.",
        "Let the training pipeline run until a version passes the gate.",
        critical=1.0,
        unit="days",
    ),
)
