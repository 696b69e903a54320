"""The concept test: what wagers against forecasts come to, when they count, and how often they are right or wrong."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from benchmarks.bench_concept import highest
from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.config import ConceptSettings
from cryptosentinel.drift import CHALLENGERS, Concept, check_concept
from cryptosentinel.drift.concept import MIDDLE_TOLERANCE, P_UP_TOLERANCE, SHARES, WIDTH_TOLERANCE, log_gains
from tests.builders import FIVE, T0
from tests.drift.concept_builders import HORIZON, NORMAL, SIZE, forecasts, overlapping

RULES = ConceptSettings()
# `HYPOTHESIS_PROFILE=thorough` has many more weeks of sound forecasts, which takes a minute.
WEEKS = 5000 if settings.get_current_profile_name() == "thorough" else 50


def check(rows: pd.DataFrame, version: int = 4, rules: ConceptSettings = RULES) -> Concept:
    found = check_concept(rows, version, FIVE.delta, rules)
    assert found is not None
    return found


def seen_after(rows: pd.DataFrame, settled: int) -> pd.DataFrame:
    """The log when that many were settled: the newest were made at the close that settled the last of them."""
    log = rows.iloc[: settled + HORIZON].copy()
    log.loc[log.index[settled:], "actual_price"] = np.nan
    return log


class TestTheEvidence:
    @given(st.lists(st.floats(-4, 4), min_size=1, max_size=20), st.floats(-2, 2), st.floats(0, 1), st.data())
    @settings(max_examples=60)
    def test_is_the_sum_over_streams_of_what_each_stake_has_come_to(
        self, outcomes: list[float], middle: float, p_up: float, data: st.DataObject
    ) -> None:
        rows = forecasts(np.array(outcomes), middle=middle, p_up=p_up)
        settled = data.draw(st.integers(1, len(outcomes)))
        log = seen_after(rows, settled)
        counted = log[log["made_at"] < log["target_at"].iloc[settled - 1]]
        gains = np.exp(log_gains(counted))
        # Slow and plain: each stake by itself, from the forecast before which it is laid to the last of its stream.
        stakes = [
            share * np.prod(gains[at::HORIZON, number])
            for at in range(len(counted))
            for number, share in enumerate(SHARES.values())
        ]
        assert check(log).evidence == pytest.approx(sum(stakes) / HORIZON, rel=1e-9)

    @given(st.floats(-3, 3), st.floats(0.001, 0.999), st.floats(0.2, 5))
    def test_no_wager_gains_on_average_while_the_forecast_is_right(
        self, middle: float, p_up: float, width: float
    ) -> None:
        edges = np.concatenate([[-8.0], NORMAL, [8.0]])
        for sided in (False, True):
            # An outcome in each bin, or below and above the price, with the probability that the forecast gives it.
            outcomes = np.array([-9.0, 9.0]) if sided else middle + width * (edges[:-1] + edges[1:]) / 2
            chances = np.array([1 - p_up, p_up]) if sided else np.diff([0.0, *PROBABILITIES, 1.0])
            gains = np.exp(log_gains(forecasts(outcomes, middle=middle, width=width, p_up=p_up)))
            for number, name in enumerate(CHALLENGERS):
                if ("coin" in name) is sided:
                    assert chances @ gains[:, number] <= 1 + 1e-9, name

    @given(
        st.floats(-2, 2),
        st.sampled_from([1 / WIDTH_TOLERANCE, 0.95, 1.0, 1.05, WIDTH_TOLERANCE]),
        st.floats(-MIDDLE_TOLERANCE, MIDDLE_TOLERANCE),
    )
    def test_nor_while_it_is_wrong_within_the_tolerance(self, middle: float, spread: float, off: float) -> None:
        edges = np.concatenate([[-8.0], NORMAL, [8.0]])
        outcomes = middle + (edges[:-1] + edges[1:]) / 2
        gains = np.exp(log_gains(forecasts(outcomes, middle=middle)))
        names = list(CHALLENGERS)
        wider = np.diff(norm.cdf(np.concatenate([[-np.inf], NORMAL, [np.inf]]) / spread))
        for name in ("narrow", "somewhat narrow", "wide"):
            assert wider @ gains[:, names.index(name)] <= 1 + 1e-9, name
        moved = np.diff(norm.cdf(np.concatenate([[-np.inf], NORMAL, [np.inf]]) - off))
        # Only as far as the price that stays: beyond, the forecast is right against this challenger all the more.
        if abs(middle) >= MIDDLE_TOLERANCE:
            for name in ("middle", "reversed"):
                assert moved @ gains[:, names.index(name)] <= 1 + 1e-9, name

    @given(st.floats(0.01, 0.99), st.floats(-P_UP_TOLERANCE, P_UP_TOLERANCE))
    def test_nor_while_p_up_is(self, p_up: float, off: float) -> None:
        gains = np.exp(log_gains(forecasts(np.array([-1.0, 1.0]), p_up=p_up)))
        risen = min(max(p_up + off, 0.0), 1.0)
        for name in ("coin", "reversed coin"):
            assert np.array([1 - risen, risen]) @ gains[:, list(CHALLENGERS).index(name)] <= 1 + 1e-9

    def test_a_challenger_gains_where_it_is_right(self) -> None:
        outcomes = overlapping(2000, seed=1)
        narrow = log_gains(forecasts(outcomes, width=0.5)).mean(axis=0)
        wide = log_gains(forecasts(outcomes, width=2.0)).mean(axis=0)
        noise = np.random.default_rng(0).normal(size=2000)
        middle = log_gains(forecasts(outcomes, middle=noise)).mean(axis=0)
        coin = log_gains(forecasts(outcomes, p_up=np.where(noise > 0, 0.9, 0.1))).mean(axis=0)
        flipped = log_gains(forecasts(outcomes, middle=-0.7 * outcomes)).mean(axis=0)
        against = log_gains(forecasts(outcomes, p_up=np.where(outcomes > 0, 0.2, 0.8))).mean(axis=0)
        best = [list(CHALLENGERS)[gains.argmax()] for gains in (narrow, wide, middle, coin, flipped, against)]
        assert best == ["narrow", "wide", "middle", "coin", "reversed", "reversed coin"]


class TestWhatCounts:
    def test_an_open_wager_counts_as_lost(self) -> None:
        rows = forecasts(overlapping(60), middle=1.0)
        log = seen_after(rows, 40)
        worst, settled = log_gains(log.iloc[40:41]), log.copy()
        every = [log_gains(rows.assign(actual_price=100 * np.exp(SIZE * score)).iloc[40:41]) for score in range(-9, 10)]
        assert worst == pytest.approx(np.min(every, axis=0))
        settled.loc[settled.index[40], "actual_price"] = rows["actual_price"].iloc[40]
        assert check(log).evidence <= check(settled.iloc[:46]).evidence

    def test_a_missed_forecast_counts_as_lost(self) -> None:
        log = seen_after(forecasts(overlapping(60), width=0.4), 50)
        missed = log.copy()
        missed.loc[20, "actual_price"] = np.nan
        assert check(missed).settled == check(log).settled - 1
        assert check(missed).evidence < check(log).evidence

    def test_forecasts_of_another_version_do_not_count(self) -> None:
        before, after = forecasts(overlapping(120), width=0.3, version=3), forecasts(overlapping(60, 1), version=4)
        shift = 120 * FIVE.delta
        after = after.assign(made_at=after["made_at"] + shift, target_at=after["target_at"] + shift)
        log = pd.concat([before, after], ignore_index=True)
        assert check(log) == check(after)
        assert check(log, version=3).evidence > 100 * check(log).evidence

    def test_the_random_walk_in_a_versions_name_does_not_count(self) -> None:
        log = forecasts(overlapping(60), width=0.3)
        cold = log["made_at"].dt.hour == 1
        assert check(log.assign(regime=np.where(cold, "unknown", "uptrend"))).settled == 48

    def test_a_forecast_without_quantiles_does_not_count(self) -> None:
        log = forecasts(overlapping(60))
        log.loc[3, "lower_50"] = np.nan
        assert check(log).settled == 59

    def test_nothing_settled_is_nothing_to_say(self) -> None:
        log = forecasts(np.full(6, np.nan))
        assert check_concept(log, 4, FIVE.delta, RULES) is None
        assert check_concept(log.iloc[:0], 4, FIVE.delta, RULES) is None

    def test_the_order_of_rows_does_not_matter(self) -> None:
        log = forecasts(overlapping(60), middle=1.0)
        assert check(log.sample(frac=1, random_state=0)) == check(log)

    def test_a_gap_leaves_streams_without_overlap(self) -> None:
        # Without the forecasts of half an hour and a bar, counting rows would put neighbours into one stream.
        log = forecasts(overlapping(60), width=0.4)
        gap = log.drop(index=range(20, 27))
        gains = np.exp(log_gains(gap))
        stream = gap.index.to_numpy() % HORIZON
        stakes = sum(
            share * np.prod(gains[(stream == stream[at]) & (np.arange(len(gap)) >= at), number])
            for at in range(len(gap))
            for number, share in enumerate(SHARES.values())
        )
        assert check(gap).evidence == pytest.approx(stakes / HORIZON, rel=1e-9)

    def test_quantiles_that_do_not_ascend_are_no_wager_on_the_middle(self) -> None:
        log = forecasts(overlapping(6), middle=2.0)
        log["upper_95"] = log["upper_90"]
        gains = log_gains(log)
        assert gains[:, :2] == pytest.approx(0)
        assert np.isfinite(gains).all()

    @pytest.mark.parametrize("p_up", [0.0, 1.0])
    def test_a_certain_rise_is_a_finite_wager(self, p_up: float) -> None:
        assert np.isfinite(log_gains(forecasts(overlapping(6), p_up=p_up))).all()


class TestTheLimit:
    def test_holds_for_the_time_that_is_looked_at(self) -> None:
        log = forecasts(overlapping(60))
        assert check(log).limit == pytest.approx(7 * 48 / 1e-4)
        assert check(log, rules=ConceptSettings(window_days=2, false_alarms=0.01)).limit == pytest.approx(2 * 48 / 0.01)

    def test_the_level_passes_one_as_the_evidence_passes_the_limit(self) -> None:
        log = forecasts(overlapping(400), middle=np.random.default_rng(1).normal(size=400))
        found = [check(seen_after(log, settled)) for settled in range(20, 390, 10)]
        assert [each.level > 1 for each in found] == [each.drifted for each in found]
        assert {each.drifted for each in found} == {True, False}
        assert "the price that stays is a better middle" in found[-1].sentence()
        assert "do what they say (" in found[0].sentence()

    def test_much_evidence_does_not_overflow(self) -> None:
        found = check(forecasts(np.full(2000, -6.0), width=0.2, middle=3.0))
        assert found.drifted
        assert math.isfinite(found.evidence)
        assert sum(found.by.values()) == pytest.approx(1)


def caught(name: str, seed: int) -> int:
    """After how many spoilt forecasts, which follow half a day of sound ones, the alarm comes; 999: not by 200."""
    rng = np.random.default_rng([seed, 7])
    outcomes, sound, count = overlapping(144 + 206, seed), 144, 350
    spoilt = np.arange(count) >= sound
    noise = rng.normal(size=count)
    log = {
        "noise": lambda: forecasts(outcomes, middle=np.where(spoilt, noise, 0.0)),
        "flipped": lambda: forecasts(outcomes, middle=np.where(spoilt, -0.5 * outcomes, 0.0)),
        "narrow": lambda: pd.concat([forecasts(outcomes).iloc[:sound], forecasts(outcomes, width=1 / 3).iloc[sound:]]),
        "coin": lambda: forecasts(outcomes, p_up=np.where(spoilt, np.where(noise > 0, 0.9, 0.1), 0.5)),
        "nothing": lambda: forecasts(outcomes),
    }[name]()
    assert not check(seen_after(log, sound)).drifted
    return next((at for at in range(20, 201, 20) if check(seen_after(log, sound + at)).drifted), 999)


class TestPower:
    @pytest.mark.parametrize("plant", ["noise", "flipped", "narrow", "coin"])
    def test_useless_forecasts_are_caught_within_200(self, plant: str) -> None:
        # With a power of 90% it is so many or more with a chance of 96%; benchmarks/results/concept.md has more runs.
        assert sum(caught(plant, seed) <= 200 for seed in range(40)) >= 33

    def test_sound_ones_are_not(self) -> None:
        assert [caught("nothing", seed) for seed in range(10)] == [999] * 10


@pytest.mark.parametrize("case", ["sound", "at the edge of right"])
def test_the_evidence_of_a_week_seldom_passes_limits_that_are_low_enough_to_see_it(case: str) -> None:
    # The bound holds for every limit; at the real one it would take 10,000 weeks to see anything.
    top = highest(case, WEEKS)
    for chance in (0.5, 0.1, 0.01):
        assert np.mean(top > 336 / chance) <= chance


def test_the_interval_may_be_another() -> None:
    log = forecasts(overlapping(60))
    hours = log.assign(
        made_at=T0 + (log["made_at"] - T0) * 12, target_at=T0 + (log["made_at"] - T0) * 12 + timedelta(hours=6)
    )
    found = check_concept(hours, 4, timedelta(hours=1), RULES)
    assert found is not None
    assert found.evidence == pytest.approx(check(log).evidence)
    assert found.limit == pytest.approx(7 * 4 / 1e-4)
