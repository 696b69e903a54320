"""Serving and calibrating in a backtest: what the live steps would have logged, bar by bar."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cryptosentinel.backtest import tape as tapes
from cryptosentinel.backtest.folder import BASELINES, write_frame
from cryptosentinel.backtest.serving import Champion, Run, calibrated, served
from cryptosentinel.bundle import BOUNDS
from cryptosentinel.features import featurize
from cryptosentinel.forecasting import Settled, calibrate
from cryptosentinel.market import FileSource, ingest
from cryptosentinel.predicting import BundlePredictor, predict
from tests.backtest.conftest import Undisturbed
from tests.backtest.replays import BARS, DAY, END, SPEC, START, Recorded, make_settings
from tests.builders import FIVE, make_tiny_bundle, open_delta

HORIZON = timedelta(minutes=30)


def make_run(bars: pd.DataFrame = BARS, **settings: object) -> Run:
    chosen = make_settings(**settings)
    tape = tapes.record(Recorded(bars), SPEC, START - 3 * DAY, END, 6)
    return Run(tape, SPEC, chosen, "recorded", simulated=False)


def tiny(folder: Path, number: int | None = 4) -> Champion:
    """A champion that says the same of every bar."""
    return Champion(make_tiny_bundle(folder / "tiny", SPEC, log_return=0.002).path, number)


def settled(run: Run, champion: Champion, folder: Path, start: datetime, end: datetime) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    write_frame(served(run, champion, 0.5, start, end), folder / "forecasts.parquet")
    return calibrated(run, [folder])


def live(folder: Path, champion: Champion, start: datetime, steps: int) -> pd.DataFrame:
    """What the pipelines' steps log when they run at the close of each of some bars."""
    BARS.drop(columns=["asset", "source"]).to_parquet(folder / "bars.parquet")
    storage, settings = open_delta(folder / "live"), make_settings()
    for number in range(steps):
        now = start + number * FIVE.delta
        source = FileSource(folder / "bars.parquet", "bitcoin", FIVE, now=now)
        ingested = ingest(source, storage.features, history=6 * DAY)
        featurize(storage.features, SPEC, "bitcoin", touched_from=ingested.touched_from, heal=False)
        predict(storage, BundlePredictor(champion.bundle, champion.version), SPEC, settings, now=now)
    return storage.log.read_forecasts("bitcoin")


