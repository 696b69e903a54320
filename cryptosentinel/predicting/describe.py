"""Forecasts in words."""

from __future__ import annotations

import json

import pandas as pd

from cryptosentinel.bundle import FLAT


def describe_forecast(forecast: pd.Series, currency: str) -> str:
    """A forecast as a few lines of Markdown that a person can read."""
    unit = currency.upper()
    minutes = (forecast["target_at"] - forecast["made_at"]).total_seconds() / 60
    change = forecast["predicted_price"] / forecast["price"] - 1
    direction = (
        "the price stays where it is"
        if forecast["direction"] == FLAT
        else f"{forecast['direction']} ({change:+.3%}), confidence {forecast['confidence']:.0%}"
    )
    models = json.loads(forecast["by_model"])
    others = ", ".join(f"{name} {price:,.2f}" for name, price in models.items() if name != forecast["champion"])
    lines = [
        f"**{forecast['asset']} at {forecast['target_at']:%Y-%m-%d %H:%M} UTC**, {minutes:.0f} minutes after a close "
        f"of {forecast['price']:,.2f} {unit}:",
        "",
        f"- forecast **{forecast['predicted_price']:,.2f} {unit}**: {direction}",
        f"- 80% of outcomes between {forecast['lower_80']:,.2f} and {forecast['upper_80']:,.2f}; "
        f"95% between {forecast['lower_95']:,.2f} and {forecast['upper_95']:,.2f}",
        f"- probability of a rise {forecast['p_up']:.0%}; market regime: {forecast['regime']}",
        f"- by {forecast['champion']}, bundle version {forecast['bundle_version']}"
        + (f"; others: {others}" if others else ""),
    ]
    return "\n".join(lines) + "\n"
