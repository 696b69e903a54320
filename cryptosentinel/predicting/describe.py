"""Forecasts in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from cryptosentinel.bundle import FLAT
from cryptosentinel.predicting.settling import CORRECT, FLAT_OUTCOME, INCORRECT, MISSED

if TYPE_CHECKING:
    from rich.table import Table


def describe_forecast(forecast: pd.Series, currency: str) -> str:
    """A forecast as a few lines of Markdown that a person can read."""
    unit, digits = currency.upper(), max(2, _digits(forecast["price"]))
    minutes = (forecast["target_at"] - forecast["made_at"]).total_seconds() / 60
    change = forecast["predicted_price"] / forecast["price"] - 1
    called = (
        "no direction is called"
        if forecast["direction"] == FLAT
        else f"{forecast['direction']}, {forecast['confidence']:.0%} sure"
    )
    models = json.loads(forecast["by_model"])
    others = ", ".join(f"{name} {price:,.{digits}f}" for name, price in models.items() if name != forecast["champion"])
    lines = [
        f"**{forecast['asset']} at {forecast['target_at']:%Y-%m-%d %H:%M} UTC**, {minutes:.0f} minutes after a close "
        f"of {forecast['price']:,.{digits}f} {unit}:",
        "",
        f"- forecast **{forecast['predicted_price']:,.{digits}f} {unit}**: "
        + (f"{change:+.3%}" if change else "the price stays where it is"),
        f"- probability of a rise {forecast['p_up']:.0%}: {called}",
        f"- 80% of outcomes between {forecast['lower_80']:,.{digits}f} and {forecast['upper_80']:,.{digits}f}; "
        f"95% between {forecast['lower_95']:,.{digits}f} and {forecast['upper_95']:,.{digits}f}",
        *(["- the market is unlike anything it was trained on; intervals widened"] if is_outlying(forecast) else []),
        f"- market regime: {forecast['regime']}",
        f"- by {forecast['champion']}, bundle version {forecast['bundle_version']}"
        + (f"; others: {others}" if others else ""),
    ]
    return "\n".join(lines) + "\n"


def is_outlying(forecast: pd.Series) -> bool:
    """Whether the forecast was made from features unlike any trained on; not known of forecasts of release 0.1."""
    return bool(pd.notna(forecast["outlying"]) and forecast["outlying"])


def record(log: pd.DataFrame) -> dict[str, Any]:
    """How forecasts have done: counts by outcome, and the share of prices within the intervals (None: none settled)."""
    priced = log[log["actual_price"].notna()]
    figures: dict[str, Any] = {"made": len(log), "settled": int(log["outcome"].notna().sum())}
    figures |= {name: int((log["outcome"] == name).sum()) for name in (CORRECT, INCORRECT, FLAT_OUTCOME, MISSED)}
    for level in (80, 95):
        inside = priced["actual_price"].between(priced[f"lower_{level}"], priced[f"upper_{level}"])
        figures[f"covered_{level}"] = float(inside.mean()) if len(priced) else None
    return figures


def forecast_records(log: pd.DataFrame) -> list[dict[str, Any]]:
    """Forecasts for machines: plain values, times in ISO 8601, `by_model` as a mapping."""
    rows: list[dict[str, Any]] = json.loads(log.to_json(orient="records", date_format="iso"))
    return [row | {"by_model": json.loads(row["by_model"])} for row in rows]


def forecast_table(log: pd.DataFrame) -> Table:
    """Forecasts for a terminal of 80 columns, a row each; way is the direction that was called."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("for (UTC)", "price", "forecast", "80% interval", "way", "actual", "outcome"):
        text = name in {"for (UTC)", "way", "outcome"}
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for row in log.itertuples():
        settled = isinstance(row.outcome, str)
        digits = _digits(row.price)
        coarse = max(digits - 1, 0)
        table.add_row(
            f"{row.target_at:%m-%d %H:%M}",
            f"{row.price:,.{digits}f}",
            f"{row.predicted_price:,.{digits}f}",
            f"{row.lower_80:,.{coarse}f}..{row.upper_80:,.{coarse}f}",
            "-" if row.direction == FLAT else row.direction,
            f"{row.actual_price:,.{digits}f}" if settled and row.outcome != MISSED else "",
            row.outcome if settled else "pending",
        )
    return table


def _digits(price: float) -> int:
    """How many digits behind the point tell prices of this size apart."""
    return 0 if price >= 1_000_000 else 1 if price >= 10_000 else 2 if price >= 10 else 6
