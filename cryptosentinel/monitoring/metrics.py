"""Every metric that the pipelines' steps send, as a table: dashboards and rules ask for these names and no others.

What ages is sent as a moment, not as an age: a gateway shows the last value for ever, and an age that nobody sends any
more would look young. What is not known is NaN, so that no older value stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """One gauge.

    Attributes:
        name: as Prometheus has it, with its unit at the end.
        help: what it says.
        step: who sends it; empty for every step.
        labels: beside those that all metrics have (`job`, `market`, `step`, of trainings `part`, and those of the
            setting `monitoring.labels`).
    """

    name: str
    help: str
    step: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A value of a metric."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


METRICS = (
    Metric("cryptosentinel_step_last_run_timestamp_seconds", "When its newest run ended, whatever came of it."),
    Metric("cryptosentinel_step_last_success_timestamp_seconds", "When it last ended well."),
    Metric("cryptosentinel_step_success", "1 if its newest run ended well, else 0."),
    Metric("cryptosentinel_step_failures", "How often it has failed in a row, each try counted."),
    Metric("cryptosentinel_step_duration_seconds", "How long its newest run took."),
    Metric(
        "cryptosentinel_step_rows", "Rows that its newest good run worked on, by what became of them.", "", ("kind",)
    ),
    Metric(
        "cryptosentinel_step_lag_seconds",
        "From the close of the newest bar that its newest good run worked on to the end of that run.",
    ),
    Metric("cryptosentinel_newest_bar_timestamp_seconds", "When the newest stored bar closed.", "ingest"),
    Metric(
        "cryptosentinel_newest_features_timestamp_seconds",
        "When the newest bar that has features closed.",
        "featurize",
    ),
    Metric(
        "cryptosentinel_feature_store_waiting_entries",
        "Writes of features that Hopsworks has yet to be given.",
        "featurize",
    ),
    Metric(
        "cryptosentinel_feature_store_waiting_since_timestamp_seconds",
        "When the oldest of them was made; 0 while none waits.",
        "featurize",
    ),
    Metric(
        "cryptosentinel_drift_score",
        "Share of features that no longer look as in the champion's training, 0 to 1.",
        "drift",
    ),
    Metric("cryptosentinel_champion_version", "The registry's champion; 0 is the random walk.", "predict"),
    Metric(
        "cryptosentinel_champion_registered_timestamp_seconds",
        "When it was registered; how old its data are is the predictor's `cryptosentinel_bundle_age_seconds`.",
        "predict",
    ),
    Metric("cryptosentinel_newest_forecast_timestamp_seconds", "When the newest forecast was made.", "predict"),
    Metric(
        "cryptosentinel_forecasts",
        "Forecasts of the last `alerts.coverage_days`: correct, incorrect, flat, missed, pending.",
        "predict",
        ("outcome",),
    ),
    Metric(
        "cryptosentinel_forecast_independent_outcomes",
        "Settled ones among them that do not overlap: what the shares below rest on.",
        "predict",
    ),
    Metric(
        "cryptosentinel_forecast_error_ratio",
        "Mean absolute error of the settled ones, relative to the price, by `model`: champion, or random_walk, "
        "which says that the price stays.",
        "predict",
        ("model",),
    ),
    Metric(
        "cryptosentinel_forecast_coverage_ratio",
        "Share of prices within the interval, by its `level` in percent: 80, 95.",
        "predict",
        ("level",),
    ),
    Metric("cryptosentinel_forecast_hit_ratio", "Share of directions called that were right.", "predict"),
    Metric(
        "cryptosentinel_concept_level",
        "The evidence against the champion's forecasts; above 1 they are called useless.",
        "predict",
    ),
    Metric("cryptosentinel_alerts_open", "Alerts that are open.", "predict", ("severity",)),
    Metric("cryptosentinel_deliveries_pending", "Events of alerts that somebody is still to be told.", "predict"),
    Metric(
        "cryptosentinel_deliveries_pending_since_timestamp_seconds",
        "When the oldest of them happened; 0 while none waits.",
        "predict",
    ),
)
