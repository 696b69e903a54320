"""Forecasts are held against what happened, once, and in whatever steps time passes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from cryptosentinel.config import ForecastSettings
from cryptosentinel.predicting.settling import outcomes, revise_settled, settle_due
from cryptosentinel.storage import Storage
from tests.builders import FIVE, MemoryStore, at, make_closing_bars, open_delta
from tests.predicting.builders import MemoryLog, forecast

SETTINGS = ForecastSettings()


def settle(
    pending: pd.DataFrame, closes: Mapping[int, float], *, now: int, settings: ForecastSettings = SETTINGS
) -> pd.DataFrame:
    """What is settled when bar `now` opens; `closes` by when: {6: 101.0} is a close at `at(6)`."""
    bars = make_closing_bars({number - 1: close for number, close in closes.items()})
    return outcomes(pending, bars, FIVE, settings, now=at(now))


def outcome(actual: float, **forecast_of: object) -> str:
    return settle(forecast(0, **forecast_of), {6: actual}, now=6)["outcome"].item()


def test_the_close_at_the_target_is_the_actual_price() -> None:
    row = settle(forecast(0), {5: 105.0, 6: 102.0, 7: 90.0}, now=7).iloc[0]
    assert (row["actual_price"], row["outcome"]) == (102.0, "correct")
    assert row["settled_at"] == at(7)


def test_a_forecast_is_not_settled_before_its_target() -> None:
    assert settle(forecast(0), {4: 101.0, 5: 102.0}, now=5).empty


@pytest.mark.parametrize(
    ("closes", "actual"),
    [({5: 101.0, 7: 103.0}, 101.0), ({4: 101.0, 7: 103.0}, 103.0), ({5: 101.0, 9: 103.0}, 101.0)],
    ids=["of two as near the earlier", "the later is nearer", "the earlier is nearer"],
)
def test_where_the_close_at_the_target_is_missing_the_nearest_within_tolerance_counts(
    closes: dict[int, float], actual: float
) -> None:
    assert settle(forecast(0), closes, now=9)["actual_price"].item() == actual


def test_a_close_beyond_the_tolerance_does_not_count() -> None:
    assert settle(forecast(0), {4: 101.0, 8: 103.0}, now=8).empty
    wider = ForecastSettings(settle_tolerance_s=600)
    assert settle(forecast(0), {3: 101.0, 8: 103.0}, now=8, settings=wider)["actual_price"].item() == 103.0


def test_an_earlier_close_is_not_used_before_a_later_one_is_known() -> None:
    assert settle(forecast(0), {5: 101.0}, now=6).empty
    assert settle(forecast(0), {5: 101.0, 8: 103.0}, now=8)["actual_price"].item() == 101.0


def test_an_earlier_close_is_used_once_no_later_one_can_be_waited_for() -> None:
    assert settle(forecast(0), {5: 101.0}, now=17).empty
    assert settle(forecast(0), {5: 101.0}, now=18)["outcome"].item() == "correct"


def test_a_forecast_whose_price_never_comes_is_missed_after_the_deadline() -> None:
    assert settle(forecast(0), {3: 101.0}, now=17).empty
    row = settle(forecast(0), {3: 101.0}, now=18).iloc[0]
    assert row["outcome"] == "missed"
    assert np.isnan(row["actual_price"])
    assert np.isnan(row["error"])
    assert settle(forecast(0), {}, now=18)["outcome"].item() == "missed"


def test_a_price_that_may_still_come_within_the_tolerance_is_not_missed() -> None:
    impatient = ForecastSettings(missed_after_s=0, settle_tolerance_s=600)
    assert settle(forecast(0), {4: 99.0}, now=7, settings=impatient).empty
    assert settle(forecast(0), {4: 99.0, 7: 103.0}, now=7, settings=impatient)["actual_price"].item() == 103.0


@pytest.mark.parametrize(
    ("direction", "actual", "expected"),
    [
        ("up", 100.2, "correct"),
        ("up", 99.8, "incorrect"),
        ("down", 99.8, "correct"),
        ("down", 100.2, "incorrect"),
        ("flat", 100.2, "incorrect"),
        ("flat", 99.8, "incorrect"),
        *((direction, actual, "flat") for direction in ("up", "down", "flat") for actual in (100.0, 100.09, 99.91)),
    ],
)
def test_an_outcome_is_by_side_and_small_moves_are_flat(direction: str, actual: float, expected: str) -> None:
    assert outcome(actual, direction=direction) == expected


@pytest.mark.parametrize("price", [1_000.0, 600.0, 50_000.0])
def test_a_move_of_exactly_a_thousandth_is_a_move(price: float) -> None:
    assert outcome(price + price / 1000, price=price) == "correct"
    assert outcome(price - price / 1000, price=price) == "incorrect"
    assert outcome(price + price * 0.000999, price=price) == "flat"


def test_the_error_is_positive_where_the_forecast_was_too_high() -> None:
    assert settle(forecast(0, predicted=101.0), {6: 99.0}, now=6)["error"].item() == 2.0
    assert settle(forecast(0, predicted=101.0), {6: 104.0}, now=6)["error"].item() == -3.0


def test_several_are_settled_at_once_and_the_others_left() -> None:
    pending = pd.concat([forecast(3), forecast(0), forecast(1), forecast(2)], ignore_index=True)
    done = settle(pending, {6: 101.0, 7: 99.0}, now=8)
    assert done[["forecast_id", "outcome"]].to_numpy().tolist() == [["made-0", "correct"], ["made-1", "incorrect"]]


class TestInTheLog:
    def log(self, folder: Path, *made: int, closes: Mapping[int, float]) -> Storage:
        storage = open_delta(folder)
        storage.log.write_forecasts(pd.concat([forecast(number) for number in made], ignore_index=True))
        storage.features.write_bars(make_closing_bars({number - 1: close for number, close in closes.items()}))
        return storage

    def settle(self, storage: Storage, now: int) -> pd.DataFrame:
        return settle_due(storage.log, storage.features, "bitcoin", FIVE, SETTINGS, now=at(now))

    def test_what_is_due_is_settled_and_the_rest_stays_pending(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, 1, 2, closes={6: 102.0, 7: 99.0})
        assert self.settle(storage, 7)["forecast_id"].tolist() == ["made-0", "made-1"]
        read = storage.log.read_forecasts("bitcoin")
        assert read["outcome"].tolist() == ["correct", "incorrect", None]
        assert read["actual_price"].tolist()[:2] == [102.0, 99.0]
        assert read["error"].tolist()[:2] == [-1.0, 2.0]
        assert read["settled_at"].tolist()[:2] == [at(7)] * 2

    def test_settling_again_changes_nothing(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, closes={6: 102.0})
        self.settle(storage, 6)
        before = storage.log.read_forecasts("bitcoin")
        storage.features.write_bars(make_closing_bars({5: 90.0}))  # the market revises its bar
        assert self.settle(storage, 9).empty
        assert_frame_equal(storage.log.read_forecasts("bitcoin"), before)

    def revise(self, storage: Storage, now: int) -> pd.DataFrame:
        return revise_settled(storage.log, storage.features, "bitcoin", FIVE, SETTINGS, now=at(now))

    def test_an_outcome_follows_the_price_that_its_source_revises(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, 1, closes={6: 102.0, 7: 102.0})
        self.settle(storage, 7)
        assert self.revise(storage, 8).empty
        storage.features.write_bars(make_closing_bars({5: 90.0}))
        assert self.revise(storage, 9)["forecast_id"].tolist() == ["made-0"]
        read = storage.log.read_forecasts("bitcoin")
        assert read["outcome"].tolist() == ["incorrect", "correct"]
        assert read["actual_price"].tolist() == [90.0, 102.0]
        assert read["error"].tolist() == [11.0, -1.0]
        assert read["settled_at"].tolist() == [at(7)] * 2
        assert self.revise(storage, 10).empty

    def test_what_was_missed_or_is_not_settled_is_not_revised(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, 40, closes={30: 102.0})
        assert self.settle(storage, 30)["outcome"].tolist() == ["missed"]
        storage.features.write_bars(make_closing_bars({5: 90.0, 45: 90.0}))  # it came after all
        before = storage.log.read_forecasts("bitcoin")
        assert self.revise(storage, 46).empty
        storage.log.revise(before.assign(actual_price=50.0, outcome="correct"))
        assert_frame_equal(storage.log.read_forecasts("bitcoin"), before)

    def test_what_is_older_than_sources_revise_is_let_be(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, closes={6: 102.0})
        self.settle(storage, 6)
        storage.features.write_bars(make_closing_bars({5: 90.0}))
        assert self.revise(storage, 6 + 288).empty
        assert self.revise(storage, 5 + 288)["actual_price"].tolist() == [90.0]

    def test_nothing_due_is_nothing_settled(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, closes={1: 100.0})
        assert self.settle(storage, 5).empty
        assert open_delta(tmp_path / "empty").log.read_forecasts("bitcoin").empty
        assert self.settle(open_delta(tmp_path / "empty"), 5).empty

    def test_a_gap_right_behind_the_target_is_over_with_the_first_bar_after_it(self, tmp_path: Path) -> None:
        storage = self.log(tmp_path, 0, closes={5: 101.0, 12: 90.0})
        assert self.settle(storage, 12)["actual_price"].tolist() == [101.0]

    def test_after_a_long_time_away_everything_is_settled_at_once(self, tmp_path: Path) -> None:
        closes = {number: 100.0 + number for number in range(6, 9)} | {900: 90.0}
        storage = self.log(tmp_path, 0, 1, 2, 30, closes=closes)
        assert self.settle(storage, 900)["outcome"].tolist() == ["correct"] * 3 + ["missed"]


@hypothesis.settings(max_examples=25)
@given(
    made=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from([99.95, 100.0, 101.0]), st.sampled_from(["up", "down", "flat"])),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    ),
    closes=st.dictionaries(st.integers(1, 60), st.floats(99.5, 101.5), max_size=30),
    steps=st.lists(st.integers(1, 20), max_size=6),
    tolerance_s=st.sampled_from([0, 300, 600, 900]),
    missed_after_s=st.sampled_from([0, 600, 3600]),
)
def test_settling_in_steps_is_settling_once_at_the_end(
    made: list[tuple[int, float, str]],
    closes: dict[int, float],
    steps: list[int],
    tolerance_s: int,
    missed_after_s: int,
) -> None:
    settings = ForecastSettings(settle_tolerance_s=tolerance_s, missed_after_s=missed_after_s)
    pending = pd.concat([forecast(n, price=price, direction=way) for n, price, way in made], ignore_index=True)
    end = 60
    clock = [number for number in np.cumsum(steps).tolist() if number < end]

    def settled_at(times: list[int]) -> pd.DataFrame:
        log = MemoryLog(pending)
        for now in times:
            known = {number - 1: close for number, close in sorted(closes.items()) if number <= now}
            store = MemoryStore(make_closing_bars(known)) if known else MemoryStore()
            settle_due(log, store, "bitcoin", FIVE, settings, now=at(now))
        return log.read_forecasts("bitcoin")[["forecast_id", "outcome", "actual_price", "error"]]

    in_steps, at_once = settled_at([*clock, end]), settled_at([end])
    assert_frame_equal(in_steps, at_once)
    assert at_once["outcome"].notna().all()


@given(
    closes=st.dictionaries(st.integers(1, 40), st.floats(99.0, 102.0), min_size=1, max_size=20),
    tolerance_s=st.sampled_from([0, 300, 600, 900]),
)
def test_the_actual_price_is_what_a_search_by_hand_finds(closes: dict[int, float], tolerance_s: int) -> None:
    settings = ForecastSettings(settle_tolerance_s=tolerance_s)
    row = settle(forecast(10), dict(sorted(closes.items())), now=100, settings=settings).iloc[0]
    near = {number: abs(number - 16) for number in sorted(closes) if abs(number - 16) * 300 <= tolerance_s}
    if not near:
        assert row["outcome"] == "missed"
    else:
        assert row["actual_price"] == closes[min(near, key=lambda number: (near[number], number))]
        assert timedelta(0) <= row["settled_at"] - row["target_at"]
