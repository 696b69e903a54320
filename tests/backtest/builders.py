"""Backtests that never ran: forecasts of a market with stochastic volatility, and the training runs behind them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.backtest import BacktestMeta, Promotion, Training
from cryptosentinel.bundle import BLEND, BOUNDS, PROBABILITIES, RANDOM_WALK
from cryptosentinel.forecasting.losses import pinball

Array = NDArray[np.float64]

START = datetime(2025, 1, 6, tzinfo=UTC)
HORIZON = 6
CANDIDATES = {"ridge": 0.3, "random_forest": 0.35, "gradient_boosting": 0.5, "xgboost": 0.6}
RETRAINED_BARS = 7 * 288


def make_market(days: float, seed: int = 0) -> tuple[pd.DatetimeIndex, Array, Array]:
    """Bars' closing times, closes, and the true volatility a bar: persistent, by the hour of day, with heavy tails."""
    rng = np.random.default_rng(seed)
    count = int(days * 288)
    times = pd.date_range(START, periods=count, freq="5min")
    shock = rng.normal(0, 1, count)
    slow = np.zeros(count)
    for bar in range(1, count):
        slow[bar] = 0.9985 * slow[bar - 1] + 0.028 * shock[bar]
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60
    volatility = 1.1e-3 * np.exp(slow + 0.35 * np.sin(2 * np.pi * (hour - 9) / 24) - 0.1)
    returns = volatility * rng.standard_t(5, count) * np.sqrt(3 / 5)
    return times, 95_000 * np.exp(np.cumsum(returns)), volatility


