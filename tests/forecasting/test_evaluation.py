"""Figures are what their names say, the random walk is the measure, and luck or leaks do not pass."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from cryptosentinel.bundle import DIRECTION, PROBABILITIES, RANDOM_WALK, REGIME
from cryptosentinel.errors import PipelineError
from cryptosentinel.forecasting import CANDIDATES, Evaluation, evaluate, judge, league_table
from cryptosentinel.forecasting.evaluation import score_direction, score_returns
from tests.forecasting.builders import make_dataset, make_settings, train_all, with_leak, with_shuffled_targets


def frame(actual: list[float], forecast: list[float], close: float = 100.0) -> pd.DataFrame:
    return pd.DataFrame({"actual": actual, "forecast": forecast, "close": close})


def test_return_metrics_by_hand() -> None:
    scores = score_returns(frame([0.01, -0.02, 0.03, 0.0], [0.02, -0.01, -0.01, 0.01]))
    # errors -0.01, -0.01, 0.04, -0.01
    assert scores["rmse"] == pytest.approx(math.sqrt(0.0019 / 4))
    assert scores["mae"] == pytest.approx(0.0175)
    assert scores["r2"] == pytest.approx(1 - 0.0019 / 0.0013)
    assert scores["skill"] == pytest.approx(1 - 0.0019 / 0.0014)
    assert scores["direction_accuracy"] == pytest.approx(2 / 3), "an outcome of exactly 0 has no direction"
    price = [100 * (math.exp(a) - math.exp(f)) for a, f in [(0.01, 0.02), (-0.02, -0.01), (0.03, -0.01), (0.0, 0.01)]]
    assert scores["rmse_price"] == pytest.approx(math.sqrt(sum(e * e for e in price) / 4))


def test_metrics_agree_with_scikit_learn() -> None:
    noise = np.random.default_rng(0)
    actual, forecast = noise.normal(0, 0.003, (2, 500))
    scores = score_returns(frame(actual.tolist(), forecast.tolist()))
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(actual, forecast))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(actual, forecast))
    assert scores["r2"] == pytest.approx(metrics.r2_score(actual, forecast))


def test_the_random_walk_has_no_skill_and_no_direction() -> None:
    scores = score_returns(frame([0.01, -0.02], [0.0, 0.0]))
    assert scores["skill"] == 0
    assert "direction_accuracy" not in scores


def test_direction_metrics_by_hand() -> None:
    scores, confusion = score_direction(frame([0.1, 0.1, 0.1, -0.1, 0.0], [0.9, 0.6, 0.5, 0.7, 0.1]))
    assert confusion == [[1, 1], [1, 2]], "rows actual, columns predicted; one half is not up, nor is no move"
    assert scores == pytest.approx(
        {"accuracy": 3 / 5, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "base_rate": 3 / 5}
    )


def test_a_classifier_that_never_says_up_has_no_precision_rather_than_an_error() -> None:
    scores, _ = score_direction(frame([0.1, -0.1], [0.1, 0.1]))
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0, 0, 0)


def overwrite(parts: list[Path], folder: Path, forecasts: dict[str, object]) -> list[Path]:
    """Copies of the parts, of which some forecast something else."""
    copies = []
    for part in parts:
        copy = folder / part.name
        copy.mkdir(parents=True)
        (copy / "part.json").write_bytes((part / "part.json").read_bytes())
        holdout = pd.read_parquet(part / "holdout.parquet")
        if part.name in forecasts:
            holdout["forecast"] = forecasts[part.name]
        holdout.to_parquet(copy / "holdout.parquet")
        copies.append(copy)
    return copies


def test_the_lowest_rmse_wins(parts: list[Path], tmp_path: Path) -> None:
    actual = pd.read_parquet(parts[0] / "holdout.parquet")["actual"]
    evaluation = evaluate(overwrite(parts, tmp_path, {"ridge": actual * 0.1, "xgboost": actual * 0.05}))
    assert evaluation.best == "ridge"
    assert evaluation.candidates["ridge"]["skill"] == pytest.approx(1 - 0.9**2)


def test_a_tie_goes_to_the_random_walk(parts: list[Path], tmp_path: Path) -> None:
    everyone_says_zero = dict.fromkeys(CANDIDATES, 0.0)
    for order in (parts, parts[::-1]):
        evaluation = evaluate(overwrite(order, tmp_path / str(order is parts), everyone_says_zero))
        assert evaluation.best == RANDOM_WALK


@pytest.mark.parametrize("broken", ["gradient_boosting", "xgboost"])
def test_a_candidate_that_diverged_neither_wins_nor_passes(broken: str, parts: list[Path], tmp_path: Path) -> None:
    evaluation = evaluate(overwrite(parts, tmp_path, {broken: math.nan}))
    assert evaluation.best != broken
    gate = judge(evaluation)
    assert not gate.promote
    assert any(f"{broken} has no finite rmse" in reason for reason in gate.reasons)


def test_quantiles_are_of_the_best_candidate_s_errors(parts: list[Path]) -> None:
    evaluation = evaluate(parts)
    holdout = pd.read_parquet(next(part for part in parts if part.name == evaluation.best) / "holdout.parquet")
    standardised = (holdout["actual"] - holdout["forecast"]) / holdout["scale"]
    assert [(standardised <= value).mean() for value in evaluation.quantiles.values] == pytest.approx(
        PROBABILITIES, abs=0.01
    )


def test_regime_shares_are_of_all_holdout_rows(parts: list[Path]) -> None:
    assert sum(evaluate(parts).regimes.values()) == pytest.approx(1)


def test_an_evaluation_survives_being_written_even_where_a_figure_is_none(parts: list[Path]) -> None:
    evaluation = evaluate(parts)
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
    evaluation.candidates["ridge"]["r2"] = math.nan
    again = Evaluation.model_validate_json(evaluation.model_dump_json())
    assert math.isnan(again.candidates["ridge"]["r2"])


@pytest.mark.parametrize("missing", [DIRECTION, REGIME, RANDOM_WALK])
def test_a_part_that_is_not_there_is_named(missing: str, parts: list[Path]) -> None:
    with pytest.raises(PipelineError, match=f"no trained {missing}"):
        evaluate([part for part in parts if part.name != missing])


def test_a_folder_without_a_part_is_named(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=f"{tmp_path} holds no trained part"):
        evaluate([*parts, tmp_path])


def test_parts_of_different_rows_are_not_compared(parts: list[Path], tmp_path: Path) -> None:
    copies = overwrite(parts, tmp_path, {})
    file = copies[2] / "part.json"
    file.write_text(file.read_text().replace('"bars_version": 3', '"bars_version": 2'))
    with pytest.raises(PipelineError, match="2 different sets of rows"):
        evaluate(copies)


def test_the_league_table_is_markdown_best_first(parts: list[Path]) -> None:
    evaluation = evaluate(parts)
    head, rule, *lines = league_table(evaluation.candidates, evaluation.best).splitlines()
    assert {line.count("|") for line in (head, rule, *lines)} == {8}
    assert lines[0].startswith(f"| **{evaluation.best}** |")
    assert len(lines) == len(CANDIDATES)


def test_honest_noise_is_promoted_whoever_wins_and_the_reasons_say_so(parts: list[Path], tmp_path: Path) -> None:
    worse = {name: 0.001 for name in CANDIDATES if name != RANDOM_WALK}
    evaluation = evaluate(overwrite(parts, tmp_path, worse))
    gate = judge(evaluation)
    assert evaluation.best == RANDOM_WALK
    assert gate.promote
    assert "no candidate beats the random walk" in gate.reasons[0]


def test_the_future_in_a_feature_is_refused_as_a_leak(tmp_path: Path) -> None:
    settings = make_settings(candidates=["ridge", "xgboost", "random_walk"])
    evaluation = evaluate(train_all(with_leak(make_dataset()), tmp_path, settings))
    assert evaluation.candidates["xgboost"]["direction_accuracy"] > 0.8
    gate = judge(evaluation)
    assert not gate.promote
    assert any("xgboost gets" in reason and "leak" in reason for reason in gate.reasons)
    assert any("direction classifier gets" in reason for reason in gate.reasons)


def test_shuffled_targets_are_forecast_no_better_than_by_chance(tmp_path: Path) -> None:
    settings = make_settings(candidates=["ridge", "xgboost", "random_walk"])
    evaluation = evaluate(train_all(with_shuffled_targets(make_dataset()), tmp_path, settings))
    for name in ("ridge", "xgboost"):
        assert abs(evaluation.candidates[name]["direction_accuracy"] - 0.5) < 0.09  # three standard errors of 360 rows
        assert evaluation.candidates[name]["skill"] < 0.02
    assert abs(evaluation.direction["accuracy"] - 0.5) < 0.09
    assert judge(evaluation).promote


@pytest.mark.parametrize(("rows", "refused"), [(60, False), (60_000, True)])
def test_a_hit_rate_is_suspect_only_where_rows_are_many(rows: int, refused: bool, parts: list[Path]) -> None:
    evaluation = evaluate(parts)
    data = evaluation.data.model_copy(update={"holdout_rows": rows})
    direction = evaluation.direction | {"accuracy": 0.62, "base_rate": 0.51}
    gate = judge(evaluation.model_copy(update={"direction": direction, "data": data}))
    assert any("leak" in reason for reason in gate.reasons) == refused


def test_a_hit_rate_no_better_than_a_lopsided_market_s_is_not_suspect(parts: list[Path]) -> None:
    evaluation = evaluate(parts)
    data = evaluation.data.model_copy(update={"holdout_rows": 60_000})
    direction = evaluation.direction | {"accuracy": 0.7, "base_rate": 0.7}
    candidates = {name: scores | {"direction_accuracy": 0.5} for name, scores in evaluation.candidates.items()}
    fair = evaluation.model_copy(update={"direction": direction, "data": data, "candidates": candidates})
    assert judge(fair).promote
