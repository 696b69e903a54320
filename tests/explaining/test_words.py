"""What a person is told."""

from __future__ import annotations

import numpy as np

from cryptosentinel.explaining import Explainer, Explanation, sentence
from tests.explaining.builders import CLOSE, odd_rows
from tests.forecasting.builders import make_dataset


def explanations(explainer: Explainer) -> list[Explanation]:
    return [explainer.explain(row.astype(np.float64), CLOSE) for row in make_dataset().X[:200:10]]


def test_a_forecast_says_where_to_how_far_and_why(explainer: Explainer) -> None:
    for explanation in explanations(explainer):
        said = sentence(explanation)
        rises = explanation.predicted_price > CLOSE
        assert said.startswith(f"The price is forecast to {'rise' if rises else 'fall'} by ")
        assert f"to {explanation.predicted_price:,.2f} USD, " in said
        assert "most by" in said.split(". ")[0]


def test_the_random_walk_stays_and_the_range_and_direction_are_explained(silent_explainer: Explainer) -> None:
    for explanation in explanations(silent_explainer):
        price, rest = sentence(explanation).split(": ", 1)
        assert price == "The price forecast is that it stays at 600.00 USD"
        assert f"between {explanation.lower_80:,.2f} and {explanation.upper_80:,.2f}" in rest
        assert "times the usual range, " in rest
        assert f"a rise is {explanation.p_up:.1%} likely" in rest
        assert rest.count("most by") >= 2


def test_version_0_says_that_it_has_learnt_nothing(walk: Explainer) -> None:
    said = sentence(explanations(walk)[0])
    assert "stays at 600.00 USD: nothing has been learnt yet." in said
    assert said.endswith("by recent volatility alone; no direction is called.")


def test_features_are_called_by_their_description(silent_explainer: Explainer) -> None:
    explanation = explanations(silent_explainer)[0]
    first = next(iter(explanation.targets["sigma"].contributions))
    one = explanation.targets["sigma"].model_copy(
        update={"contributions": explanation.targets["sigma"].contributions | {first: 0.0, "rsi_14": -9.0}}
    )
    said = sentence(explanation.model_copy(update={"targets": explanation.targets | {"sigma": one}}))
    assert 'narrower most by "Relative strength index 14, 0 to 100" (x0.00)' in said
    assert first not in said


def test_a_coin_is_called_a_coin(silent_explainer: Explainer) -> None:
    explanation = explanations(silent_explainer)[0]
    for p_up, coin in ((0.501, True), (0.5, True), (0.56, False)):
        said = sentence(explanation.model_copy(update={"p_up": p_up, "direction": "flat" if p_up == 0.5 else "up"}))
        assert ("no better than a coin" in said) == coin


def test_an_outlying_row_is_said_to_be_one(silent_explainer: Explainer) -> None:
    said = {}
    for row in odd_rows(60):
        explanation = silent_explainer.explain(row, CLOSE)
        said[explanation.outlying] = sentence(explanation)
    assert "unlike anything trained on" in said[True]
    assert "unlike" not in said[False]


def test_small_prices_keep_their_digits(silent_explainer: Explainer) -> None:
    row = make_dataset().X[0].astype(np.float64)
    assert "stays at 0.074210 USD" in sentence(silent_explainer.explain(row, 0.07421))
