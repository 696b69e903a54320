"""Whether a source still speaks of the market that it spoke of before."""

from __future__ import annotations

import json
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.errors import SourceAnswerError
from cryptosentinel.market import ingest
from cryptosentinel.market._ticks import bars_from_ticks
from cryptosentinel.market.agreement import MIN_MOVES, contradiction
from tests.builders import FIVE, T0, MemoryStore, make_random_bars

DAY = 288


def later(bars: pd.DataFrame, count: int) -> pd.DataFrame:
    """The same bars, each so many bars later."""
    return bars.assign(timestamp=bars["timestamp"] + count * FIVE.delta)


def scaled(bars: pd.DataFrame, factor: float) -> pd.DataFrame:
    return bars.assign(**{name: bars[name] * factor for name in ("open", "high", "low", "close")})


def test_who_repeats_what_it_said_agrees() -> None:
    held = make_random_bars(DAY)
    assert contradiction(held, held, FIVE) == ""
    assert contradiction(make_random_bars(DAY + 20).tail(DAY), held, FIVE) == ""


def test_revisions_and_another_level_agree() -> None:
    held, noise = make_random_bars(DAY), np.random.default_rng(1)
    wild_end = held.assign(close=np.r_[held["close"][:-12], held["close"][-12:] * noise.normal(1, 0.01, 12)])
    everywhere = held.assign(close=held["close"] * noise.normal(1, 0.0005, DAY))
    for offered in (wild_end, everywhere, scaled(held, 1.002)):
        assert contradiction(offered, held, FIVE) == ""


@pytest.mark.parametrize(("factor", "said"), [(10, "10 times"), (0.1, "0.1 times"), (0.01, "0.01 times")])
def test_all_prices_many_times_what_they_were_contradict(factor: float, said: str) -> None:
    held = make_random_bars(DAY)
    assert contradiction(scaled(held, factor), held, FIVE) == f"its prices are {said} those stored"


@pytest.mark.parametrize("count", [-60, -12, -3, 2, 12, 60])
def test_a_clock_that_is_wrong_contradicts_and_is_named(count: int) -> None:
    held = make_random_bars(DAY)
    way = "ahead" if count > 0 else "behind"
    assert f"its clock is {5 * abs(count)} minutes {way}" in contradiction(later(held, count), held, FIVE)


