"""The model card is a text for a person: true to the verdict, complete, and Markdown that renders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Bundle, Gate
from cryptosentinel.forecasting import Evaluation, model_card
from tests.forecasting.builders import make_bundle, make_settings


@pytest.fixture(scope="module")
def card(bundle: Bundle) -> str:
    return bundle.file("MODEL_CARD.md").read_text()


def with_champion(bundle: Bundle, evaluation: Evaluation, champion: str, promote: bool, shrinkage: float) -> str:
    gate = Gate(promote=promote, champion=champion, reasons=["first reason", "second reason"])
    manifest = bundle.manifest.model_copy(update={"gate": gate, "champion": champion})
    choices = evaluation.choices.model_copy(update={"shrinkage": shrinkage})
    return model_card(manifest, evaluation.model_copy(update={"choices": choices}))


def test_a_card_has_its_sections_in_order(card: str) -> None:
    lines = card.splitlines()
    assert lines[0] == "# bitcoin, 30 minutes ahead"
    assert [line for line in lines if line.startswith("## ")] == [
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
