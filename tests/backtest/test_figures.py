"""What a backtest is measured by."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.backtest import BacktestFigures, summarise
from cryptosentinel.backtest.models import Check
from cryptosentinel.backtest.rows import Rows
from cryptosentinel.backtest.scoring import share
from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.forecasting.significance import mean_interval
from tests.backtest.builders import HORIZON, hourly, make_forecasts, make_meta, make_trainings


def measure(forecasts: pd.DataFrame) -> BacktestFigures:
    return summarise(forecasts, make_trainings(forecasts), make_meta(forecasts))


def measure_year(forecasts: pd.DataFrame) -> BacktestFigures:
    """Of forecasts that are `hourly`."""
    return summarise(forecasts, make_trainings(forecasts), make_meta(forecasts, interval="1h"))


def check(figures: BacktestFigures, name: str) -> Check:
    return next(one for one in figures.checks if one.name == name)


@pytest.fixture(scope="module")
def forecasts() -> pd.DataFrame:
    return make_forecasts(40, information=0.2)


@pytest.fixture(scope="module")
def figures(forecasts: pd.DataFrame) -> BacktestFigures:
    return measure(forecasts)


def test_figures_are_those_that_a_plain_count_gives(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    settled = forecasts.dropna(subset="actual_return")
    actual, forecast = settled["actual_return"], np.log(settled["predicted_price"] / settled["price"])
    up = settled["actual_return"] > 0
    stated = settled["p_up"] != 0.5
    overall = figures.overall
    assert overall.rows == figures.rows == len(settled)
    assert overall.covered_80 == settled["actual_price"].between(settled["lower_80"], settled["upper_80"]).mean()
    assert overall.covered_95 == settled["actual_price"].between(settled["lower_95"], settled["upper_95"]).mean()
    assert overall.below["har"] == pytest.approx(1 - settled["pinball"].mean() / settled["pinball_har"].mean())
    assert overall.skill == pytest.approx(1 - ((actual - forecast) ** 2).sum() / (actual**2).sum())
    assert overall.accuracy.value == pytest.approx(((settled["p_up"] > 0.5) == up)[stated].mean())
    assert overall.majority == pytest.approx(max(up[stated].mean(), 1 - up[stated].mean()))
    brier, base = ((settled["p_up"] - up) ** 2).mean(), ((settled["p_base"] - up) ** 2).mean()
    assert overall.brier_skill == figures.direction.brier_skill.share == pytest.approx(1 - brier / base)
    assert figures.point.rmse == pytest.approx(np.sqrt((settled["error"] ** 2).mean()))
    assert figures.point.mean_weight == pytest.approx(settled["weight"].mean())


@pytest.mark.parametrize("groups", ["months", "hours", "terciles", "regimes", "familiarity"])
def test_groups_hold_every_forecast_once(figures: BacktestFigures, groups: str) -> None:
    parts = getattr(figures, groups)
    assert len(parts) > 1
    assert sum(part.rows for part in parts) == figures.rows
    held = sum(part.rows * part.covered_80 for part in parts)
    assert held == pytest.approx(figures.rows * figures.overall.covered_80)


def test_the_grid_is_by_weekday_and_hour_of_utc(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    settled = forecasts.dropna(subset="actual_return")
    tuesday_at_7 = settled[(settled["made_at"].dt.dayofweek == 1) & (settled["made_at"].dt.hour == 7)]
    held = tuesday_at_7["actual_price"].between(tuesday_at_7["lower_80"], tuesday_at_7["upper_80"])
    assert figures.grid[1][7] == held.mean()


def test_the_league_has_candidates_baselines_and_what_was_served(
    forecasts: pd.DataFrame, figures: BacktestFigures
) -> None:
    league = {row.name: row for row in figures.point.league}
    rules = {"random_walk", "continued", "reversed", "single_feature"}
    assert set(league) == {"served", "blend", "ridge", "random_forest", "gradient_boosting", "xgboost"} | rules
    assert [row.rmse_bp for row in figures.point.league] == sorted(row.rmse_bp for row in figures.point.league)
    settled = forecasts.dropna(subset="actual_return")
    ridge = np.array([json.loads(text)["ridge"] for text in settled["by_model"]])
    assert league["ridge"].rmse == pytest.approx(np.sqrt(((settled["actual_price"] - ridge) ** 2).mean()))
    assert league["random_walk"].skill == 0
    assert league["reversed"].accuracy == pytest.approx(1 - league["continued"].accuracy)


def test_a_candidate_that_was_away_is_judged_on_the_rows_it_forecast(forecasts: pd.DataFrame) -> None:
    away = forecasts.copy()
    away.loc[away.index >= 1000, "by_model"] = [
        json.dumps({name: price for name, price in json.loads(text).items() if name != "ridge"})
        for text in away["by_model"][1000:]
    ]
    league = {row.name: row for row in measure(away).point.league}
    assert (league["ridge"].rows, league["xgboost"].rows) == (1000, len(forecasts) - HORIZON)


def test_what_is_not_settled_yet_does_not_count(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    finished = measure(forecasts.dropna(subset="actual_return"))
    assert (figures.made, figures.rows) == (len(forecasts), len(forecasts) - HORIZON)
    assert finished.overall == figures.overall
    assert finished.point == figures.point


def test_information_is_told_from_chance(figures: BacktestFigures) -> None:
    assert figures.direction.told_from_chance
    assert figures.point.skill > 0
    assert figures.point.clark_west_t > 2
    assert "better than chance" in figures.verdict[2]


def test_a_coin_is_called_a_coin() -> None:
    figures = measure(make_forecasts(40, information=0.0))
    assert not figures.direction.told_from_chance
    assert "cannot be told from chance" in figures.verdict[2]


def test_right_signs_with_wrong_probabilities_are_not_enough(forecasts: pd.DataFrame) -> None:
    sure = measure(forecasts.assign(p_up=0.5 + 0.45 * np.sign(forecasts["p_up"] - 0.5)))
    assert sure.direction.accuracy.low > sure.direction.majority
    assert not sure.direction.told_from_chance


def test_being_better_than_a_bad_base_rate_is_not_enough() -> None:
    figures = measure(make_forecasts(40, information=0.0).assign(p_base=0.9))
    assert figures.direction.brier_skill.t > 2
    assert not figures.direction.told_from_chance


def test_a_forecast_of_zero_is_called_one() -> None:
    figures = measure_year(hourly(make_forecasts(20, point=False)))
    assert figures.point.zero
    assert figures.point.skill == 0
    assert "a forecast of zero" in figures.verdict[1]
    assert "zero" in check(figures, "skill").title
    assert check(figures, "skill").passed


def test_a_spread_that_is_worse_than_ewma_is_called_worse(forecasts: pd.DataFrame) -> None:
    swapped = forecasts.rename(columns={"pinball": "pinball_ewma", "pinball_ewma": "pinball"})
    figures = measure_year(hourly(swapped))
    assert figures.verdict[0].startswith("EWMA volatility knows better")
    assert check(figures, "below_ewma").passed is False


def test_a_spread_that_cannot_be_told_from_ewma_is_not_praised(forecasts: pd.DataFrame) -> None:
    noise = np.random.default_rng(0).normal(0, 1, len(forecasts))
    for shift, beside in ((0.002, "below"), (-0.002, "above")):
        alike = forecasts.assign(pinball_ewma=forecasts["pinball"] + noise - noise.mean() + shift)
        sentence = measure(alike).verdict[0]
        assert sentence.startswith("Its intervals cannot be told from those of EWMA volatility: ")
        assert f"{beside} that of EWMA volatility" in sentence


def test_months_are_counted_where_there_are_full_ones(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    # January has 26 of its days here, February 14.
    assert "months" not in figures.verdict[0]
    assert "better in 15 of 16 months" in measure_year(hourly(forecasts)).verdict[0]


def test_a_short_period_has_figures_and_limits_but_is_not_judged(figures: BacktestFigures) -> None:
    assert {one.passed for one in figures.checks} == {None}
    assert check(figures, "below_ewma").value > 0
    assert check(figures, "below_ewma").reason == "the limit is meant for a year, the period has 40 days"


def test_a_program_can_read_the_unit_of_a_figure(figures: BacktestFigures) -> None:
    units = {one.name: one.unit for one in figures.checks}
    assert (units["below_ewma"], units["covered_80"], units["brier_t"]) == ("fraction", "difference", "t")


def test_money_made_stands_beside_holding(figures: BacktestFigures) -> None:
    assert "a round trip, buying and holding " in figures.verdict[2]


def test_a_leak_is_not_taken_for_talent() -> None:
    figures = measure(make_forecasts(20, information=0.9))
    assert figures.direction.accuracy.value > 0.58
    assert check(figures, "leak").passed is False


def test_what_is_called_a_leak_is_what_the_gate_was_set_to(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    year, accuracy = hourly(forecasts), figures.direction.accuracy.value
    for limit, passed in ((accuracy + 0.01, True), (accuracy - 0.01, False)):
        meta = make_meta(year, interval="1h", settings={"gate": {"suspect_accuracy": limit}})
        leak = check(summarise(year, [], meta), "leak")
        assert (leak.limit, leak.passed) == (limit, passed)


def test_no_direction_is_no_wrong_direction(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    half = forecasts.copy()
    half.loc[half.index % 2 == 0, "p_up"] = 0.5
    told = measure(half)
    assert told.direction.stated == pytest.approx(figures.direction.stated / 2, abs=0.01)
    assert told.direction.accuracy.value == pytest.approx(figures.direction.accuracy.value, abs=0.02)
    silent = measure(forecasts.assign(p_up=0.5))
    assert np.isnan(silent.direction.accuracy.value)
    assert silent.verdict[2] == "It states no direction."


def test_what_is_left_of_a_month_is_not_held_to_its_limits(forecasts: pd.DataFrame) -> None:
    # January has 26 of its days here, February 14.
    february = (forecasts["made_at"] >= "2025-02-01").to_numpy()
    wide = forecasts.assign(lower_80=forecasts["lower_80"].where(~february, 0.0))
    figures = measure(wide)
    january, rest = figures.months
    assert rest.covered_80 > 0.85
    assert check(figures, "covered_80_month").value == pytest.approx(abs(january.covered_80 - 0.8))
    none = check(measure(forecasts[:2000]), "covered_80_month")
    assert np.isnan(none.value)
    assert none.passed is None


def test_the_worst_part_counts_whichever_way_it_is_off(forecasts: pd.DataFrame) -> None:
    year = hourly(forecasts)
    night = (year["made_at"].dt.hour == 3).to_numpy()
    wide = year.assign(lower_80=year["lower_80"].where(~night, 0.0), upper_80=year["upper_80"].where(~night, 1e9))
    hour = check(measure_year(wide), "covered_80_hour")
    assert hour.value == pytest.approx(0.2)
    assert hour.passed is False


def test_baselines_that_come_later_are_compared_from_then_on(forecasts: pd.DataFrame) -> None:
    late = forecasts.assign(pinball_constant=forecasts["pinball_constant"].where(forecasts.index >= 2000))
    settled = late.dropna(subset="pinball_constant")
    gain = measure(late).spread.gains["constant"]
    assert gain.share == pytest.approx(1 - settled["pinball"].sum() / settled["pinball_constant"].sum())
    assert np.isfinite(gain.t)


def test_a_share_of_all_rows_has_the_interval_of_a_mean() -> None:
    hit = np.random.default_rng(0).random(3000) < 0.6
    estimate = share(hit, np.ones(3000, dtype=bool), HORIZON)
    assert (estimate.low, estimate.high) == pytest.approx(mean_interval(hit.astype(float), HORIZON))


def test_a_share_of_scattered_rows_counts_overlapping_hits_once() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random(4000) < 0.6, 12)
    apart = rng.random(48_000) < 0.6
    every_other_day = (np.arange(48_000) // 288) % 2 == 0
    wide, narrow = (share(hit, every_other_day, 12) for hit in (alike, apart))
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(np.sqrt(12), rel=0.25)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 24_000), rel=0.25)


def test_too_few_outcomes_are_refused_with_their_count(forecasts: pd.DataFrame) -> None:
    with pytest.raises(NotEnoughDataError, match="have 4 rows, need at least 12") as refused:
        measure(forecasts[:4])
    assert refused.value.remedy
    with pytest.raises(NotEnoughDataError):
        measure(forecasts[-HORIZON:])


def test_a_few_outcomes_have_figures_but_no_intervals(forecasts: pd.DataFrame) -> None:
    figures = measure(forecasts[:20])
    assert np.isnan(figures.direction.accuracy.low)
    assert not figures.direction.told_from_chance


def test_columns_of_the_log_may_hold_nothing(forecasts: pd.DataFrame) -> None:
    bare = forecasts[:3000].copy()
    bare["outlying"] = bare["outlying"].astype(object)
    bare.loc[:100, "outlying"] = None
    bare.loc[:100, "regime"] = None
    bare.loc[:100, ["p_up", "blend_return", "sigma"]] = np.nan
    bare.loc[:100, "by_model"] = None
    figures = measure(bare)
    assert sum(part.rows for part in figures.regimes) == 3000 - 101
    assert np.isfinite(figures.direction.brier)
    assert np.isfinite(figures.point.clark_west_t)


def test_figures_survive_json(figures: BacktestFigures) -> None:
    text = figures.model_dump_json()
    assert "NaN" in text, "the random walk has no t"
    assert BacktestFigures.model_validate_json(text).model_dump_json() == text


def test_the_same_forecasts_give_the_same_figures(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    assert measure(forecasts.copy()).model_dump_json() == figures.model_dump_json()


def test_a_finished_backtest_is_not_copied(forecasts: pd.DataFrame) -> None:
    finished = forecasts.dropna(subset="actual_return")
    rows = Rows(finished, "5m", HORIZON)
    assert np.shares_memory(rows("pinball"), finished["pinball"].to_numpy())


def test_version_0_is_no_training_that_served(forecasts: pd.DataFrame, figures: BacktestFigures) -> None:
    before = forecasts["fold"] == forecasts["fold"].min()
    folds = forecasts["fold"].nunique()
    assert figures.gate.served == folds
    assert measure(forecasts.assign(fold=forecasts["fold"].mask(before, -1))).gate.served == folds - 1