@pytest.mark.parametrize("minutes", [37, -63])
def test_a_clock_that_is_off_by_no_whole_bars_contradicts_too(minutes: int) -> None:
    path = make_random_bars(DAY + 40)
    stamps = path["timestamp"].astype("int64").to_numpy() + 200_000
    prices, none = pd.Series(path["close"].to_numpy(), stamps), pd.Series(dtype="float64")

    def bars(shift: int) -> pd.DataFrame:
        found = bars_from_ticks(prices.set_axis(stamps + shift), none, FIVE, int(stamps[-1]))
        return found.assign(timestamp=pd.to_datetime(found.index, unit="ms", utc=True).as_unit("ms"))

    said = contradiction(bars(minutes * 60_000), bars(0), FIVE)
    near = {5 * (abs(minutes) // 5), 5 * (abs(minutes) // 5) + 5}
    assert said in {
        f"its clock is {count} minutes {'ahead' if minutes > 0 else 'behind'}: it has the stored moves at other times"
        for count in near
    }


def test_a_past_that_stands_still_or_is_another_one_contradicts() -> None:
    held = make_random_bars(DAY)
    other = scaled(make_random_bars(DAY, seed=1), held["close"].median() / 600)
    for offered in (held.assign(close=600.0), other):
        assert contradiction(offered, held, FIVE) == "its prices move otherwise than those stored"


def test_where_little_is_stored_the_source_is_believed() -> None:
    held = make_random_bars(MIN_MOVES)
    assert contradiction(later(held, 12), held, FIVE) == ""
    assert contradiction(scaled(held, 10), held.head(20), FIVE) == ""
    assert contradiction(held, held.head(0), FIVE) == ""


def test_what_was_frozen_when_it_was_stored_does_not_keep_the_truth_out() -> None:
    truth = make_random_bars(DAY)
    for count in (40, 150, DAY):
        held = truth.assign(close=np.r_[truth["close"][:-count], np.full(count, truth["close"].iloc[-count])])
        assert contradiction(truth, held, FIVE) == ""


class Says:
    """A source with these bars, at the end of the last."""

    name, asset, interval, simulated = "test", "bitcoin", FIVE, False

    def __init__(self, bars: pd.DataFrame) -> None:
        self.all = bars

    def now(self):
        return self.all["timestamp"].iloc[-1].to_pydatetime() + FIVE.delta

    def bars(self, start, end):
        return self.all[(self.all["timestamp"] >= start) & (self.all["timestamp"] < end)].reset_index(drop=True)

    def quote(self):
        raise SourceAnswerError("none")


def test_of_an_answer_that_contradicts_nothing_is_stored() -> None:
    store = MemoryStore(make_random_bars(DAY))
    before = store.bars.copy()
    with pytest.raises(SourceAnswerError, match=r"test contradicts .* 10 times those stored\. None of it was stored"):
        ingest(Says(scaled(make_random_bars(DAY + 3), 10)), store, history=timedelta(days=1))
    pd.testing.assert_frame_equal(store.bars, before)


def test_the_truth_is_believed_again_within_a_day_of_a_lie_that_was_stored() -> None:
    truth = make_random_bars(3 * DAY)
    store, refused = MemoryStore(scaled(truth.head(DAY), 10)), 0
    for count in range(DAY + 1, 2 * DAY + 1, 6):
        try:
            ingest(Says(truth.head(count)), store, history=timedelta(days=1))
        except SourceAnswerError:
            refused = count - DAY
    assert 0 < refused < DAY
    day = store.bars[store.bars["timestamp"] >= T0 + timedelta(days=1)]
    assert day["close"].tolist() == truth["close"][DAY : DAY + len(day)].tolist()


@pytest.mark.market_data
def test_coingecko_a_day_later_agrees_with_itself(market_data: Path) -> None:
    days = []
    for number in (0, 1):
        path = market_data / "coingecko" / f"minutely_historical_prices_for_one_coin__{number}_200.json"
        recorded = json.loads(path.read_text())
        prices = pd.Series(dict(map(tuple, recorded["body"]["prices"]))).sort_index()
        now_ms = round(parsedate_to_datetime(recorded["recorded_at"]).timestamp() * 1000)
        bars = bars_from_ticks(prices, pd.Series(dtype="float64"), FIVE, now_ms)
        days.append(bars.assign(timestamp=pd.to_datetime(bars.index, unit="ms", utc=True).as_unit("ms")))
    first, second = days
    assert len(first.merge(second, on="timestamp")) > MIN_MOVES
    assert contradiction(second, first, FIVE) == ""
    assert "12 times" in contradiction(second.assign(close=second["close"] * 12), first, FIVE)


@pytest.mark.market_data
def test_on_real_days_an_hour_off_is_noticed_and_the_truth_never_refused(market_data: Path) -> None:
    rows = pd.read_parquet(market_data / "binance_btcusdt_5m_2017_2025h1.parquet", columns=["timestamp", "close"])
    rows["timestamp"] = pd.to_datetime(rows["timestamp"], unit="ms", utc=True).astype("datetime64[ms, UTC]")
    noise, missed = np.random.default_rng(0), 0
    begins = noise.integers(100_000, len(rows) - 2 * DAY, 60)
    for begin in begins:
        held = rows.iloc[begin : begin + DAY]
        offered = rows.iloc[begin + 6 : begin + 6 + DAY]
        assert (
            contradiction(offered.assign(close=offered["close"] * noise.normal(1.001, 0.0002, DAY)), held, FIVE) == ""
        )
        for bars in (-12, 12):
            missed += f"{60} minutes" not in contradiction(later(offered, bars), held, FIVE)
    assert missed <= 2
