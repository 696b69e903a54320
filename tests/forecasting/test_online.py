"""Quantiles that follow settled forecasts: what they see, where they begin, and one pass for what each step does."""

from __future__ import annotations

from datetime import UTC, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.config import ForecastSettings
from cryptosentinel.forecasting.online import (
    SETTLED_COLUMNS,
    Adjusted,
    Array,
    Settled,
    Times,
    calibrate,
    calibrate_rows,
)
from tests.builders import T0

FIVE, HORIZON = np.timedelta64(5, "m"), timedelta(minutes=30)
START = np.datetime64(T0.replace(tzinfo=None), "ms")
NORMAL = np.array([NormalDist().inv_cdf(p) for p in PROBABILITIES])
LOWER_95, LOWER_80, MEDIAN, UPPER_80, UPPER_95 = 0, 2, 4, 6, 8


def following(*, days: float = 30.0, rate: float = 0.0005) -> ForecastSettings:
    return ForecastSettings(calibration_days=days, adaptation_rate=rate)


def every_bar(count: int) -> Times:
    return START + np.arange(count) * FIVE


def settled(scores: Array, made_at: Times | None = None, *, missed_80: int = 0, missed_95: int = 0) -> Settled:
    """Settled forecasts of which the first few were missed."""
    number = np.arange(len(scores))
    made_at = every_bar(len(scores)) if made_at is None else made_at
    return Settled(made_at, np.asarray(scores, float), number < missed_80, number < missed_95)


def after(rows: Settled, how: ForecastSettings | None = None, own: Array = NORMAL) -> Adjusted:
    """The adjustment at the moment at which the last of the rows, as they are ordered, is settled."""
    return calibrate(own, rows, utc(rows.made_at.max()) + HORIZON, HORIZON, how or following())


def utc(time: np.datetime64) -> pd.Timestamp:
    return pd.Timestamp(time).tz_localize(UTC)


def bar_by_bar(own: Array, made_at: Times, scores: Array, how: ForecastSettings) -> Array:
    """What a predict step that is run at every bar issues: the slow and obvious way."""
    issued = np.empty((len(scores), len(PROBABILITIES)))
    for row, time in enumerate(made_at):
        known = np.flatnonzero(np.isfinite(scores[:row]))
        score, quantiles = scores[known], issued[known]
        rows = Settled(
            made_at[known],
            score,
            (score < quantiles[:, LOWER_80]) | (score > quantiles[:, UPPER_80]),
            (score < quantiles[:, LOWER_95]) | (score > quantiles[:, UPPER_95]),
        )
        own_row = np.broadcast_to(own, issued.shape)[row]
        issued[row] = calibrate(own_row, rows, utc(time), HORIZON, how).quantiles
    return issued


