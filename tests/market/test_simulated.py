"""The simulated market is the same wherever it is asked, looks like Bitcoin, and its direction cannot be forecast."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.config import IntervalName
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.market.bars import PRICES, Interval
from cryptosentinel.market.simulated import OPENED, SimulatedSource, _skeleton
from tests.builders import FIVE

END = datetime(2025, 7, 1, tzinfo=UTC)
SEEDS = range(6)
BLOCK = timedelta(days=365)  # of the hourly noise
GOLDEN = (65704.75, 65787.95, 65623.71, 65754.59, 95.24102)  # the bar before END


def source(seed: int = 0, interval: IntervalName = "5m", now: datetime = END) -> SimulatedSource:
    return SimulatedSource("bitcoin", Interval(interval), seed=seed, now=now)


@lru_cache(maxsize=8)
def year(seed: int) -> pd.DataFrame:
    return source(seed).bars(END - timedelta(days=365), END)


@lru_cache(maxsize=8)
def returns(seed: int) -> pd.Series:
    bars = year(seed)
    return pd.Series(np.log(bars["close"] / bars["open"]).to_numpy(), index=bars["timestamp"])


def score(left: pd.Series, right: pd.Series) -> float:
    """How many standard errors the mean product is from zero, whatever the volatility does (White, 1980)."""
    product = left.to_numpy() * right.to_numpy()
    return float(product.sum() / np.sqrt((product**2).sum()))


# The same bars


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 365 * 288), st.integers(1, 3000), st.sampled_from([3, 0]))
def test_a_bar_is_the_same_whatever_window_it_is_asked_for_in(offset: int, count: int, seed: int) -> None:
    start = END - timedelta(days=365) + offset * FIVE.delta
    bars = source(seed).bars(start, start + count * FIVE.delta)
    expected = year(seed).iloc[offset : offset + count].reset_index(drop=True)
    pd.testing.assert_frame_equal(bars, expected)


def test_a_bar_is_the_same_at_any_time() -> None:
    window = (END - timedelta(days=40), END - timedelta(days=38))
    pd.testing.assert_frame_equal(source(now=END).bars(*window), source(now=END + 3 * BLOCK).bars(*window))


def test_a_bar_is_the_same_in_another_process() -> None:
    start = END - timedelta(days=1)
    code = (
        "import datetime as d; from cryptosentinel.market.simulated import SimulatedSource as S;"
        "from cryptosentinel.market.bars import Interval;"
        f"end = d.datetime.fromisoformat('{END.isoformat()}');"
        "print(S('bitcoin', Interval('5m'), 7, end).bars(end - d.timedelta(days=1), end).to_csv(index=False))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == source(7).bars(start, END).to_csv(index=False).strip()


def test_the_market_of_seed_0_is_this_one() -> None:
    """Breaks where a change makes another market of an old seed: stored histories would jump."""
    bar = source().bars(END - timedelta(minutes=5), END).iloc[0]
    assert tuple(bar[[*PRICES, "volume"]]) == GOLDEN


def test_the_noise_of_later_years_changes_nothing_about_earlier_ones() -> None:
    short, long = _skeleton(1, 3), _skeleton(1, 5)
    hours = 3 * 8760
    for name in ("log_price", "variance", "liquidity"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[: hours + 1])
    for name in ("jump", "jump_minute"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:hours])


def test_another_seed_is_another_market() -> None:
    assert abs(np.corrcoef(returns(0), returns(1))[0, 1]) < 0.02
    assert (year(0)["close"] != year(1)["close"]).mean() > 0.99


@pytest.mark.parametrize("interval", ["5m", "15m", "1h"])
def test_bars_of_every_interval_are_sums_of_the_same_minutes(interval: IntervalName) -> None:
    start = END - timedelta(days=3)
    minutes = source(interval="1m").bars(start, END)
    bars = source(interval=interval).bars(start, END)
    groups = minutes.groupby(minutes["timestamp"].dt.floor(Interval(interval).delta))
    assert groups["open"].first().tolist() == bars["open"].tolist()
    assert groups["high"].max().tolist() == bars["high"].tolist()
    assert groups["low"].min().tolist() == bars["low"].tolist()
    assert groups["close"].last().tolist() == bars["close"].tolist()
    np.testing.assert_allclose(groups["volume"].sum(), bars["volume"], rtol=1e-6)


# Possible bars


@pytest.mark.parametrize("seed", SEEDS)
def test_bars_are_possible_and_follow_each_other(seed: int) -> None:
    bars = year(seed)
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["open"].iloc[1:].to_numpy() == bars["close"].iloc[:-1].to_numpy()).all()
    assert (bars["volume"] > 0).all()
    assert (bars["timestamp"].diff().iloc[1:] == FIVE.delta).all()


@pytest.mark.parametrize("blocks", [1, 8, 15])
def test_no_border_shows_where_the_noise_changes_its_block(blocks: int) -> None:
    border = OPENED + blocks * BLOCK
    bars = source().bars(border - timedelta(days=2), border + timedelta(days=2))
    moves = np.log(bars["close"] / bars["open"]).abs()
    at_border = moves[bars["timestamp"].between(border - timedelta(minutes=10), border + timedelta(minutes=5))]
    assert (bars["open"].iloc[1:].to_numpy() == bars["close"].iloc[:-1].to_numpy()).all()
    assert len(bars) == 4 * 288
    assert at_border.max() < 8 * moves.std()


def test_there_is_no_market_before_it_opened() -> None:
    early = source().bars(OPENED - timedelta(days=1), OPENED + timedelta(hours=1))
    assert early["timestamp"].iloc[0] == OPENED
    assert len(early) == 12
    assert source().bars(OPENED - timedelta(days=2), OPENED - timedelta(days=1)).empty
    with pytest.raises(NotEnoughDataError):
        source(now=OPENED).quote()


def test_it_says_that_it_is_simulated() -> None:
    market = source(5)
    assert market.simulated
    assert market.name == "simulated:5"
    assert set(market.bars(END - timedelta(hours=1), END)["source"]) == {"simulated:5"}


def test_its_clock_is_the_wall_clock_unless_it_is_told_the_time() -> None:
    assert source(now=END).now() == END
    before = datetime.now(UTC)
    assert before <= SimulatedSource("bitcoin", FIVE).now() <= datetime.now(UTC)


def test_the_quote_is_worked_out_from_the_bars() -> None:
    quote = source(now=END + timedelta(minutes=3)).quote()
    day = year(0).iloc[-288:]
    assert (quote.price, quote.at, quote.market_cap) == (day["close"].iloc[-1], END, None)
    assert quote.change_24h == pytest.approx(day["close"].iloc[-1] / day["open"].iloc[0] - 1)
    assert quote.volume_24h == pytest.approx((day["volume"] * day["close"]).sum())


# Nobody can forecast its direction


def test_returns_do_not_predict_later_returns() -> None:
    scores = np.array([score(returns(seed)[lag:], returns(seed)[:-lag]) for seed in SEEDS for lag in range(1, 7)])
    assert np.abs(scores).max() < 4
    assert (scores**2).mean() < 1.7  # 36 of them: 1 +- 0.24


@pytest.mark.parametrize("past", [1, 3, 12, 48, 288, 2016])
def test_the_past_does_not_predict_the_next_half_hour(past: int) -> None:
    total = 0.0
    for seed in SEEDS:
        moves = returns(seed)
        target = moves.rolling(6).sum().shift(-6).iloc[past::6]
        signal = moves.rolling(past).sum().iloc[past::6]
        valid = target.notna() & signal.notna()
        total += score(target[valid], np.sign(signal[valid])) + score(target[valid], signal[valid])
    assert abs(total) / np.sqrt(4 * len(SEEDS)) < 3


@pytest.mark.parametrize("border", ["1h", "1d"])
def test_no_border_shows_where_an_hour_or_a_day_begins(border: str) -> None:
    across, usual, scores = [], [], []
    for seed in SEEDS:
        moves = returns(seed)
        first = moves.index == moves.index.floor(border)
        before = np.roll(first, -1)
        before[-1] = False
        pair = moves[first].iloc[1:], moves[before][: first.sum() - 1]
        scores.append(score(*pair))
        # The bars on both sides against those two bars away: the time of day is as good as the same.
        across.append((moves[first | before] ** 2).clip(upper=1e-4).mean())
        usual.append((moves[np.roll(first, 2) | np.roll(before, -2)] ** 2).clip(upper=1e-4).mean())
    assert np.mean(across) / np.mean(usual) == pytest.approx(1, abs={"1h": 0.03, "1d": 0.1}[border])
    assert abs(np.sum(scores)) / np.sqrt(len(SEEDS)) < 3


def test_variance_adds_up_over_time() -> None:
    ratios = [
        np.var(returns(seed).to_numpy()[: 365 * 288].reshape(-1, bars).sum(axis=1)) / bars / np.var(returns(seed))
        for seed in SEEDS
        for bars in (6, 12, 48)
    ]
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_the_pull_to_the_level_is_too_weak_to_be_used() -> None:
    closes = year(0)["close"].iloc[::6]
    moves, distance = np.log(closes).diff().shift(-1).dropna(), np.log(closes / 45_000).iloc[:-1]
    assert np.corrcoef(moves, distance)[0, 1] ** 2 < 5e-4


# It looks like Bitcoin


@pytest.mark.parametrize("seed", SEEDS)
def test_level_and_volatility_are_those_of_bitcoin(seed: int) -> None:
    assert 8_000 < year(seed)["close"].min() < year(seed)["close"].max() < 250_000
    assert 0.35 < returns(seed).std() * np.sqrt(FIVE.bars_per_year) < 0.85


def test_the_volatility_is_what_it_is_meant_to_be() -> None:
    assert np.mean([returns(seed).var() for seed in SEEDS]) ** 0.5 * np.sqrt(FIVE.bars_per_year) == pytest.approx(
        0.55, abs=0.08
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_returns_have_heavy_tails(seed: int) -> None:
    assert returns(seed).kurt() + 3 > 8
    weekly = returns(seed).rolling(2016).sum().iloc[2016::2016]
    assert weekly.kurt() < returns(seed).kurt()


@pytest.mark.parametrize("seed", SEEDS)
def test_volatility_clusters_for_more_than_a_day(seed: int) -> None:
    moves = returns(seed).abs()
    near, hour, half_day, day = (moves.autocorr(lag) for lag in (1, 12, 144, 288))
    assert near > 0.2
    assert hour > 0.15
    assert min(half_day, day) > 0.05
    assert near > half_day


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_calm_and_turbulent_weeks(seed: int) -> None:
    weekly = returns(seed).resample("7D").std()
    assert weekly.quantile(0.9) / weekly.quantile(0.1) > 1.8


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_jumps(seed: int) -> None:
    usual = returns(seed).abs().rolling(288).median().shift(1)
    jumps = (returns(seed).abs() > 15 * usual).sum()
    assert 10 < jumps < 2000


@pytest.mark.parametrize("measure", ["volatility", "volume"])
def test_the_hour_and_the_weekend_show(measure: str) -> None:
    for seed in SEEDS:
        values = returns(seed).abs() if measure == "volatility" else year(seed).set_index("timestamp")["volume"]
        weekday = values[values.index.dayofweek < 5]
        assert weekday[weekday.index.hour == 15].mean() > 1.3 * weekday[weekday.index.hour == 4].mean()
        assert values[values.index.dayofweek >= 5].mean() < 0.85 * weekday.mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_volume_goes_with_volatility(seed: int) -> None:
    assert 0.2 < np.corrcoef(year(seed)["volume"], returns(seed).abs())[0, 1] < 0.8


def test_ranges_are_those_of_a_continuous_price() -> None:
    """Parkinson (1980): the mean squared log range is 4 log 2 times the variance."""
    minutes = source(interval="1m").bars(END - timedelta(days=60), END)
    moves = np.log(minutes["close"] / minutes["open"])
    usual = moves.abs() < 8 * moves.abs().rolling(60, min_periods=1).median()  # jumps have no path
    ranges = np.log(minutes["high"] / minutes["low"])
    ratio = (ranges[usual] ** 2).mean() / (4 * np.log(2)) / (moves[usual] ** 2).mean()
    assert ratio == pytest.approx(1, abs=0.08)
