"""The predict step: what is asked and logged, when it abstains, and what happens where the predictor fails."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.bundle import BOUNDS, PROBABILITIES
from cryptosentinel.config import Settings
from cryptosentinel.errors import BundleError, CryptoSentinelError, ServingError, SpecMismatchError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting import calibrate_rows
from cryptosentinel.market import SimulatedSource
from cryptosentinel.predicting import Answer, BundlePredictor, Predictor, PredictReport, Rows, abstention, predict
from cryptosentinel.predicting.forecasts import make_forecast
from cryptosentinel.predicting.step import adjust
from cryptosentinel.storage import FORECASTS, Storage
from cryptosentinel.storage.schemas import QUANTILES
from tests.alerting.builders import receiving
from tests.builders import FIVE, T0, add_bars, at, make_random_bars, make_tiny_bundle, open_delta, settings_of
from tests.predicting.builders import SPEC, FailingPredictor, counted, forecast, random_walk, settled

WARM = SPEC.warm_up_bars
NO_FEATURES = "there are no features yet: run the feature pipeline"
VOLATILE = 37  # bars until the volatility that scales intervals is known
SETTINGS = settings_of()
NORMAL = np.array([NormalDist().inv_cdf(p) for p in PROBABILITIES])


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


class Changed:
    """A predictor whose answers and inferences are changed in these fields."""

    def __init__(self, predictor: Predictor, inference: dict[str, object] | None = None, **answer: object) -> None:
        self.predictor, self.inference, self.answer = predictor, inference or {}, answer

    def infer(self, rows: Rows) -> Answer:
        answer = self.predictor.infer(rows)
        return replace(answer, inference=replace(answer.inference, **self.inference), **self.answer)


def add_settled(storage: Storage, numbers: range, *, score: float, sigma: float | None = 0.001) -> None:
    """Settled forecasts with this score where their sigma is 0.001, all of them missed."""
    rows = [
        forecast(number, predicted=100.0, interval_80=(99.99, 100.01), interval_95=(99.98, 100.02)).assign(sigma=sigma)
        for number in numbers
    ]
    storage.log.write_forecasts(pd.concat(rows))
    storage.log.settle(pd.concat([settled(row, "correct", 100.0 * np.exp(0.001 * score)) for row in rows]))


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
        data_end = None if isinstance(predictor, BundlePredictor) else predictor.answer["data_end"]
        told = abstention(storage.features, SPEC, "bitcoin", SETTINGS.forecast, data_end, now=now)
        assert told == report.abstained  # without asking the predictor
        return report.abstained

    def test_without_features(self, tmp_path: Path) -> None:
        predictor = random_walk(tmp_path / "walk")
        assert self.reason(open_delta(tmp_path / "empty"), predictor, at(0)) == NO_FEATURES
        bars_only = open_delta(tmp_path / "bars")
        bars_only.features.write_bars(make_random_bars(50))
        assert self.reason(bars_only, predictor, at(50)) == NO_FEATURES

    def test_without_features_of_this_spec(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path / "market")
        add_bars(storage, make_random_bars(WARM), FeatureSpec(FIVE, SPEC.features[:20]))
        assert self.reason(storage, random_walk(tmp_path / "walk"), at(WARM)) == NO_FEATURES

    def test_from_stale_features(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path, VOLATILE), random_walk(tmp_path / "walk")
        reason = self.reason(storage, predictor, at(VOLATILE) + timedelta(seconds=901))
        assert reason.startswith("the newest features are 15 minutes old")
        assert "forecast.max_data_age_s (15 minutes)" in reason
        still = at(VOLATILE) + timedelta(seconds=900)
        assert step(storage, predictor, still).abstained == ""
        assert abstention(storage.features, SPEC, "bitcoin", SETTINGS.forecast, None, now=still) == ""

    def test_where_the_champion_has_expired(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path), tiny(tmp_path)
        now = at(WARM) + timedelta(minutes=2)
        expired = Changed(predictor, data_end=now - timedelta(days=46))
        reason = self.reason(storage, expired, now)
        assert reason.startswith("the champion's data end 46 days ago")
        assert "forecast.max_model_age_days (45 days)" in reason
        assert step(storage, Changed(predictor, data_end=now - timedelta(days=45)), now).abstained == ""

    def test_never_because_the_random_walk_is_old(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path, VOLATILE), random_walk(tmp_path / "walk")
        old = settings_of(forecast__max_model_age_days=0.001)
        assert step(storage, predictor, at(VOLATILE), old).abstained == ""

    def test_where_a_gap_hides_the_volatility(self, tmp_path: Path) -> None:
        storage = open_delta(tmp_path / "market")
        bars = make_random_bars(WARM + 100)
        add_bars(storage, bars.drop(range(WARM, WARM + 100 - VOLATILE + 1)), SPEC)
        reason = self.reason(storage, random_walk(tmp_path / "walk"), at(WARM + 100))
        assert reason == "too few bars since the last gap to know the volatility: wait for more"

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


class TestAdjusting:
    @pytest.fixture(autouse=True)
    def let_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Outcomes here are at prices of their own, not at those of the bars."""
        monkeypatch.setattr("cryptosentinel.predicting.step.revise_settled", lambda *_, **__: None)

    def test_a_first_forecast_has_the_bundles_own_quantiles(self, tmp_path: Path) -> None:
        storage = market(tmp_path, VOLATILE)
        report = step(storage, random_walk(tmp_path / "walk"), at(VOLATILE))
        row, adjusted = report.forecast, report.adjusted
        assert row is not None
        assert adjusted is not None
        assert row["sigma"] > 0
        assert row[list(BOUNDS)].tolist() == pytest.approx(row["price"] * np.exp(row["sigma"] * NORMAL))
        assert (adjusted.count, adjusted.weight, adjusted.level_80) == (0, 0.0, 0.2)

    @pytest.mark.parametrize("predictor", [random_walk, make_tiny_bundle])
    def test_outcomes_that_were_far_off_widen_the_next_interval(self, tmp_path: Path, predictor: object) -> None:
        calm, wild = market(tmp_path / "calm"), market(tmp_path / "wild")
        add_settled(calm, range(WARM - 36, WARM - 6), score=0.0)
        add_settled(wild, range(WARM - 36, WARM - 6, 2), score=-8.0)
        add_settled(wild, range(WARM - 35, WARM - 6, 2), score=8.0)
        asked = random_walk(tmp_path / "walk") if predictor is random_walk else tiny(tmp_path)
        one, two = (step(storage, asked, at(WARM)) for storage in (calm, wild))
        assert one.forecast is not None
        assert two.forecast is not None
        assert two.adjusted is not None
        assert (two.adjusted.count, two.adjusted.miss_rate_95) == (30, 1.0)
        assert two.adjusted.level_95 < 0.05
        for name in BOUNDS:
            if name != "median":
                assert (two.forecast[name] < one.forecast[name]) == name.startswith("lower"), name
        assert two.forecast[["sigma", "predicted_price", "p_up"]].equals(
            one.forecast[["sigma", "predicted_price", "p_up"]]
        )

    def test_what_an_earlier_release_logged_without_sigma_has_no_say(self, tmp_path: Path) -> None:
        storage = market(tmp_path, VOLATILE)
        add_settled(storage, range(10, 20), score=8.0, sigma=None)
        report = step(storage, random_walk(tmp_path / "walk"), at(VOLATILE))
        assert report.adjusted is not None
        assert report.adjusted.count == 0

    def test_outcomes_older_than_the_calibration_window_have_no_say(self, tmp_path: Path) -> None:
        storage = market(tmp_path)
        add_settled(storage, range(10, 20), score=8.0)
        recent = settings_of(forecast__calibration_days=(WARM - 20) / 288)
        report = step(storage, random_walk(tmp_path / "walk"), at(WARM), recent)
        assert report.adjusted is not None
        assert report.adjusted.count == 5  # targets of bars 21 to 25; that of bar 20 lies on the window's open end

    def test_a_step_that_is_run_again_finds_the_same_quantiles(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path, VOLATILE), random_walk(tmp_path / "walk")
        add_settled(storage, range(10, 30), score=3.0)
        made = make_forecast(storage.features, predictor, SPEC, "bitcoin", SETTINGS.forecast, now=at(VOLATILE))
        assert isinstance(made, pd.DataFrame)
        first, _ = adjust(made, storage.log, SETTINGS.forecast)
        storage.log.write_forecasts(first)
        again, _ = adjust(made, storage.log, SETTINGS.forecast)
        assert_frame_equal(again, first)
        assert (first["upper_95"] > made["upper_95"]).all()

    def test_an_outlying_row_is_forecast_flagged_and_wider(self, tmp_path: Path) -> None:
        storage, predictor = market(tmp_path), tiny(tmp_path)
        usual = predictor.infer(Rows(np.array([600.0]), np.array([0.002]), None, SPEC.hash)).inference
        widened = {"sigma": 2 * usual.sigma, "outlying": np.array([True]), "dissimilarity": np.array([4.0])}
        widened["quantiles"] = usual.predicted_price * np.exp(2 * usual.sigma * NORMAL)[None, :]
        widened |= {"predicted_price": usual.predicted_price, "log_return": usual.log_return}
        add_settled(storage, range(WARM - 26, WARM - 6), score=1.0)
        step(storage, Changed(predictor, widened), at(WARM))
        row = logged(storage).iloc[-1]
        assert (row["outlying"], row["dissimilarity"]) == (True, 4.0)
        assert row["sigma"] == 2 * usual.sigma[0]
        spread = np.log(row["upper_95"] / row["predicted_price"]) / usual.sigma[0]
        assert spread == pytest.approx(2 * NORMAL[8], rel=0.1)

    def test_live_steps_issue_what_one_pass_over_their_scores_gives(self, tmp_path: Path) -> None:
        storage, predictor = open_delta(tmp_path / "market"), random_walk(tmp_path / "walk")
        quick = settings_of(forecast__calibration_days=8 / 288, forecast__adaptation_rate=0.02)
        bars = make_random_bars(58, seed=5)
        for number in [*range(VOLATILE, 51), *range(54, 58)]:
            add_bars(storage, bars.iloc[:number], SPEC)
            assert step(storage, predictor, at(number) + timedelta(minutes=2), quick).abstained == ""
        log = logged(storage)
        sigma = log["sigma"].to_numpy()
        issued = np.log(log[list(BOUNDS)].to_numpy() / log[["predicted_price"]].to_numpy()) / sigma[:, None]
        scores = np.log(log["actual_price"].to_numpy() / log["predicted_price"].to_numpy()) / sigma
        made_at = log["made_at"].dt.tz_localize(None).to_numpy()
        at_once = calibrate_rows(NORMAL, made_at, scores, 6 * FIVE.delta, quick.forecast)
        np.testing.assert_allclose(issued, at_once, rtol=1e-9, atol=1e-12)
        assert np.abs(issued - NORMAL).max() > 0.1


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