def make_forecasts(
    days: float = 92,
    *,
    seed: int = 0,
    point: bool = True,
    information: float = 0.07,
    pending: int = HORIZON,
    market: tuple[pd.DatetimeIndex, Array, Array] | None = None,
) -> pd.DataFrame:
    """A finished backtest's forecasts; the last `pending` are not settled.

    `point`: whether the point forecast is the shrunk blend, else the price stays; `information`: correlation of the
    score behind `p_up` and the blend with what comes, 0 a coin.
    """
    times, closes, volatility = market or make_market(days, seed)
    rng = np.random.default_rng(seed + 1)
    count = len(closes)
    later = np.append(closes[HORIZON:], np.full(HORIZON, np.nan))
    actual = np.log(later / closes)
    sigma = _models(volatility, closes, rng)
    score = information * np.nan_to_num(actual / sigma["har"]) + np.sqrt(1 - information**2) * rng.normal(0, 1, count)
    blend = max(information, 0.01) * sigma["model"] * score
    weight = np.repeat(0.2 + 0.4 * rng.random(-(-count // RETRAINED_BARS)), RETRAINED_BARS)[:count] * point
    mean = weight * blend
    previous = np.append(np.zeros(HORIZON), np.log(closes[HORIZON:] / closes[:-HORIZON]))
    p_up = 0.5 + np.round(0.4 * max(information, 0.01) * score, 3)
    frame = pd.DataFrame(
        {
            "forecast_id": [f"f{number}" for number in range(count)],
            "asset": "bitcoin",
            "made_at": times,
            "target_at": times + HORIZON * timedelta(minutes=5),
            "price": closes,
            "predicted_price": closes * np.exp(mean),
            "sigma": sigma["model"],
            "p_up": np.clip(p_up, 0.01, 0.99),
            "regime": np.array(["accumulation", "uptrend", "downtrend", "distribution"])[
                np.digitize(np.log(volatility) + 0.3 * rng.normal(0, 1, count), np.log([7e-4, 1e-3, 1.5e-3]))
            ],
            "dissimilarity": rng.gamma(2.0, 0.2, count),
            "outlying": rng.random(count) < 0.004,
            "champion": BLEND if point else RANDOM_WALK,
            "bundle_version": 1 + np.arange(count) // RETRAINED_BARS,
            "actual_price": later,
            "settled_at": times + HORIZON * timedelta(minutes=5),
            "actual_return": actual,
            "blend_return": blend,
            "weight": weight,
            "continued": previous,
            "reversed": -previous,
            "single_feature": 0.02 * sigma["model"] * rng.normal(0, 1, count),
            "p_base": 0.503,
            "fold": np.arange(count) // RETRAINED_BARS,
        }
    )
    frame["direction"] = np.select([frame["p_up"] > 0.5, frame["p_up"] < 0.5], ["up", "down"], "flat")
    frame["confidence"] = np.maximum(frame["p_up"], 1 - frame["p_up"])
    frame["error"] = frame["predicted_price"] - frame["actual_price"]
    frame["by_model"] = _by_model(closes, blend, sigma["model"], rng)
    for name, spread in sigma.items():
        quantiles = mean[:, None] + spread[:, None] * np.nanquantile((actual - mean) / spread, PROBABILITIES)
        frame["pinball" if name == "model" else f"pinball_{name}"] = 1e4 * pinball(actual, quantiles, PROBABILITIES)
        if name == "model":
            frame[list(BOUNDS)] = closes[:, None] * np.exp(quantiles)
    frame["outcome"] = "correct"
    late = frame.index >= count - pending
    frame.loc[late, ["actual_price", "actual_return", "error", "settled_at", "outcome"]] = None
    frame.loc[late, [name for name in frame if name.startswith("pinball")]] = np.nan
    return frame


def hourly(forecasts: pd.DataFrame) -> pd.DataFrame:
    """The same forecasts as if they had been made every hour: a month becomes more than a year."""
    made_at = pd.date_range(START, periods=len(forecasts), freq="1h")
    return forecasts.assign(made_at=made_at, target_at=made_at + HORIZON * timedelta(hours=1))


def make_trainings(forecasts: pd.DataFrame) -> list[Training]:
    """A training run for each fold of the forecasts; every fifth is refused."""
    return [
        Training(
            fold=int(fold),
            made_at=rows["made_at"].iloc[0].to_pydatetime(),
            training_rows=86_000,
            oof_rows=51_000,
            last_block_rows=8_064,
            weight=float(rows["weight"].iloc[0]),
            gate=Promotion(
                promote=number % 5 != 4,
                champion=rows["champion"].iloc[0],
                look=number + 1,
                reasons=["information: Clark-West t 2.31 on 1,344 independent labels"]
                if number % 5 != 4
                else ["no better than the champion on the same rows: Diebold-Mariano p 0.41"],
                figures={"clark_west_t": 2.31, "skill": 0.0004},
            ),
            candidates={name: {"rmse": 0.0034, "skill": -0.001 * loud} for name, loud in CANDIDATES.items()},
            fit_seconds=31.4,
        )
        for number, (fold, rows) in enumerate(forecasts.groupby("fold"))
    ]


def make_meta(forecasts: pd.DataFrame, **changes: object) -> BacktestMeta:
    """What was replayed."""
    values: dict[str, object] = {
        "asset": "bitcoin",
        "currency": "usd",
        "market": "simulated:0",
        "simulated": True,
        "interval": "5m",
        "horizon_bars": HORIZON,
        "start": forecasts["made_at"].iloc[0].to_pydatetime(),
        "end": forecasts["made_at"].iloc[-1].to_pydatetime(),
        "settings": {
            "training": {"window_days": 90.0, "folds": 4},
            "forecast": {"horizon_bars": HORIZON},
            "every_days": 7.0,
        },
        "seed": 0,
        "command": "cryptosentinel backtest --source simulated:0",
        "libraries": {"numpy": "2.4.6", "xgboost-cpu": "3.2.0"},
        "data_digest": "0f" * 32,
    }
    return BacktestMeta.model_validate(values | changes)


def _models(volatility: Array, closes: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Volatilities over the horizon, by spread model, each with an error of its own size."""
    bar_returns = pd.Series(np.diff(np.log(closes), prepend=np.log(closes[0])))
    ewma = np.sqrt((bar_returns**2).ewm(halflife=12).mean()).clip(lower=1e-5).to_numpy()
    constant = np.full(len(closes), np.sqrt(np.nanmean(bar_returns**2)))
    root = np.sqrt(HORIZON)
    noise = {"model": 0.10, "har": 0.22}
    known = {name: volatility * root * np.exp(rng.normal(0, size, len(closes))) for name, size in noise.items()}
    return known | {"ewma": ewma * root, "constant": constant * root}


def _by_model(closes: Array, blend: Array, sigma: Array, rng: np.random.Generator) -> list[str]:
    prices = {RANDOM_WALK: closes, BLEND: closes * np.exp(blend)}
    for name, loud in CANDIDATES.items():
        prices[name] = closes * np.exp(blend + 0.1 * loud * sigma * rng.normal(0, 1, len(closes)))
    names = list(prices)
    table = np.column_stack(list(prices.values()))
    return [json.dumps(dict(zip(names, row, strict=True))) for row in table.tolist()]
