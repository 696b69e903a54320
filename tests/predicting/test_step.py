"""The predict step: what is asked and logged, when it abstains, and what happens where the predictor fails."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.bundle import BOUNDS
from cryptosentinel.config import Settings
from cryptosentinel.errors import BundleError, CryptoSentinelError, ServingError, SpecMismatchError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.market import SimulatedSource
from cryptosentinel.predicting import BundlePredictor, Predictor, PredictReport, predict
from cryptosentinel.storage import FORECASTS, Storage
from cryptosentinel.storage.schemas import QUANTILES
from tests.builders import FIVE, T0, add_bars, at, make_random_bars, make_tiny_bundle, open_delta, settings_of
from tests.predicting.builders import SPEC, FailingPredictor, counted, forecast, random_walk

WARM = SPEC.warm_up_bars
VOLATILE = 37  # bars until the volatility that scales intervals is known
SETTINGS = settings_of()


def market(folder: Path, count: int = WARM) -> Storage:
    """A store with `count` bars from `T0` on, and their features."""
    storage = open_delta(folder / "market")
    add_bars(storage, make_random_bars(count), SPEC)
    return storage


def tiny(folder: Path, **made_so: float) -> BundlePredictor:
    return BundlePredictor(make_tiny_bundle(folder / "tiny", SPEC, **made_so), 7)


def step(storage: Storage, predictor: Predictor, now: datetime, settings: Settings = SETTINGS) -> PredictReport:
    return predict(storage, predictor, SPEC, settings, now=now)


def logged(storage: Storage) -> pd.DataFrame:
    return storage.log.read_forecasts("bitcoin")


def test_a_forecast_says_what_the_bundle_said_of_the_newest_bar(tmp_path: Path) -> None:
    storage, predictor = market(tmp_path), tiny(tmp_path, log_return=0.002)
    close = storage.features.read_bars("bitcoin")["close"].iloc[-1]
    row = step(storage, predictor, at(WARM)).forecast
    assert row is not None
    assert row.index.tolist() == FORECASTS.names
    assert (row["asset"], row["made_at"], row["target_at"]) == ("bitcoin", at(WARM), at(WARM + 6))
    assert row["price"] == close
    assert row["predicted_price"] == pytest.approx(close * np.exp(0.002))
    assert QUANTILES == BOUNDS
    assert row[list(QUANTILES)].is_monotonic_increasing
    assert row["lower_50"] < row["predicted_price"] < row["upper_50"]
    assert row["sigma"] == pytest.approx(np.log(row["upper_95"] / row["lower_95"]) / (2 * 1.959964))
    assert (row["dissimilarity"], row["outlying"]) == (0, False)
    assert row["p_up"] == row["confidence"] == pytest.approx(0.6)
    assert (row["direction"], row["champion"], row["bundle_version"], row["regime"]) == ("up", "blend", 7, "unknown")
    by_model = {"random_walk": close, "ridge": row["predicted_price"], "blend": row["predicted_price"]}
    assert json.loads(row["by_model"]) == pytest.approx(by_model)
    assert row[["outcome", "actual_price", "error", "settled_at"]].isna().all()


def test_a_predictor_is_asked_with_the_newest_row_of_features(tmp_path: Path) -> None:
    storage, predictor = market(tmp_path), random_walk(tmp_path / "walk")
    with counted(predictor) as asked:
        step(storage, predictor, at(WARM))
    newest = storage.features.read_features("bitcoin", SPEC.hash).iloc[-1]
    (rows,) = asked
    assert rows.spec_hash == SPEC.hash
    assert rows.features is not None
    assert rows.features.tolist() == [newest[SPEC.model_names].tolist()]
    assert rows.volatility.tolist() == [newest[SCALE_FEATURE]]


@pytest.mark.parametrize("late_s", [0, 1, 137, 299, 900])
def test_a_forecast_is_made_at_the_close_of_the_newest_bar_whenever_it_is_asked(tmp_path: Path, late_s: int) -> None:
    storage = market(tmp_path, VOLATILE)
    row = step(storage, random_walk(tmp_path / "walk"), at(VOLATILE) + timedelta(seconds=late_s)).forecast
    assert row is not None
    assert (row["made_at"], row["target_at"]) == (at(VOLATILE), at(VOLATILE + 6))


def test_asking_twice_logs_one_forecast_and_the_first_answer_counts(tmp_path: Path) -> None:
    storage = market(tmp_path)
    first = step(storage, tiny(tmp_path, log_return=0.002), at(WARM))
    before = logged(storage)
    again = step(storage, tiny(tmp_path / "new", log_return=-0.004), at(WARM) + timedelta(minutes=3))
    assert_frame_equal(logged(storage), before)
    assert len(before) == 1
    assert first.forecast is not None
    assert again.forecast is not None
    assert again.forecast["predicted_price"] == first.forecast["predicted_price"] > first.forecast["price"]


def test_each_bar_has_a_forecast_of_its_own(tmp_path: Path) -> None:
    storage, predictor = market(tmp_path, VOLATILE), random_walk(tmp_path / "walk")
    step(storage, predictor, at(VOLATILE))
    add_bars(storage, make_random_bars(VOLATILE + 1), SPEC)
    step(storage, predictor, at(VOLATILE + 1))
    assert logged(storage)["made_at"].tolist() == [at(VOLATILE), at(VOLATILE + 1)]


def test_how_far_a_forecast_looks_is_what_its_bundle_has_learnt(tmp_path: Path) -> None:
    storage, further = market(tmp_path, VOLATILE), settings_of(forecast__horizon_bars=12)
    row = step(storage, random_walk(tmp_path / "walk", horizon_bars=6), at(VOLATILE), further).forecast
    assert row is not None
    assert row["target_at"] == at(VOLATILE + 6)
    row = step(storage, random_walk(tmp_path / "further", horizon_bars=12), at(VOLATILE), further).forecast
    assert row is not None
    assert row["target_at"] == at(VOLATILE + 12)
    assert len(logged(storage)) == 2


class TestAbstaining:
    def reason(self, storage: Storage, predictor: Predictor, now: datetime) -> str:
        report = step(storage, predictor, now)
        assert report.forecast is None
        assert logged(storage).empty
        return report.abstained

    def test_without_features(self, tmp_path: Path) -> None:
        predictor = random_walk(tmp_path / "walk")
        assert self.reason(open_delta(tmp_path / "empty"), predictor, at(0)) == "there are no features yet"
        bars_only = open_delta(tmp_path / "bars")
        bars_only.features.write_bars(make_random_bars(50))
        assert self.reason(bars_only, predictor, at(50)) == "there are no features yet"

    def test_without_features_of_this_spec(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path / "market")
        add_bars(storage, make_random_bars(WARM), FeatureSpec(FIVE, SPEC.features[:20]))
        assert self.reason(storage, random_walk(tmp_path / "walk"), at(WARM)) == "there are no features yet"

    def test_from_stale_features(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path, VOLATILE), random_walk(tmp_path / "walk")
        reason = self.reason(storage, predictor, at(VOLATILE) + timedelta(seconds=901))
        assert reason.startswith("the newest features are 15 minutes old")
        assert "forecast.max_data_age_s (15 minutes)" in reason
        assert step(storage, predictor, at(VOLATILE) + timedelta(seconds=900)).abstained == ""

    def test_where_a_gap_hides_the_volatility(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path / "market")
        bars = make_random_bars(WARM + 100)
        add_bars(storage, bars.drop(range(WARM, WARM + 100 - VOLATILE + 1)), SPEC)
        reason = self.reason(storage, random_walk(tmp_path / "walk"), at(WARM + 100))
        assert reason == "too few bars since the last gap to know the volatility"

    def test_before_the_volatility_is_known(self, tmp_path: Path) -> None:
        storage = market(tmp_path, VOLATILE - 1)
        assert "too few bars" in self.reason(storage, random_walk(tmp_path / "walk"), at(VOLATILE - 1))


@pytest.mark.parametrize("bars", [VOLATILE, WARM - 1])
def test_where_features_are_not_warm_the_random_walk_answers_and_the_forecast_says_so(
    tmp_path: Path, bars: int
) -> None:
    storage, predictor = market(tmp_path, bars), tiny(tmp_path, log_return=0.002)
    with counted(predictor) as asked:
        row = step(storage, predictor, at(bars)).forecast
    assert [rows.features for rows in asked] == [None]
    assert row is not None
    assert (row["champion"], row["direction"], row["bundle_version"]) == ("random_walk", "flat", 7)
    assert row["predicted_price"] == row["price"]
    assert row["lower_80"] < row["price"] < row["upper_80"]


@pytest.mark.parametrize("error", [ServingError("It is away."), SpecMismatchError("Other features.")])
def test_where_the_predictor_fails_settling_and_alerts_happen_all_the_same(
    tmp_path: Path, error: CryptoSentinelError
) -> None:
    storage = market(tmp_path, VOLATILE)
    storage.log.write_forecasts(forecast(VOLATILE - 6, price=600.0))
    alarming = settings_of(alerts__volatility=1e-6)
    with pytest.raises((ServingError, BundleError)) as raised:
        step(storage, FailingPredictor(error), at(VOLATILE), alarming)
    assert raised.value is error
    assert logged(storage)["outcome"].notna().all()
    assert len(logged(storage)) == 1
    assert storage.log.read_alerts("bitcoin")["kind"].tolist() == ["volatility"]


def test_a_report_says_what_was_settled_and_which_alerts_were_raised(tmp_path: Path) -> None:
    storage = market(tmp_path)
    storage.log.write_forecasts(forecast(WARM - 6, price=1.0))
    alarming = settings_of(alerts__volatility=1e-6, alerts__forecast_deviation=0.001)
    report = step(storage, tiny(tmp_path, log_return=0.002), at(WARM), alarming)
    assert report.settled["forecast_id"].tolist() == [f"made-{WARM - 6}"]
    assert {"volatility", "forecast_deviation"} <= set(report.alerts["kind"])
    assert step(storage, tiny(tmp_path / "again"), at(WARM), alarming).settled.empty


def test_an_hour_of_a_simulated_market_is_forecast_and_settled(tmp_path: Path) -> None:
    storage, predictor = open_delta(tmp_path / "market"), random_walk(tmp_path / "walk")
    source = SimulatedSource("bitcoin", FIVE, seed=3, now=at(60))
    bars = source.bars(T0, at(60))
    for number in range(48, 61):
        add_bars(storage, bars.iloc[:number], SPEC)
        assert step(storage, predictor, at(number)).abstained == ""
    log = logged(storage)
    closes = bars["close"].to_numpy()
    assert log["price"].tolist() == closes[47:60].tolist()
    assert log["actual_price"].dropna().tolist() == closes[53:60].tolist()
    moved = np.abs(closes[53:60] - closes[47:54]) >= 0.001 * closes[47:54]
    assert log["outcome"].dropna().tolist() == np.where(moved, "incorrect", "flat").tolist()
