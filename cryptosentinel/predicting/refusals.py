"""When no forecast is made, in words that say what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
    age_s = (now - made_at).total_seconds()
    if age_s <= settings.max_data_age_s:
        return None
    limit = f"forecast.max_data_age_s ({settings.max_data_age_s / 60:g} minutes)"
    return Abstention(
        f"the newest features are {age_s / 60:.0f} minutes old, more than {limit}: let the feature pipeline run"
    )


def expired_model(data_end: datetime | None, settings: ForecastSettings, *, now: datetime) -> Abstention | None:
    """Refuses the answer of a bundle whose data end longer than `forecast.max_model_age_days` ago.

    Args:
        data_end: the last row that the bundle has seen; None for the random walk, which has learnt nothing and so
            never expires.
        settings: the limit.
        now: the time.
    """
    if data_end is None or (age_days := (now - data_end).total_seconds() / 86_400) <= settings.max_model_age_days:
        return None
    limit = f"forecast.max_model_age_days ({settings.max_model_age_days:g})"
    return Abstention(
        f"the champion's data end {age_days:.1f} days ago, more than {limit}: let the training pipeline run"
    )
