"""When no forecast is made, in words that say what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptosentinel.config import ForecastSettings


@dataclass(frozen=True)
class Abstention:
    """Why no forecast was made."""

    reason: str


NO_FEATURES = Abstention("there are no features yet: run the feature pipeline")
# Bars come by themselves: nobody has to do anything.
NO_VOLATILITY = Abstention("too few bars since the last gap to know the volatility: wait for more")


def stale_features(made_at: datetime, settings: ForecastSettings, *, now: datetime) -> Abstention | None:
    """Refuses features older than `forecast.max_data_age_s`.

    Args:
        made_at: the close of the newest bar that has features.
        settings: the limit.
        now: the time.
    """
    age_s, limit_s = (now - made_at).total_seconds(), settings.max_data_age_s
    if age_s <= limit_s:
        return None
    return Abstention(
        f"the newest features are {_in_words(age_s)} old, more than forecast.max_data_age_s ({_in_words(limit_s)}): "
        "let the feature pipeline run"
    )


def expired_model(data_end: datetime | None, settings: ForecastSettings, *, now: datetime) -> Abstention | None:
    """Refuses the answer of a bundle whose data end longer than `forecast.max_model_age_days` ago.

    Args:
        data_end: the last row that the bundle has seen; None for the random walk, which has learnt nothing and so
            never expires.
        settings: the limit.
        now: the time.
    """
    limit_s = settings.max_model_age_days * 86_400
    if data_end is None or (age_s := (now - data_end).total_seconds()) <= limit_s:
        return None
    return Abstention(
        f"the champion's data end {_in_words(age_s)} ago, more than forecast.max_model_age_days "
        f"({_in_words(limit_s)}): let the training pipeline run"
    )


def _in_words(seconds: float) -> str:
    return _whole_in_words(int(seconds))


@lru_cache(maxsize=64)  # a server says it with every answer
def _whole_in_words(seconds: int) -> str:
    """In the largest unit of which there are two or more, to a tenth: `14.4 minutes`, `46 days`."""
    unit, size = next(
        ((unit, size) for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)) if seconds >= 2 * size),
        ("seconds", 1),
    )
    return f"{seconds / size:,.1f}".removesuffix(".0") + f" {unit}"
