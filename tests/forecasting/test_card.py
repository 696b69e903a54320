"""The model card is a text for a person: true to the verdict, complete, and Markdown that renders."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Bundle, Gate
from cryptosentinel.forecasting import Evaluation, model_card
from cryptosentinel.forecasting.evaluation import Slice
from tests.forecasting.builders import make_bundle, make_settings


@pytest.fixture(scope="module")
def card(bundle: Bundle) -> str:
    return bundle.file("MODEL_CARD.md").read_text()


def with_champion(bundle: Bundle, evaluation: Evaluation, champion: str, promote: bool, shrinkage: float) -> str:
    gate = Gate(promote=promote, champion=champion, reasons=["first reason", "second reason"])
    manifest = bundle.manifest.model_copy(update={"gate": gate, "champion": champion})
    choices = evaluation.choices.model_copy(update={"shrinkage": shrinkage})
    return model_card(manifest, evaluation.model_copy(update={"choices": choices}))


def with_data(bundle: Bundle, evaluation: Evaluation, **changes: object) -> str:
    return model_card(
        bundle.manifest, evaluation.model_copy(update={"data": evaluation.data.model_copy(update=changes)})
    )


def with_hours(bundle: Bundle, evaluation: Evaluation, rows: int, coverage_80: float) -> str:
    """Intervals that hold 80% of each hour's outcomes, except in hour 21."""
    ordinary = {"kind": "hour", "rows": rows, "pinball_bp": 6.0, "coverage_95": 0.95, "skill": 0.0, "accuracy": 0.5}
    hours = [Slice(name=f"{h:02}", coverage_80=coverage_80 if h == 21 else 0.8, **ordinary) for h in range(24)]
    slices = dict.fromkeys((BLEND, RANDOM_WALK), hours)
    return model_card(bundle.manifest, evaluation.model_copy(update={"slices": slices}))


def test_a_card_has_its_sections_in_order(card: str) -> None:
    lines = card.splitlines()
    assert lines[0] == "# bitcoin, 30 minutes ahead"
    assert [line for line in lines if line.startswith("## ")] == [
        "## What it is for",
        "## Data",
        "## The spread",
        "## The direction",
        "## The price",
        "## Where it fails",
        "## How to make it again",
    ]


def test_a_card_says_random_walk_when_it_is_one(bundle: Bundle, evaluation: Evaluation) -> None:
    card = with_champion(bundle, evaluation, RANDOM_WALK, promote=True, shrinkage=0.0)
    assert "Its price is the random walk's: that it stays where it is." in card
    assert "**Verdict: promoted.**\n\n- first reason\n- second reason\n" in card
    assert "| **random_walk** |" in card
    assert "| shrunk |" in card


def test_a_card_says_how_much_of_which_models_is_believed(bundle: Bundle, evaluation: Evaluation) -> None:
    card = with_champion(bundle, evaluation, BLEND, promote=False, shrinkage=0.372)
    names = "gradient_boosting, random_forest, xgboost, ridge"
    assert f"Its price moves by 37.2% of the return that {names} expect on average." in card
    assert "stays where it is" not in card
    assert "**Verdict: refused.**" in card
    assert "| **shrunk** |" in card


def test_a_card_holds_every_figure_of_its_tables(card: str, evaluation: Evaluation) -> None:
    rows = {line.split(" | ")[0].strip("|* ") for line in card.splitlines() if line.startswith("| ")}
    assert {"this bundle", "constant width", "EWMA", "HAR"} <= rows
    assert set(evaluation.candidates) <= rows
    assert {s.name for s in evaluation.slices[RANDOM_WALK]} <= rows
    for b in evaluation.reliability:
        assert f"| {b.forecast:.1%} | {b.observed:.1%} | {b.count:,} |" in card
    assert f"{evaluation.spread['har']['pinball_bp']:.3f}" in card
    assert f"{evaluation.direction['brier']:.4f}" in card


