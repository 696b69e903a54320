"""The columns of every table. A frame handed to a store has these columns; a store hands them back."""

from __future__ import annotations

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")  # Delta Lake's one timestamp type

BARS = pa.schema(
    [
        pa.field("asset", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        *(pa.field(name, pa.float64()) for name in ("open", "high", "low", "close", "volume")),
        pa.field("source", pa.string()),
    ]
)

# Quantiles of the price a forecast is for, lowest first: `lower_80` and `upper_80` bound the central 80%.
QUANTILES = (
    *("lower_95", "lower_90", "lower_80", "lower_50"),
    "median",
    *("upper_50", "upper_80", "upper_90", "upper_95"),
)

# `outcome` and what follows are null until the forecast is settled; what a later release added is null in the forecasts
# of an earlier one.
FORECASTS = pa.schema(
    [
        pa.field("forecast_id", pa.string(), nullable=False),
        pa.field("asset", pa.string(), nullable=False),
        pa.field("made_at", TIMESTAMP, nullable=False),
        pa.field("target_at", TIMESTAMP, nullable=False),
        pa.field("price", pa.float64()),
        pa.field("predicted_price", pa.float64()),
        pa.field("sigma", pa.float64()),  # of the log return over the horizon
        *(pa.field(name, pa.float64()) for name in QUANTILES),
        pa.field("direction", pa.string()),
        pa.field("p_up", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("regime", pa.string()),
        pa.field("dissimilarity", pa.float64()),
        pa.field("outlying", pa.bool_()),
        pa.field("widened", pa.float64()),  # how many times, since its version was called useless; else 1
        pa.field("champion", pa.string()),
        pa.field("by_model", pa.string()),  # JSON {candidate: price}
        pa.field("bundle_version", pa.int64(), nullable=False),
        pa.field("outcome", pa.string()),
        pa.field("actual_price", pa.float64()),
        pa.field("error", pa.float64()),
        pa.field("settled_at", TIMESTAMP),
    ]
)

# How bad an alert is.
WARNING, CRITICAL = "warning", "critical"

# `resolved_at` is null while it is open. Who acknowledged it is null until somebody has, and in alerts of before.
ALERTS = pa.schema(
    [
        pa.field("alert_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("severity", pa.string(), nullable=False),
        pa.field("asset", pa.string(), nullable=False),
        pa.field("raised_at", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("message", pa.string()),
        pa.field("resolved_at", TIMESTAMP),
        pa.field("acknowledged_by", pa.string()),
        pa.field("acknowledged_at", TIMESTAMP),
    ]
)

# Of which kind of alert nobody is told for a while: a row a kind, by what was said of it last. One that is taken back
# ends when it was.
MUTES = pa.schema(
    [
        pa.field("asset", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("muted_until", TIMESTAMP, nullable=False),
        pa.field("muted_by", pa.string(), nullable=False),
        pa.field("muted_at", TIMESTAMP, nullable=False),
        pa.field("reason", pa.string()),
    ]
)

# What a check for drift found. `body` is the whole report as JSON (`drift.DriftReport`).
DRIFT_REPORTS = pa.schema(
    [
        pa.field("report_id", pa.string(), nullable=False),
        pa.field("asset", pa.string(), nullable=False),
        pa.field("data_end", TIMESTAMP, nullable=False),  # when the newest row that was looked at opens
        pa.field("checked_at", TIMESTAMP, nullable=False),
        pa.field("bundle_version", pa.int64(), nullable=False),
        pa.field("detector", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("drifted", pa.bool_(), nullable=False),
        pa.field("sentence", pa.string(), nullable=False),
        pa.field("body", pa.string(), nullable=False),
    ]
)

# Versions whose forecasts were called useless, and when what was to follow did; null while it has not.
DETECTIONS = pa.schema(
    [
        pa.field("asset", pa.string(), nullable=False),
        pa.field("bundle_version", pa.int64(), nullable=False),
        pa.field("detected_at", TIMESTAMP, nullable=False),
        pa.field("evidence", pa.float64()),
        pa.field("limit", pa.float64()),
        pa.field("reason", pa.string()),
        pa.field("retrained_at", TIMESTAMP),
        pa.field("fell_back_at", TIMESTAMP),
    ]
)

# What has to be told of an alert, to whom, and what came of it. A row is claimed by the process that sends it.
DELIVERIES = pa.schema(
    [
        pa.field("delivery_id", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("alert_id", pa.string(), nullable=False),
        pa.field("asset", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("sink", pa.string(), nullable=False),
        pa.field("body", pa.string(), nullable=False),  # JSON: the alert as it was then
        pa.field("created_at", TIMESTAMP, nullable=False),
        pa.field("attempts", pa.int64(), nullable=False),
        pa.field("due_at", TIMESTAMP, nullable=False),
        pa.field("claimed_by", pa.string()),
        pa.field("claimed_until", TIMESTAMP),
        pa.field("answer", pa.string()),
        pa.field("delivered_at", TIMESTAMP),
    ]
)

# The registry's own. `pruned_at` came later, and is null in the rows of before.
VERSIONS = pa.schema(
    [
        pa.field("version", pa.int64(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("registered_at", TIMESTAMP, nullable=False),
        pa.field("metrics", pa.string(), nullable=False),  # JSON {name: figure}
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("pruned_at", TIMESTAMP),
    ]
)

ALIASES = pa.schema(
    [
        pa.field("alias", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("moved_at", TIMESTAMP, nullable=False),
    ]
)

# Whose a piece of work is; a table a kind of work.
LEASES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("holder", pa.string(), nullable=False),
        pa.field("taken_at", TIMESTAMP, nullable=False),
        pa.field("beat", pa.int64(), nullable=False),
        pa.field("done", pa.bool_(), nullable=False),
    ]
)