def test_a_predictor_that_stays_away_is_told_of_and_why(tmp_path: Path) -> None:
    storage = market(tmp_path, VOLATILE + 7)
    storage.log.write_forecasts(forecast(VOLATILE))
    with receiving() as receiver:
        settings = settings_of(alerts__webhook_url=receiver.url)
        with pytest.raises(ServingError):
            step(storage, FailingPredictor(ServingError("The predictor is away.")), at(VOLATILE + 7), settings)
    said = {request.json["kind"]: request.json["message"] for request in receiver.taken}
    assert said["forecast_late"] == "The newest forecast was made 35 minutes ago: The predictor is away."


@pytest.mark.parametrize(("days", "kinds"), [(44, []), (46, ["model_expired"])])
def test_an_expired_model_is_told_of(tmp_path: Path, days: int, kinds: list[str]) -> None:
    storage = market(tmp_path)
    predictor = Changed(tiny(tmp_path), data_end=at(WARM) - timedelta(days=days))
    quiet = settings_of(alerts__volatility=9, alerts__drawdown=0.9)
    assert step(storage, predictor, at(WARM), quiet).alerts["kind"].tolist() == kinds
    quiet_again = step(storage, tiny(tmp_path / "again"), at(WARM + 1), quiet).alerts
    assert quiet_again["resolved_at"].notna().tolist() == [True] * len(kinds)


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