def test_a_direction_that_is_no_better_than_chance_is_called_that(bundle: Bundle, evaluation: Evaluation) -> None:
    chance = "**On these rows it cannot be told from chance.**"
    assert chance in model_card(bundle.manifest, evaluation)
    sure = evaluation.evidence.model_copy(update={"accuracy_low": 0.99})
    better = evaluation.direction | {"brier_skill": 0.01}
    known = evaluation.model_copy(update={"evidence": sure, "direction": better})
    assert chance not in model_card(bundle.manifest, known)


def test_where_it_fails_is_said_in_a_sentence(card: str, evaluation: Evaluation) -> None:
    worst = max(evaluation.slices[RANDOM_WALK], key=lambda s: abs(s.coverage_80 - 0.8))
    (sentence,) = re.findall(r"The 80% interval was furthest off in .*", card)
    assert worst.name in sentence
    assert f"{worst.coverage_80:.1%} of {worst.rows:,} outcomes" in sentence


@pytest.mark.parametrize(("rows", "found"), [(288, "luck may explain it"), (2_880, "this is more than luck")])
def test_the_worst_of_many_is_held_against_luck(bundle: Bundle, evaluation: Evaluation, rows: int, found: str) -> None:
    card = with_hours(bundle, evaluation, rows, coverage_80=0.903)
    assert f"hour (UTC) 21: it held 90.3% of {rows:,} outcomes, of which {rows // 6:,} do not overlap" in card
    assert f"the worst of 24 would be beyond 3.1 in one case of 20 at most, so {found}." in card


@pytest.mark.parametrize(("rows", "said"), [(27_627, "one in 3 (9,209)"), (12_001, "one in 2 (6,001)")])
def test_a_card_says_how_many_rows_are_fitted_on(bundle: Bundle, evaluation: Evaluation, rows: int, said: str) -> None:
    assert f"{rows:,} rows, of which the models are fitted on {said}" in with_data(
        bundle, evaluation, training_rows=rows
    )
    assert "4,999 rows to fit on." in with_data(bundle, evaluation, training_rows=4_999)


@pytest.mark.parametrize(("days", "share"), [(28, "75%"), (14, "50%"), (2, "0%")])
def test_a_card_says_what_is_looked_at_again(bundle: Bundle, evaluation: Evaluation, days: int, share: str) -> None:
    begin = evaluation.data.end - timedelta(days=days)
    card = with_data(bundle, evaluation, holdout_start=begin)
    assert f"a bundle trained a week later is judged on {share} of them once more" in card


def test_a_card_says_when_and_by_what_it_was_made(card: str, bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC by cryptosentinel {version('cryptosentinel')}." in card


def test_a_backtest_has_no_tables_to_name(card: str, bundle: Bundle, evaluation: Evaluation) -> None:
    assert "Bars table version 3, features table version 4." in card
    assert "table version" not in with_data(bundle, evaluation, bars_version=-1, features_version=-1)


def test_every_name_in_a_table_is_explained(card: str, bundle: Bundle) -> None:
    for name in ("continued", "reversed", "single_feature", "blend", "shrunk", *bundle.manifest.regimes):
        assert f"`{name}`" in card


def test_a_simulated_market_is_called_one(card: str, parts: list[Path], evaluation: Evaluation, tmp_path: Path) -> None:
    assert "> **Simulated market.**" in card
    real = make_bundle(tmp_path / "real", parts, evaluation, make_settings(), simulated=False)
    assert "imulated market" not in real.file("MODEL_CARD.md").read_text()


def test_a_card_is_markdown_that_renders(card: str) -> None:
    lines = card.splitlines()
    assert card.endswith("\n")
    assert not card.endswith("\n\n")
    assert "\n\n\n" not in card
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith(("#", "> ")):
            assert before == after == "", f"no blank line around {line!r}"
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
        assert re.fullmatch(r"\|---(\|---:)*\|---:\|", table.splitlines()[1])
    assert not re.search(r"\b(nan|None|inf)\b", card)


def test_every_reason_of_the_gate_is_in_the_card(card: str, bundle: Bundle) -> None:
    for reason in bundle.manifest.gate.reasons:
        assert f"- {reason}\n" in card
