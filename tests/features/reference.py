"""Every indicator written slowly and plainly from its formula, to prove the fast path right."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd


def _wilder(values: pd.Series, bars: int) -> list[float]:
    average = float(values.iloc[1 : bars + 1].mean())
    result = [math.nan] * bars + [average]
    for value in values.iloc[bars + 1 :]:
        average = (average * (bars - 1) + value) / bars
        result.append(average)
    return result


def rsi(b: pd.DataFrame, bars: int = 14) -> pd.Series:
    change = b["close"].diff()
    gains = np.array(_wilder(change.clip(lower=0), bars))
    losses = np.array(_wilder(-change.clip(upper=0), bars))
    return pd.Series(100 - 100 / (1 + gains / losses))


def ema(values: pd.Series, bars: int) -> pd.Series:
    alpha = 2 / (bars + 1)
    average, result = math.nan, []
    for value in values:
        average = value if math.isnan(average) else alpha * value + (1 - alpha) * average
        result.append(average)
    return pd.Series(result)


def macd(b: pd.DataFrame) -> pd.Series:
    return ema(b["close"], 12) - ema(b["close"], 26)


def histogram(b: pd.DataFrame) -> pd.Series:
    return macd(b) - ema(macd(b), 9)


def band(b: pd.DataFrame, side: int) -> pd.Series:
    window = b["close"].rolling(20)
    return window.mean() + side * 2 * window.std(ddof=0)


def realised(b: pd.DataFrame, bars: int) -> pd.Series:
    return np.sqrt((log_return(b) ** 2).rolling(bars).mean())


def log_return(b: pd.DataFrame) -> pd.Series:
    return np.log(b["close"]).diff()


def parkinson(b: pd.DataFrame, bars: int) -> pd.Series:
    result = [math.nan] * len(b)
    for end in range(bars, len(b) + 1):
        squares = [math.log(h / low) ** 2 for h, low in zip(b["high"][end - bars : end], b["low"][end - bars : end])]  # noqa: B905
        result[end - 1] = math.sqrt(sum(squares) / bars / (4 * math.log(2)))
    return pd.Series(result)


def garman_klass(b: pd.DataFrame, bars: int) -> pd.Series:
    body, spread = np.log(b["close"] / b["open"]), np.log(b["high"] / b["low"])
    return np.sqrt((spread**2 / 2 - (2 * math.log(2) - 1) * body**2).rolling(bars).mean())


def log_volatility(b: pd.DataFrame, bars: int) -> pd.Series:
    return np.log(garman_klass(b, bars) ** 2 + 1e-9) / 2


def around_a_day_ago(b: pd.DataFrame) -> pd.Series:
    return pd.Series(
        [math.nan if t < 290 else log_volatility(b[t - 290 : t - 278], 12).iloc[-1] for t in range(len(b))]
    )


def largest_move(b: pd.DataFrame, bars: int) -> pd.Series:
    moves = log_return(b).tolist()
    sizes = [max(*w, -min(w)) for t in range(bars, len(b)) if (w := moves[t + 1 - bars : t + 1])]
    return pd.Series([math.nan] * bars + [math.log(math.sqrt(size**2 + 1e-9)) for size in sizes])


def moved(b: pd.DataFrame, bars: int) -> pd.Series:
    return log_return(b).rolling(bars).sum() / realised(b, 288) / math.sqrt(bars)


def jumpiness(b: pd.DataFrame, bars: int) -> pd.Series:
    size = log_return(b).abs()
    return size.rolling(bars).mean() / np.sqrt((size**2).rolling(bars).mean())


def relative_volume(b: pd.DataFrame) -> pd.Series:
    return b["volume"] / b["volume"].rolling(288, min_periods=144).mean()


def usual(b: pd.DataFrame, bars: int) -> pd.Series:
    return np.log2(1 + relative_volume(b).fillna(1)).rolling(bars).mean()


def location(b: pd.DataFrame, bars: int) -> pd.Series:
    where = ((b["close"] - b["low"]) - (b["high"] - b["close"])) / (b["high"] - b["low"])
    return (where * relative_volume(b)).fillna(0).rolling(bars).mean()


def signed(b: pd.DataFrame, bars: int) -> pd.Series:
    return (np.sign(b["close"].diff()) * relative_volume(b)).fillna(0).rolling(bars).mean()


def of_day(b: pd.DataFrame) -> pd.Series:
    return b["timestamp"].dt.hour + b["timestamp"].dt.minute / 60


def new_york(b: pd.DataFrame) -> pd.Series:
    """By the law since 2007: summer time from March's second Sunday to November's first, at 2 by the clock."""

    def sunday(year: int, month: int, nth: int, hour_utc: int) -> datetime:
        first = datetime(year, month, 1, hour_utc, tzinfo=UTC)
        return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))

    minutes = []
    for utc in b["timestamp"]:
        summer = sunday(utc.year, 3, 2, 7) <= utc < sunday(utc.year, 11, 1, 6)
        local = utc - timedelta(hours=4 if summer else 5)
        minutes.append(local.hour * 60 + local.minute)
    return pd.Series(minutes)


def turn(share: pd.Series, wave: Callable[[pd.Series], pd.Series]) -> pd.Series:
    return wave(2 * math.pi * share)


REFERENCE: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    **{f"sma_{n}": lambda b, n=n: b["close"].rolling(n).mean() for n in (5, 10, 20)},
    **{f"ema_{n}": lambda b, n=n: ema(b["close"], n) for n in (5, 10, 20)},
    "price_to_sma_20": lambda b: b["close"] / b["close"].rolling(20).mean() - 1,
    "sma_5_to_sma_20": lambda b: b["close"].rolling(5).mean() / b["close"].rolling(20).mean() - 1,
    "macd": macd,
    "macd_signal": lambda b: ema(macd(b), 9),
    "macd_histogram": histogram,
    "macd_to_price": lambda b: macd(b) / b["close"],
    "macd_histogram_to_price": lambda b: histogram(b) / b["close"],
    "bollinger_upper": lambda b: band(b, 1),
    "bollinger_middle": lambda b: band(b, 0),
    "bollinger_lower": lambda b: band(b, -1),
    "bollinger_position": lambda b: (b["close"] - band(b, -1)) / (band(b, 1) - band(b, -1)),
    "bollinger_width": lambda b: (band(b, 1) - band(b, -1)) / band(b, 0),
    "rsi_14": rsi,
    "momentum_10": lambda b: b["close"].diff(10),
    "roc_10": lambda b: b["close"].pct_change(10),
    "return": lambda b: b["close"].pct_change(),
    "log_return": log_return,
    **{f"price_lag_{n}": lambda b, n=n: b["close"].shift(n) for n in (1, 2, 3, 5, 10)},
    **{f"return_lag_{n}": lambda b, n=n: log_return(b).shift(n) for n in (1, 2, 3, 5, 10)},
    **{f"return_{n}_to_volatility": lambda b, n=n: moved(b, n) for n in (36, 72, 288)},
    "volatility_20": lambda b: log_return(b).rolling(20).std() * math.sqrt(365 * 24 * 12),
    **{f"realised_volatility_{n}": lambda b, n=n: realised(b, n) for n in (6, 12, 36, 288)},
    **{f"volatility_{n}_to_288": lambda b, n=n: np.log(realised(b, n) / realised(b, 288)) for n in (6, 36)},
    **{f"log_volatility_{n}": lambda b, n=n: log_volatility(b, n) for n in (6, 24, 72, 288)},
    "log_volatility_a_day_ago": around_a_day_ago,
    "absolute_to_root_mean_square_36": lambda b: jumpiness(b, 36),
    "log_largest_move_288": lambda b: largest_move(b, 288),
    "parkinson_volatility_12": lambda b: parkinson(b, 12),
    "garman_klass_volatility_36": lambda b: garman_klass(b, 36),
    "range": lambda b: np.log(b["high"]) - np.log(b["low"]),
    **{f"volume_to_usual_{n}": lambda b, n=n: usual(b, n) for n in (1, 12)},
    **{f"close_location_volume_{n}": lambda b, n=n: location(b, n) for n in (3, 6, 12, 36)},
    **{f"signed_volume_{n}": lambda b, n=n: signed(b, n) for n in (6, 36)},
    "hour": lambda b: b["timestamp"].dt.hour,
    "day_of_week": lambda b: b["timestamp"].dt.dayofweek,
    "new_york_minute": new_york,
    "is_weekend": lambda b: b["timestamp"].dt.dayofweek.isin([5, 6]).astype(float),
    "day_sin": lambda b: turn(of_day(b) / 24, np.sin),
    "day_cos": lambda b: turn(of_day(b) / 24, np.cos),
    "week_sin": lambda b: turn((b["timestamp"].dt.dayofweek + of_day(b) / 24) / 7, np.sin),
    "week_cos": lambda b: turn((b["timestamp"].dt.dayofweek + of_day(b) / 24) / 7, np.cos),
}
