"""What is asked of the predictor and what it replies, whatever the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import Inference, Manifest
from cryptosentinel.config import ForecastSettings
from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import Answer, Rows, expired_model, stale_features
from serving._kserve import InvalidInput

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_ROWS = 10_000
HIGHEST = float(np.finfo(np.float32).max)  # models compute in single precision
CLOSE, FEATURES = "close", "features"
NUMBERS = ("predicted_price", "log_return", "sigma", "p_up", "confidence", "dissimilarity")


class SpecMismatch(InvalidInput):
    """The request's features were computed by another spec than the bundle's."""


@dataclass(frozen=True)
class Asked:
    """A request's rows.

    Attributes:
        rows: checked; n of them.
        made_at: when each row's last bar closed, in UTC; None where features were sent, which say no time.
    """

    rows: Rows
    made_at: tuple[datetime, ...] | None = None


@dataclass(frozen=True)
class Reply:
    """A bundle's answer, and what is to be said about it now.

    Attributes:
        answer: of n rows.
        stale: rows whose last bar closed longer than `forecast.max_data_age_s` ago, shape (n,).
        abstained: rows of which the live pipeline would make no forecast: the stale ones, or all where the bundle has
            expired. Their numbers are the bundle's all the same.
        abstention: why, in words; empty where none abstained.
        made_at: see `Asked`.
    """

    answer: Answer
    stale: Mask
    abstained: Mask
    abstention: str
    made_at: tuple[datetime, ...] | None

    @classmethod
    def to(cls, asked: Asked, answer: Answer, settings: ForecastSettings, *, now: datetime) -> Reply:
        """The reply to what was asked; the rules are those of the live forecast."""
        count = len(asked.rows.close)
        stale, reason = np.zeros(count, dtype=np.bool_), ""
        for row, made_at in enumerate(asked.made_at or ()):
            if stale_features(made_at, settings, now=now):
                stale[row] = True
                reason = reason or (
                    f"the bars end at {made_at:%Y-%m-%dT%H:%M:%SZ}, longer ago than forecast.max_data_age_s"
                    f" ({settings.max_data_age_s} s): send newer ones"
                )
        if expired := expired_model(answer.data_end, settings, now=now):
            return cls(answer, stale, np.ones(count, dtype=np.bool_), expired.reason, asked.made_at)
        return cls(answer, stale, stale, reason, asked.made_at)

    def target_at(self, manifest: Manifest) -> list[datetime]:
        """When each row's forecast is for; empty where no row has a time."""
        ahead = manifest.horizon_bars * Interval(manifest.interval).delta
        return [made_at + ahead for made_at in self.made_at or ()]


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def checked_rows(
    close: Array, features: Array | None, volatility: Array | None, manifest: Manifest, *, spec_hash: object
) -> Rows:
    """Rows whose values a bundle can answer for, from either `features` or `volatility`.

    Raises:
        InvalidInput: their number, their values or their spec are wrong; the message says what to send.
    """
    if spec_hash != manifest.spec_hash:
        raise SpecMismatch(
            f"The bundle was built for features {manifest.spec_hash}, and the request's are {shown(spec_hash)}. Compute"
            " them by the bundle's spec, or serve a bundle trained on yours."
        )
    name, second = (FEATURES, features) if features is not None else (manifest.scale_feature, volatility)
    assert second is not None
    if len(close) != len(second):
        raise InvalidInput(f"Rows differ: { ({CLOSE: len(close), name: len(second)}) }. Send as many of each.")
    _check((close > 0) & (close < np.inf), CLOSE, "must be a positive price")
    if features is not None:
        good = np.abs(features) <= HIGHEST
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise InvalidInput(
                f"Row {row} of features: '{manifest.features[column]}' must be a finite number. For rows that are not"
                f" warm yet send '{manifest.scale_feature}' in place of 'features'."
            )
        volatility = features[:, manifest.features.index(manifest.scale_feature)]
    assert volatility is not None
    _check((volatility >= 0) & (volatility < np.inf), manifest.scale_feature, "must be a finite number from 0 on")
    return Rows(close=close, volatility=volatility, features=features, spec_hash=manifest.spec_hash)


def refuse_not_finite(inference: Inference) -> None:
    """Refuses rows that were in order one by one, and together have no forecast.

    Raises:
        InvalidInput: a number in a forecast is not finite.
    """
    numbers = [*(getattr(inference, name) for name in NUMBERS), *inference.quantiles.T, *inference.by_model.values()]
    finite = np.isfinite(numbers).all(axis=0)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidInput(f"Row {row} has no finite forecast: its values are far from any market's. Check them.")


def number_of(value: object) -> float:
    """A number from JSON.

    Raises:
        TypeError: it is none; text and booleans are none either.
        OverflowError: no float is as large.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def check_text(name: str, text: str | None) -> None:
    """Refuses what is sent back as it came and no answer could carry.

    Raises:
        InvalidInput: it holds half a character.
    """
    if text is not None and not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidInput(f"'{name}' is {shown(text)}; send whole characters.")


def shown(value: object) -> str:
    """Something from a request, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check(good: Mask, name: str, rule: str) -> None:
    if not good.all():
        raise InvalidInput(f"Row {int(np.argmin(good))}: '{name}' {rule}.")
