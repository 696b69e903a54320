"""Figures are what their names say, the random walk is the measure, and what is no number is refused, not hidden."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from cryptosentinel.bundle import BLEND, DIRECTION, RANDOM_WALK, Bundle, write_random_walk
from cryptosentinel.forecasting import CANDIDATES, Evaluation, baselines, incumbent_on, league_table, read_unseen
from cryptosentinel.forecasting.evaluation import SHRUNK, baseline_history, score_direction, score_returns
from cryptosentinel.forecasting.significance import mean_interval
from tests.features.builders import SPEC
from tests.forecasting.builders import evaluate_parts, judge_first, last_block_of, make_dataset, make_settings


def scored(actual: list[float], forecast: list[float]) -> dict[str, float]:
    return score_returns(np.array(actual), np.array(forecast), np.full(len(actual), 100.0))


def test_return_metrics_by_hand() -> None:
    scores = scored([0.01, -0.02, 0.03, 0.0], [0.02, -0.01, -0.01, 0.01])
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
    scores = scored(actual.tolist(), forecast.tolist())
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(actual, forecast))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(actual, forecast))
    assert scores["r2"] == pytest.approx(metrics.r2_score(actual, forecast))


def test_the_random_walk_has_no_skill_and_no_direction() -> None:
    scores = scored([0.01, -0.02], [0.0, 0.0])
    assert scores["skill"] == 0
    assert "direction_accuracy" not in scores


def test_direction_metrics_by_hand() -> None:
    p_up, up = np.array([0.9, 0.6, 0.5, 0.7, 0.1]), np.array([True, True, True, False, False])
    scores, confusion = score_direction(p_up, up, base_rate=0.5, horizon_bars=1)
    assert confusion == [[1, 1], [1, 2]], "rows actual, columns predicted; one half is not up"
    loss = (0.01 + 0.16 + 0.25 + 0.49 + 0.01) / 5
    by_hand = {"accuracy": 3 / 5, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "base_rate": 3 / 5, "brier": loss}
    assert {name: scores[name] for name in by_hand} == pytest.approx(by_hand)
    assert scores["brier_skill"] == pytest.approx(1 - loss / 0.25)
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(up, p_up))
    assert 0 < scores["perfect_error"] < 1


def test_a_classifier_that_never_says_up_has_no_precision_rather_than_an_error() -> None:
    scores, _ = score_direction(np.array([0.1, 0.1]), np.array([True, False]), base_rate=0.5, horizon_bars=1)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0, 0, 0)


def test_every_candidate_and_every_baseline_is_measured_on_the_last_block(evaluation: Evaluation) -> None:
    assert evaluation.candidates.keys() == {*CANDIDATES, *baselines.POINT, BLEND, SHRUNK}
    assert evaluation.spread.keys() == {BLEND, RANDOM_WALK, *baselines.SPREAD}
    _, last = last_block_of(make_dataset(), make_settings())
    assert evaluation.evidence.rows == len(last) == sum(sum(row) for row in evaluation.confusion)
    assert evaluation.candidates["continued"] == score_returns(last.y, last.history["last_return"], last.close)


def test_the_blend_and_its_shrunk_form_are_scored_as_such(parts: list[Path], evaluation: Evaluation) -> None:
    _, last = read_unseen(parts, make_dataset()).split()
    assert evaluation.candidates[BLEND] == score_returns(last.rows.y, last.blend, last.rows.close)
    shrunk = evaluation.choices.shrinkage * last.blend
    assert evaluation.candidates[SHRUNK] == score_returns(last.rows.y, shrunk, last.rows.close)


def test_baselines_are_fitted_before_the_last_block(parts: list[Path], evaluation: Evaluation) -> None:
    rows = make_dataset()
    _, last = last_block_of(rows, make_settings())
    realised = np.where(rows.timestamps >= last.timestamps[0], 5 * rows.realised, rows.realised)
    again = evaluate_parts(parts, replace(rows, realised=realised), make_settings())
    assert again.spread == evaluation.spread
    unseen = read_unseen(parts, rows)
    count = len(unseen) - len(last)
    answer = baselines.single_feature(baseline_history(unseen.rows), slice(0, count))[count:]
    assert evaluation.candidates["single_feature"] == score_returns(last.y, answer, last.close)


def test_slices_cover_the_last_block_once_each_way(evaluation: Evaluation) -> None:
    for kind, names in {"volatility": 3, "hour": 24}.items():
        slices = [s for s in evaluation.slices[BLEND] if s.kind == kind]
        assert len(slices) == names
        assert sum(s.rows for s in slices) == evaluation.evidence.rows
        mean = sum(s.rows * s.coverage_80 for s in slices) / evaluation.evidence.rows
        assert mean == pytest.approx(evaluation.evidence.served[BLEND].coverage_80)
    by_regime = {s.name: s.rows / evaluation.evidence.rows for s in evaluation.slices[BLEND] if s.kind == "regime"}
    assert by_regime == pytest.approx({name: share for name, share in evaluation.regimes.items() if share})
    assert sum(evaluation.regimes.values()) == pytest.approx(1)


def test_thirds_are_by_forecast_volatility_and_hours_by_utc(parts: list[Path], evaluation: Evaluation) -> None:
    _, last = read_unseen(parts, make_dataset()).split()
    actual = np.abs(last.rows.y)
    hour = last.rows.timestamps.astype("datetime64[h]").astype(int) % 24
    noon = next(s for s in evaluation.slices[BLEND] if (s.kind, s.name) == ("hour", "12"))
    assert noon.rows == (hour == 12).sum()
    low, middle, high = (s for s in evaluation.slices[BLEND] if s.kind == "volatility")
    assert [s.name for s in (low, middle, high)] == ["low", "middle", "high"]
    assert low.rows == pytest.approx(len(actual) / 3, abs=1)
    assert low.pinball_bp < high.pinball_bp


def test_a_direction_that_is_not_given_or_not_taken_counts_neither_way(parts: list[Path], tmp_path: Path) -> None:
    rows = make_dataset()
    _, last = last_block_of(rows, make_settings())
    flat = replace(rows, y=np.where(rows.timestamps >= last.timestamps[0], 0.0, rows.y))
    evaluation = evaluate_parts(parts, flat, make_settings())
    assert all(math.isnan(s.accuracy) for s in evaluation.slices[BLEND])
    assert evaluation.evidence.accuracy == 0.5
    gate = judge_first(evaluation, make_settings())
    assert not gate.promote
    assert any("the price did not move at all" in reason for reason in gate.reasons)


def test_accuracy_has_an_interval_that_knows_of_overlap(evaluation: Evaluation, parts: list[Path]) -> None:
    _, last = read_unseen(parts, make_dataset()).split()
    p_up = evaluation.choices.calibration.apply(last.score)
    hits = 0.5 + 0.5 * np.sign(p_up - 0.5) * np.sign(last.rows.y)
    expected = mean_interval(hits, 6)
    assert (evaluation.evidence.accuracy_low, evaluation.evidence.accuracy_high) == pytest.approx(expected)


def overwrite(parts: list[Path], folder: Path, forecasts: dict[str, object]) -> list[Path]:
    """Copies of the parts, of which some answered something else in the last block."""
    copies = [shutil.copytree(part, folder / part.name) for part in parts]
    for copy in copies:
        if copy.name in forecasts:
            frame = pd.read_parquet(copy / "forecasts.parquet")
            frame["forecast"] = frame["forecast"].astype(np.float64)
            frame.loc[frame["block"] == -1, "forecast"] = forecasts[copy.name]
            frame.to_parquet(copy / "forecasts.parquet")
    return copies


@pytest.mark.parametrize(
    ("broken", "value", "named"),
    [
        ("gradient_boosting", math.nan, "blend"),
        (DIRECTION, math.nan, "p_up"),
        ("volatility_trees", math.nan, "sigma"),
        ("volatility_linear", math.inf, "sigma"),
    ],
)
def test_a_model_that_diverged_is_measured_and_refused(
    broken: str, value: float, named: str, parts: list[Path], tmp_path: Path
) -> None:
    _, last = last_block_of(make_dataset(), make_settings())
    somewhere = np.where(np.arange(len(last)) % 9 == 0, value, 1e-3)
    evaluation = evaluate_parts(overwrite(parts, tmp_path, {broken: somewhere}), make_dataset(), make_settings())
    gate = judge_first(evaluation, make_settings())
    assert not gate.promote
    assert any(named in reason and "not finite on some rows" in reason for reason in gate.reasons), gate.reasons
    again = Evaluation.model_validate_json(evaluation.model_dump_json())
    assert again.evidence.not_finite == evaluation.evidence.not_finite != []


def test_an_evaluation_survives_being_written_even_where_a_figure_is_none(evaluation: Evaluation) -> None:
    assert Evaluation.model_validate_json(evaluation.model_dump_json()).model_dump() == evaluation.model_dump()
    figures = evaluation.candidates | {"ridge": evaluation.candidates["ridge"] | {"r2": math.nan, "rmse": math.inf}}
    broken = evaluation.model_copy(update={"candidates": figures})
    again = Evaluation.model_validate_json(broken.model_dump_json())
    assert math.isnan(again.candidates["ridge"]["r2"])
    assert again.candidates["ridge"]["rmse"] == math.inf


def test_the_league_table_is_markdown_best_first_and_what_is_no_number_last(evaluation: Evaluation) -> None:
    figures: dict[str, Any] = dict(evaluation.candidates)
    figures["ridge"] = figures["ridge"] | {"rmse": math.nan}
    head, rule, *lines = league_table(figures, SHRUNK).splitlines()
    assert {line.count("|") for line in (head, rule, *lines)} == {8}
    assert len(lines) == len(figures)
    assert lines[-1].startswith("| ridge |")
    errors = [float(line.split("|")[2]) for line in lines[:-1]]
    assert errors == sorted(errors)
    assert sum(line.startswith(f"| **{SHRUNK}** |") for line in lines) == 1


def test_a_field_is_held_against_the_champion_on_the_same_rows(parts: list[Path], tmp_path: Path) -> None:
    settings = make_settings()
    _, last = last_block_of(make_dataset(), settings)
    write_random_walk(
        tmp_path / "walk", SPEC, asset="bitcoin", currency="usd", market="test", simulated=True, horizon_bars=6
    )
    walk = incumbent_on(last, SPEC.hash, Bundle.load(tmp_path / "walk"), 0, settings.forecast)
    evaluation = evaluate_parts(parts, make_dataset(), settings, incumbent=walk)
    them = evaluation.evidence.served[RANDOM_WALK].champion
    assert them
    assert (them.name, them.trained, them.rows) == ("version 0", False, len(last))
    assert them.pinball_bp == pytest.approx(evaluation.spread[RANDOM_WALK]["pinball_bp"])
    assert judge_first(evaluation, settings).champion == RANDOM_WALK
