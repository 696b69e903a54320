"""An explanation in one or two sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from cryptosentinel.bundle import FLAT
from cryptosentinel.explaining.records import DIRECTION_TARGET, FORECAST, SPREAD_TARGET, Explanation
from cryptosentinel.features import FEATURES

DESCRIPTIONS = {feature.name: feature.description for feature in FEATURES}
# A contribution is not worth words where another is so many times its size.
_DWARFED = 0.1


def sentence(explanation: Explanation) -> str:
    """What is forecast and what drives it, for people: the price first, then the range and the direction."""
    range_, direction = _range(explanation), _direction(explanation)
    return f"{_price(explanation)} {range_[0].upper()}{range_[1:]}; {direction}."


def _price(explanation: Explanation) -> str:
    forecast = explanation.targets[FORECAST]
    change, price = math.expm1(explanation.log_return), _money(explanation.predicted_price, explanation)
    if forecast.price_contributions is None or not any(forecast.price_contributions.values()):
        why = (
            "what the models say has not been shown to be better"
            if _is_trained(explanation)
            else "nothing has been learnt yet"
        )
        return f"The price forecast is that it stays at {price}: {why}."
    reasons = _reasons(forecast.price_contributions, "up", "down", lambda each: f"{each:+,.{digits(explanation)}f}")
    return f"The price is forecast to {'rise' if change > 0 else 'fall'} by {abs(change):.3%} to {price}{reasons}."


def _range(explanation: Explanation) -> str:
    places = digits(explanation)
    low, high = (f"{price:,.{places}f}" for price in (explanation.lower_80, explanation.upper_80))
    widened = ""
    if explanation.outlying:
        widened = f", widened {explanation.widening:.2g} times since the market is unlike anything trained on"
    text = f"80% of outcomes are expected between {low} and {high}{widened}"
    spread = explanation.targets.get(SPREAD_TARGET)
    if spread is None:
        return f"{text}, as the price has not moved of late"
    if not _is_trained(explanation):
        return f"{text}, by recent volatility alone"
    reasons = _reasons(spread.contributions, "wider", "narrower", lambda each: f"x{math.exp(each):.2f}")
    return f"{text}, {math.exp(spread.value - spread.base):.2f} times the usual range{reasons}"


def _direction(explanation: Explanation) -> str:
    contributions = explanation.targets[DIRECTION_TARGET].contributions
    if not any(contributions.values()):
        return "no direction is called"
    # Half a point is what `describe_forecast` calls no better than a coin.
    coin = ", no better than a coin" if abs(explanation.p_up - 0.5) < 0.005 or explanation.direction == FLAT else ""
    return f"a rise is {explanation.p_up:.1%} likely{coin}{_reasons(contributions, 'up', 'down')}"


def _reasons(
    contributions: Mapping[str, float], more: str, less: str, figure: Callable[[float], str] | None = None
) -> str:
    """The feature that adds most and the one that takes most away, the larger first and none that is dwarfed by it."""
    least = _DWARFED * max(map(abs, contributions.values()), default=0.0)
    chosen: dict[str, str] = {}
    for name, each in contributions.items():  # the largest come first
        word = more if each > 0 else less
        if each and abs(each) >= least and word not in chosen:
            shown = f" ({figure(each)})" if figure else ""
            chosen[word] = f'{word} most by "{DESCRIPTIONS.get(name, name)}"{shown}'
    return f", {' and '.join(chosen.values())}" if chosen else ""


def _is_trained(explanation: Explanation) -> bool:
    """Whether there is any model but the random walk."""
    return bool(explanation.targets.keys() - {FORECAST, DIRECTION_TARGET, SPREAD_TARGET})


def _money(price: float, explanation: Explanation) -> str:
    return f"{price:,.{digits(explanation)}f} {explanation.currency.upper()}"


def digits(explanation: Explanation) -> int:
    """How many digits behind the point prices of this size are given."""
    return 2 if explanation.close >= 10 else 6