@pytest.mark.parametrize("which", ["trained", "tiny"])
def test_forecasts_are_those_that_the_live_steps_log(undisturbed: Undisturbed, tmp_path: Path, which: str) -> None:
    trained = Champion(undisturbed.rehearsal.stash / "0000" / "bundle", 0)
    champion = {"trained": trained, "tiny": tiny(tmp_path)}[which]
    steps = 9
    logged = live(tmp_path, champion, START, steps)
    replayed = settled(make_run(), champion, tmp_path / "replayed", START, START + steps * FIVE.delta)
    same = ["forecast_id", "asset", "made_at", "target_at", "price", "direction", "regime", "champion", "outlying"]
    same += ["bundle_version"]
    assert_frame_equal(replayed[same], logged[same], check_dtype=False)
    assert (logged["predicted_price"] == logged["price"]).all() == (which == "trained")
    for name in ("predicted_price", "p_up", "confidence"):
        np.testing.assert_allclose(replayed[name], logged[name], rtol=1e-9, err_msg=name)
    # Features are summed from other bars on live, and a model sees the last digit of a float32.
    for name in ("sigma", "dissimilarity"):
        np.testing.assert_allclose(replayed[name], logged[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(replayed[list(BOUNDS)], logged[list(BOUNDS)], rtol=1e-6)
    known = logged["outcome"].notna()
    assert known.sum() == steps - 6
    outcomes = ["outcome", "actual_price", "error"]
    assert_frame_equal(replayed.loc[known, outcomes], logged.loc[known, outcomes], check_dtype=False)
    # Calibration has something to say by then.
    own = served(make_run(), champion, 0.5, START, START + steps * FIVE.delta)
    assert not np.isclose(replayed["upper_95"].iloc[-1], own["upper_95"].iloc[-1], rtol=1e-6)


def test_quantiles_are_what_settled_forecasts_call_for(undisturbed: Undisturbed) -> None:
    run, folders = make_run(), [undisturbed.folder / "trainings" / f"{number:04}" for number in range(3)]
    forecasts = undisturbed.backtest.forecasts
    own = pd.concat([pd.read_parquet(folder / "forecasts.parquet") for folder in folders], ignore_index=True)
    for row in (0, 6, 7, 300, 863):
        past = forecasts[forecasts["target_at"] <= forecasts["made_at"][row]]
        center = np.log(own["predicted_price"][row] / own["price"][row])
        table = (np.log(own.loc[row, list(BOUNDS)].to_numpy(float) / own["price"][row]) - center) / own["sigma"][row]
        now = forecasts["made_at"][row].to_pydatetime()
        found = calibrate(table, Settled.from_log(past, HORIZON), now, HORIZON, run.settings.forecast)
        expected = own["price"][row] * np.exp(center + own["sigma"][row] * found.quantiles)
        np.testing.assert_allclose(forecasts.loc[row, list(BOUNDS)].to_numpy(float), expected, rtol=1e-9)


def test_there_is_no_forecast_from_a_bundle_that_has_expired(undisturbed: Undisturbed) -> None:
    champion = Champion(undisturbed.rehearsal.stash / "0000" / "bundle", 0)
    assert champion.bundle.manifest.data_end == START - (1 + 6) * FIVE.delta
    run = make_run(forecast={"max_model_age_days": 0.5})
    made = served(run, champion, 0.5, START, START + DAY)["made_at"]
    assert (made.iloc[0], made.iloc[-1]) == (START, START + DAY / 2 - 7 * FIVE.delta)
    assert served(run, champion, 0.5, START + DAY, END).empty


def test_a_bar_that_models_cannot_answer_for_yet_gets_the_random_walk(tmp_path: Path) -> None:
    gap = BARS["timestamp"].between(pd.Timestamp(START - DAY / 8), pd.Timestamp(START), inclusive="left")
    run = make_run(BARS[~gap].reset_index(drop=True))
    forecasts = served(run, tiny(tmp_path), 0.5, START, END)
    assert forecasts["made_at"].iloc[0] == START + 37 * FIVE.delta, "until then the volatility is not known"
    cold = forecasts["champion"] == "random_walk"
    assert cold.sum() == SPEC.warm_up_bars - 37
    assert (forecasts["predicted_price"] == forecasts["price"])[cold].all()
    assert np.isfinite(forecasts[list(BOUNDS)]).all().all()


def test_baselines_are_fitted_on_what_was_known(tmp_path: Path) -> None:
    champion = tiny(tmp_path)
    other = BARS.copy()
    later = other["timestamp"] >= pd.Timestamp(START)
    other.loc[later, ["open", "high", "low", "close"]] *= 1.1
    left, right = (served(make_run(bars), champion, 0.5, START, START + DAY) for bars in (BARS, other))
    assert left.attrs[BASELINES] == right.attrs[BASELINES]
    assert set(left.attrs[BASELINES]) == {"constant", "ewma", "har"}
    first = ["continued", "reversed", "single_feature", "sigma_constant", "sigma_ewma", "sigma_har"]
    assert_frame_equal(left[first].iloc[:1], right[first].iloc[:1])
    assert left["reversed"].equals(-left["continued"])
    assert left["continued"].iloc[6] == pytest.approx(np.log(left["price"].iloc[6] / left["price"].iloc[0]))


def test_a_baseline_that_nothing_can_be_fitted_on_has_no_figures(tmp_path: Path) -> None:
    run = make_run(training={"window_days": 0.01})
    forecasts = settled(run, tiny(tmp_path), tmp_path / "out", START, START + DAY)
    assert forecasts[["pinball_ewma", "pinball_har", "single_feature"]].isna().all().all()
    assert np.isfinite(forecasts["pinball"]).all()


def test_a_champion_is_only_loaded_when_it_is_asked(tmp_path: Path) -> None:
    assert Champion(tmp_path / "gone", 3).version == 4
    assert Champion(tmp_path / "gone", None).version == 0


def test_weight_and_blend_are_those_of_the_bundle_that_served(tmp_path: Path) -> None:
    forecasts = served(make_run(), tiny(tmp_path, number=None), 0.25, START, START + DAY)
    assert set(forecasts["weight"]) == {1.0}
    np.testing.assert_allclose(forecasts["blend_return"], 0.002, rtol=1e-6)
    assert (set(forecasts["fold"]), set(forecasts["p_base"])) == ({-1}, {0.25})
