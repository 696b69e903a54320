"""What the figures on the models show; how they look is for eyes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cryptosentinel.explaining import contribution_sums
from cryptosentinel.predicting import Share
from dashboard.charts import insights as charts
from dashboard.data.insights import Reliability
from tests.builders import make_explanation, make_local


def trace(figure: Any, name: str) -> Any:
    return next(each for each in figure.data if each.name == name)


@pytest.mark.parametrize("subject", ["price", "direction", "range"])
def test_a_waterfall_adds_up_and_names_the_largest_first(subject: Any) -> None:
    explanation = make_explanation()
    shown = contribution_sums(explanation)[subject]
    (bars,) = charts.waterfall(shown, subject, explanation.features, top=2).data
    named = ["RSI 14", "Week sin", f"{len(shown.contributions) - 2} others", "Together"]
    assert list(bars.y) == (named if subject == "range" else ["Without this row", *named])
    start = 0.0 if subject == "range" else shown.base
    assert sum(bars.x) == pytest.approx(start + sum(shown.contributions.values()))
    assert bars.measure[-1] == "total"
    if subject == "price":
        assert explanation.close + sum(bars.x) == pytest.approx(explanation.predicted_price)
    if subject == "range":
        assert bars.text[-1] == f"x{math.exp(sum(bars.x)):.3f}"


def test_nothing_in_a_feature_s_name_is_markup() -> None:
    figure = charts.importance_chart({"<b>x</b>": 3.0, "rsi_14": 1.0, "unused": 0.0}, top=5)
    assert list(figure.data[0].y) == ["&lt;b&gt;x&lt;/b&gt;", "RSI 14"]
    assert list(figure.data[0].x) == [0.75, 0.25]


def test_lime_s_weights_are_in_basis_points_and_points_with_their_sign() -> None:
    (bars,) = charts.local_chart(make_local(rsi_14=0.0012, range=0.0)).data
    assert (list(bars.text), list(bars.y)) == (["+12.000"], ["RSI 14"])
    (bars,) = charts.local_chart(make_local("probability", rsi_14=-0.02)).data
    assert list(bars.text) == ["-2.000"]


def test_calibration_shows_each_bin_with_its_interval_and_count() -> None:
    bins = [Reliability(0.4, Share(0.3, 0.2, 0.5, 12), 70), Reliability(0.6, Share(0.7, 0.5, 0.8, 12), 80)]
    figure = charts.calibration_chart(bins)
    rose = trace(figure, "rose")
    assert (list(rose.x), list(rose.y)) == ([0.4, 0.6], [0.3, 0.7])
    assert list(rose.error_y.array) == pytest.approx([0.2, 0.1])
    assert list(rose.error_y.arrayminus) == pytest.approx([0.1, 0.2])
    assert list(trace(figure, "forecasts").y) == [70, 80]
    ideal = trace(figure, "right probabilities")
    assert ideal.x == ideal.y


def test_coverage_shows_what_was_logged_beside_what_was_measured_before() -> None:
    logged = {50: Share(0.4, 0.3, 0.5, 40), 80: Share(0.9, 0.8, 1.0, 40)}
    figure = charts.coverage_chart(logged, {80: Share(0.8, 0.75, 0.85, 288)})
    assert list(trace(figure, "logged forecasts").y) == [0.4, 0.9]
    assert list(trace(figure, "before it served, unseen rows").y) == [0.8]
    assert list(figure.layout.xaxis.ticktext) == ["50%", "80%"]
    assert len(charts.coverage_chart(logged, {}).data) == 2
