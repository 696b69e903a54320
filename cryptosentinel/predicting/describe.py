"""Forecasts in words."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from cryptosentinel.bundle import FLAT, RANDOM_WALK
from cryptosentinel.predicting.accuracy import measure
from cryptosentinel.predicting.settling import CORRECT, FLAT_OUTCOME, INCORRECT, MISSED

if TYPE_CHECKING:
    from rich.table import Table

# Fewer outcomes that do not overlap say little about how often prices are within an interval.
ENOUGH_OUTCOMES = 30
# What the names of `forecasting.regimes` stand for, and of the one that is none.
REGIME_WORDS = {
    "downtrend": "falling",
    "uptrend": "rising",
    "accumulation": "calm, no trend",
    "distribution": "wild, no trend",
    "unknown": "cannot be told",
}
NO_BETTER_THAN_A_COIN = "no better than a coin"


def describe_forecast(forecast: pd.Series, currency: str) -> str:
    """A forecast as a few lines of Markdown that a person can read."""
    unit, digits = currency.upper(), max(2, _digits(forecast["price"]))
    minutes = (forecast["target_at"] - forecast["made_at"]).total_seconds() / 60
    change = forecast["predicted_price"] / forecast["price"] - 1
    called = (
        "no direction is called"
        if forecast["direction"] == FLAT
        else f"{forecast['direction']}, but {NO_BETTER_THAN_A_COIN}"
        if is_coin(forecast)
        else f"{forecast['direction']}, {forecast['confidence']:.1%} sure"
    )
    models = json.loads(forecast["by_model"])
    others = ", ".join(f"{name} {price:,.{digits}f}" for name, price in models.items() if name != forecast["champion"])
    lines = [
        f"**{forecast['asset']} at {forecast['target_at']:%Y-%m-%d %H:%M} UTC**, {minutes:.0f} minutes after a close "
        f"of {forecast['price']:,.{digits}f} {unit}:",
        "",
        f"- forecast **{forecast['predicted_price']:,.{digits}f} {unit}**: "
        + (f"{change:+.3%}" if change else "the price stays where it is"),
        f"- probability of a rise {forecast['p_up']:.1%}: {called}",
        f"- 80% of outcomes between {forecast['lower_80']:,.{digits}f} and {forecast['upper_80']:,.{digits}f}; "
        f"95% between {forecast['lower_95']:,.{digits}f} and {forecast['upper_95']:,.{digits}f}",
        *(["- the market is unlike anything it was trained on; intervals widened"] if is_outlying(forecast) else []),
        *(
            [f"- this version's forecasts do not do what they say: intervals widened {forecast['widened']:g} times"]
            if is_widened(forecast)
            else []
        ),
        f"- market regime: {forecast['regime']} ({REGIME_WORDS[forecast['regime']]})",
        f"- {made_by(forecast)}" + (f"; by other models: {others}" if others else ""),
    ]
    return "\n".join(lines) + "\n"


def made_by(forecast: pd.Series) -> str:
    """What of a forecast was learnt: where no regime is known, the random walk answered alone."""
    bundle = f"bundle {forecast['bundle_version']}"
    if forecast["regime"] == "unknown":
        return f"the random walk alone, {bundle}"
    if forecast["champion"] == RANDOM_WALK:
        return f"price: stays; range and direction: trained {bundle}"
    return f"price ({forecast['champion']}), range and direction: trained {bundle}"


def is_outlying(forecast: pd.Series) -> bool:
    """Whether the forecast was made from features unlike any trained on; not known of forecasts of release 0.1."""
    return bool(pd.notna(forecast["outlying"]) and forecast["outlying"])


def is_widened(forecast: pd.Series) -> bool:
    """Whether its intervals were widened since its version was called useless; not known of earlier releases'."""
    return bool(pd.notna(forecast["widened"]) and forecast["widened"] > 1)


def is_coin(forecast: pd.Series) -> bool:
    """Whether the probability of a rise is within half a point of one half."""
    return bool(abs(forecast["p_up"] - 0.5) < 0.005)


def record(log: pd.DataFrame) -> dict[str, Any]:
    """How forecasts have done: counts by outcome, and the share of prices within the intervals (None: none settled).

    `independent` counts the outcomes those shares rest on, those that overlap once.
    """
    accuracy = measure(log)
    figures: dict[str, Any] = {"made": accuracy.made, "settled": accuracy.settled}
    figures |= {name: accuracy.counts.get(name, 0) for name in (CORRECT, INCORRECT, FLAT_OUTCOME, MISSED)}
    figures["independent"] = accuracy.covered[80].independent
    for level, share in accuracy.covered.items():
        figures[f"covered_{level}"] = share.value if math.isfinite(share.value) else None
    return figures


def evidence(independent: int) -> str:
    """How far coverage can be judged by that many outcomes that do not overlap."""
    outcomes = f"{independent:,} outcome{'s that do' if independent != 1 else ' that does'} not overlap"
    return outcomes if independent >= ENOUGH_OUTCOMES else f"{outcomes}: too few to judge"


def forecast_records(log: pd.DataFrame) -> list[dict[str, Any]]:
    """Forecasts for machines: plain values, times in ISO 8601, `by_model` as a mapping."""
    rows: list[dict[str, Any]] = json.loads(log.to_json(orient="records", date_format="iso"))
    return [row | {"by_model": json.loads(row["by_model"])} for row in rows]


def forecast_table(log: pd.DataFrame) -> Table:
    """Forecasts for a terminal of 80 columns, a row each; `price then` is that of the moment when it was made."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("for (UTC)", "price\nthen", "forecast", "80% interval", "P of\nrise", "actual", "outcome"):
        text = name in {"for (UTC)", "outcome"}
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
            f"{row.p_up:.1%}",
            f"{row.actual_price:,.{digits}f}" if settled and row.outcome != MISSED else "",
            row.outcome if settled else "pending",
        )
    return table


def _digits(price: float) -> int:
    """How many digits behind the point tell prices of this size apart."""
    return 0 if price >= 1_000_000 else 1 if price >= 10_000 else 2 if price >= 10 else 6