@st.composite
def markets(draw: st.DrawFn) -> tuple[Times, Array]:
    """Times with gaps, and scores with ties, outliers and unknown outcomes."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 7, 60]), min_size=1, max_size=80))
    noise = np.random.default_rng(draw(st.integers(0, 2**16)))
    scores = noise.standard_t(3, len(steps)).round(draw(st.sampled_from([0, 1, 12])))
    scores[noise.random(len(steps)) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
    return START + np.cumsum(steps) * FIVE, scores


class TestOnePass:
    @given(markets(), st.sampled_from([0.03, 0.1, 30.0]), st.sampled_from([0.0, 0.0005, 0.05]), st.booleans())
    @settings(max_examples=60)
    def test_gives_to_the_last_bit_what_each_step_gives(
        self, market: tuple[Times, Array], days: float, rate: float, several_bundles: bool
    ) -> None:
        made_at, scores = market
        own = NORMAL * np.linspace(0.5, 2, len(scores))[:, None] if several_bundles else NORMAL
        how = following(days=days, rate=rate)
        np.testing.assert_array_equal(
            calibrate_rows(own, made_at, scores, HORIZON, how), bar_by_bar(own, made_at, scores, how)
        )

    @pytest.mark.market_data
    def test_gives_it_for_a_real_market_with_a_gap(self, market_data: Path) -> None:
        bars = pd.read_parquet(market_data / "binance_btcusdt_5m_2017_2025h1.parquet")
        times = pd.to_datetime(bars["timestamp"], unit="ms")
        bars = bars.set_index(times)["2018-02-07":"2018-02-12"]["close"]  # type: ignore[misc]
        assert (np.diff(bars.index) > FIVE).any()
        made_at, close = bars.index.to_numpy() + FIVE, np.log(bars.to_numpy())
        later = bars.reindex(bars.index + HORIZON).to_numpy()
        sigma = pd.Series(close).diff().ewm(halflife=12).std().to_numpy() * np.sqrt(6)
        scores = (np.log(later) - close) / sigma
        how = following(days=1.5, rate=0.005)
        quick = calibrate_rows(NORMAL, made_at, scores, HORIZON, how)
        np.testing.assert_array_equal(quick, bar_by_bar(NORMAL, made_at, scores, how))
        assert len(quick) > 1000

    def test_of_no_rows_is_no_rows(self) -> None:
        assert calibrate_rows(NORMAL, every_bar(0), np.empty(0), HORIZON, following()).shape == (0, 9)


class TestWhatARowSees:
    @given(markets(), st.data())
    def test_is_never_an_outcome_that_is_not_known_yet(self, market: tuple[Times, Array], data: st.DataObject) -> None:
        made_at, scores = market
        changed = data.draw(st.integers(0, len(scores) - 1))
        other = scores.copy()
        other[changed] = data.draw(st.sampled_from([np.nan, -9.0, 9.0]))
        how = following(days=0.2, rate=0.01)
        before = made_at < made_at[changed] + HORIZON
        one, two = (calibrate_rows(NORMAL, made_at, each, HORIZON, how) for each in (scores, other))
        np.testing.assert_array_equal(one[before], two[before])

    def test_is_an_outcome_as_soon_as_it_is_known(self) -> None:
        scores = np.zeros(20)
        scores[3] = 5.0
        issued = calibrate_rows(NORMAL, every_bar(20), scores, HORIZON, following())
        changed = (issued != calibrate_rows(NORMAL, every_bar(20), np.zeros(20), HORIZON, following())).any(axis=1)
        assert np.flatnonzero(changed).tolist() == list(range(3 + 6, 20))

    def test_is_the_window_and_nothing_older(self) -> None:
        rows, how = settled(np.arange(400.0)), following(days=1)
        assert after(rows, how).count == 288
        newest = settled(rows.scores[-288:], rows.made_at[-288:])
        np.testing.assert_array_equal(after(rows, how).quantiles, after(newest, how).quantiles)

    def test_does_not_depend_on_the_order_of_the_log(self) -> None:
        scores = np.random.default_rng(0).normal(size=300)
        rows = settled(scores, missed_80=70, missed_95=9)
        shuffle = np.random.default_rng(1).permutation(300)
        mixed = Settled(*(values[shuffle] for values in (rows.made_at, rows.scores, rows.missed_80, rows.missed_95)))
        np.testing.assert_array_equal(after(mixed).quantiles, after(rows).quantiles)
        assert after(mixed).level_80 == after(rows).level_80


class TestBeginning:
    def test_without_settled_forecasts_the_quantiles_are_the_bundles_own(self) -> None:
        answer = calibrate(NORMAL, settled(np.empty(0)), T0, HORIZON, following())
        assert answer.quantiles.tolist() == NORMAL.tolist()
        assert (answer.count, answer.weight, answer.level_80, answer.level_95) == (0, 0.0, 0.2, 0.05)
        assert np.isnan(answer.miss_rate_80)

    def test_they_are_left_smoothly(self) -> None:
        own, scores = NORMAL * 3, np.random.default_rng(0).normal(size=3000)
        spread = calibrate_rows(own, every_bar(3000), scores, HORIZON, following(rate=0))[:, UPPER_80]
        assert (spread[:7] == own[UPPER_80]).all()
        assert np.abs(np.diff(spread)).max() < 0.1 * spread[0]
        assert spread[300] == pytest.approx((spread[0] + NORMAL[UPPER_80]) / 2, rel=0.1)  # 50 independent outcomes
        assert spread[-1] == pytest.approx(NORMAL[UPPER_80], rel=0.25)

    def test_outcomes_that_overlap_count_once(self) -> None:
        # T0 is a multiple of the horizon.
        assert after(settled(np.ones(6))).weight == pytest.approx(1 / 51)
        assert after(settled(np.ones(7))).weight == pytest.approx(2 / 52)
        apart = START + np.arange(7) * np.timedelta64(1, "h")
        assert after(settled(np.ones(7), apart)).weight == pytest.approx(7 / 57)

    @pytest.mark.parametrize("score", [-40.0, 0.0, 40.0])
    def test_one_outcome_does_not_narrow_the_tails(self, score: float) -> None:
        quantiles = after(settled(np.array([score])), following(rate=0)).quantiles
        assert quantiles[LOWER_95] <= NORMAL[LOWER_95] + 1e-12
        assert quantiles[UPPER_95] >= NORMAL[UPPER_95] - 1e-12


class TestShape:
    def test_trailing_quantiles_are_ranks_of_one_more_than_there_are_rounded_outwards(self) -> None:
        apart = START + np.arange(99) * np.timedelta64(1, "h")
        answer = after(settled(np.arange(1.0, 100), apart), following(rate=0))
        trailing = (answer.quantiles - (1 - answer.weight) * NORMAL) / answer.weight
        assert answer.weight == 99 / 149
        assert trailing == pytest.approx([2, 5, 10, 25, 50, 75, 90, 95, 98])

    def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle(self) -> None:
        answer = after(settled(np.arange(1.0, 9)))
        assert answer.quantiles[MEDIAN] == pytest.approx(4.5 * answer.weight)

    def test_the_bundles_own_quantiles_are_met_exactly_whatever_their_shape(self) -> None:
        own = np.array([-9.0, -4, -3, -1, 0, 0.1, 5, 6, 20])
        answer = after(settled(np.zeros(600)), following(rate=0), own)
        assert answer.quantiles == pytest.approx((1 - answer.weight) * own)

    def test_each_tail_goes_its_own_way(self) -> None:
        scores = np.random.default_rng(0).exponential(size=8640)
        answer = after(settled(scores), following(rate=0))
        assert answer.quantiles[LOWER_95] == pytest.approx(0, abs=0.05)
        assert answer.quantiles[UPPER_95] == pytest.approx(3.7, abs=0.2)

    @given(
        st.lists(st.floats(-1e3, 1e3), max_size=60),
        st.lists(st.floats(-10, 10), min_size=9, max_size=9),
        st.floats(0, 0.5),
        st.integers(0, 60),
        st.integers(0, 60),
    )
    def test_quantiles_are_ordered(
        self, scores: list[float], own: list[float], rate: float, missed_80: int, missed_95: int
    ) -> None:
        rows = settled(np.array(scores), missed_80=missed_80, missed_95=missed_95)
        now = T0 + timedelta(days=1)
        quantiles = calibrate(np.sort(own), rows, now, HORIZON, following(rate=rate)).quantiles
        assert all(left <= right + 1e-9 for left, right in pairwise(quantiles))

    def test_a_level_is_covered_where_outcomes_are_alike(self) -> None:
        scores = np.random.default_rng(0).standard_t(4, 20_000)
        issued = calibrate_rows(NORMAL, every_bar(20_000), scores, HORIZON, following(days=7))[3000:]
        below = (scores[3000:, None] < issued).mean(axis=0)
        assert below == pytest.approx(PROBABILITIES, abs=0.008)

    @pytest.mark.parametrize("rate", [0.0, 0.0005])
    def test_a_market_that_grows_wilder_is_followed(self, rate: float) -> None:
        scores = np.random.default_rng(0).normal(size=26_000)
        scores[8000:] *= 2
        issued = calibrate_rows(NORMAL, every_bar(26_000), scores, HORIZON, following(rate=rate))
        inside = (scores >= issued[:, LOWER_80]) & (scores <= issued[:, UPPER_80])
        assert inside[4000:8000].mean() == pytest.approx(0.8, abs=0.02)
        assert inside[8000:8300].mean() < 0.6
        assert inside[17_000:].mean() == pytest.approx(0.8, abs=0.02)
        assert issued[-1, UPPER_80] == pytest.approx(2 * issued[7999, UPPER_80], rel=0.1)

    def test_adaptation_follows_sooner(self) -> None:
        scores = np.random.default_rng(0).normal(size=12_000)
        scores[8000:] *= 1.5
        off, on = (
            calibrate_rows(NORMAL, every_bar(12_000), scores, HORIZON, following(rate=rate)) for rate in (0, 0.0005)
        )
        held = [(np.abs(scores) <= issued[:, UPPER_80])[8000:].mean() for issued in (off, on)]
        assert held[0] + 0.02 < held[1] < 0.82


class TestLevels:
    def test_follow_the_recursion_of_adaptive_conformal_inference(self) -> None:
        level_80, level_95 = 0.2, 0.05
        rows = settled(np.zeros(500), missed_80=130, missed_95=20)
        for missed_80, missed_95 in zip(rows.missed_80, rows.missed_95, strict=True):
            level_80 += 0.002 * (0.2 - missed_80)
            level_95 += 0.002 * (0.05 - missed_95)
        answer = after(rows, following(rate=0.002))
        assert (answer.level_80, answer.level_95) == pytest.approx((level_80, level_95))
        assert (answer.miss_rate_80, answer.miss_rate_95) == (130 / 500, 20 / 500)

    def test_stay_where_they_are_at_rate_zero(self) -> None:
        answer = after(settled(np.zeros(500), missed_80=400, missed_95=400), following(rate=0))
        assert (answer.level_80, answer.level_95) == (0.2, 0.05)

    def test_stay_within_limits_and_one_interval_inside_the_other(self) -> None:
        wild = following(rate=0.5)
        every_miss = after(settled(np.zeros(500), missed_80=500, missed_95=500), wild)
        assert (every_miss.level_80, every_miss.level_95) == (0.05, 0.005)
        no_miss = after(settled(np.zeros(500)), wild)
        assert (no_miss.level_80, no_miss.level_95) == (0.5, 0.2)
        contrary = after(settled(np.zeros(500), missed_80=500), wild)
        assert (contrary.level_80, contrary.level_95) == (0.05, 0.025)

    def test_move_all_quantiles_but_the_median(self) -> None:
        scores = np.random.default_rng(0).normal(size=8000)
        calm, missing = (
            after(settled(scores, missed_80=1600, missed_95=400)),
            after(settled(scores, missed_80=1800, missed_95=480)),
        )
        assert (calm.level_80, calm.level_95) == pytest.approx((0.2, 0.05))
        assert missing.level_80 == pytest.approx(0.2 - 0.0005 * 200)
        wider = missing.quantiles - calm.quantiles
        assert (wider[:MEDIAN] < 0).all()
        assert wider[MEDIAN] == 0
        assert (wider[MEDIAN + 1 :] > 0).all()

    def test_reach_beyond_the_bundles_own_quantiles_on_a_normal_plot(self) -> None:
        rows = settled(np.zeros(8640), missed_95=432 + 80)  # a level of 0.01
        answer = after(rows)
        own = (answer.quantiles[LOWER_95] - 0.0) / (1 - answer.weight)
        assert answer.level_95 == pytest.approx(0.01)
        assert own == pytest.approx(NormalDist().inv_cdf(0.005))

    def test_a_row_that_is_missed_lowers_the_level_once_it_is_settled(self) -> None:
        rate = following(rate=0.01)
        hit, missed = (np.zeros(30), np.r_[9.0, np.zeros(29)])
        # The same scores enter either way but for the first: compare with a score that is as far out, and not missed.
        wide = np.tile(NORMAL, (30, 1))
        wide[0] = NORMAL * 100
        as_missed = calibrate_rows(NORMAL, every_bar(30), missed, HORIZON, rate)
        as_held = calibrate_rows(wide, every_bar(30), missed, HORIZON, rate)
        assert as_missed[6, UPPER_80] > as_held[6, UPPER_80] > 0
        assert as_held[5].tolist() == calibrate_rows(NORMAL, every_bar(30), hit, HORIZON, rate)[5].tolist()


class TestReadingTheLog:
    def log(self, **changes: object) -> pd.DataFrame:
        made_at = pd.Timestamp(T0)
        row = {
            "made_at": made_at,
            "target_at": made_at + HORIZON,
            "price": 100.0,
            "predicted_price": 101.0,
            "sigma": 0.02,
            "lower_95": 97.0,
            "lower_80": 99.0,
            "upper_80": 103.0,
            "upper_95": 105.0,
            "actual_price": 104.0,
        }
        return pd.DataFrame([row | changes])[list(SETTLED_COLUMNS)]

    def test_a_score_is_the_error_in_units_of_the_forecasts_volatility(self) -> None:
        rows = Settled.from_log(self.log(), HORIZON)
        expected = (np.log(104 / 100) - np.log(101 / 100)) / 0.02
        assert rows.scores == pytest.approx([expected])
        assert rows.made_at.tolist() == every_bar(1).astype(rows.made_at.dtype).tolist()

    @pytest.mark.parametrize(
        ("actual", "missed"),
        [
            (96.9, (1, 1)),
            (97.0, (1, 0)),
            (98.9, (1, 0)),
            (99.0, (0, 0)),
            (103.0, (0, 0)),
            (104.0, (1, 0)),
            (106, (1, 1)),
        ],
    )
    def test_an_outcome_outside_of_the_issued_interval_is_a_miss(self, actual: float, missed: tuple[int, int]) -> None:
        rows = Settled.from_log(self.log(actual_price=actual), HORIZON)
        assert (rows.missed_80.item(), rows.missed_95.item()) == missed

    @pytest.mark.parametrize(
        "changes",
        [
            {"actual_price": None},
            {"sigma": None},
            {"sigma": 0.0},
            {"target_at": pd.Timestamp(T0) + timedelta(minutes=60)},
        ],
        ids=["unsettled", "of an earlier release", "no spread", "another horizon"],
    )
    def test_what_cannot_be_compared_is_left_out(self, changes: dict[str, object]) -> None:
        both = pd.concat([self.log(), self.log(**changes).astype(self.log().dtypes)])
        assert len(Settled.from_log(both, HORIZON).scores) == 1
