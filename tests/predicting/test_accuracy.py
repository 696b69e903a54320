"""What settled forecasts came to, in figures."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pandas as pd
import pytest

from cryptosentinel.predicting import PENDING, measure

NOW = datetime(2025, 1, 6, 12, 1, tzinfo=UTC)


def outcomes(*rows: tuple[str, str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["direction", "outcome"])
    frame["made_at"] = pd.date_range(NOW, periods=len(frame), freq="5min")
    frame["target_at"] = frame["made_at"] + pd.Timedelta("30min")
    frame["actual_price"] = [None if outcome in {None, "missed"} else 100.0 for outcome in frame["outcome"]]
    frame["actual_price"] = frame["actual_price"].astype("float64")
    return frame.assign(price=98.0, predicted_price=95.0, lower_80=90.0, upper_80=99.0, lower_95=90.0, upper_95=110.0)


def test_hits_are_of_calls_that_were_followed_by_a_move() -> None:
    accuracy = measure(
        outcomes(
            ("up", "correct"),
            ("down", "correct"),
            ("up", "incorrect"),
            ("flat", "incorrect"),
            ("up", "flat"),
            ("up", "missed"),
            ("up", None),
        )
    )
    assert accuracy.counts == {"correct": 2, "incorrect": 2, "flat": 1, "missed": 1, PENDING: 1}
    assert (accuracy.made, accuracy.settled, accuracy.called) == (7, 6, 3)
    assert accuracy.hits.value == pytest.approx(2 / 3)
    assert [share.value for share in accuracy.covered.values()] == [0.0, 1.0]
    assert accuracy.covered[80].independent == 1  # they are made within half an hour
    assert (accuracy.error, accuracy.baseline_error) == (pytest.approx(5 / 98), pytest.approx(2 / 98))


def test_without_a_call_there_are_no_hits() -> None:
    """The random walk calls none: that the price moved is no miss of a direction."""
    accuracy = measure(outcomes(("flat", "incorrect"), ("up", None)))
    assert (math.isnan(accuracy.hits.value), accuracy.called) == (True, 0)


def test_without_a_settled_forecast_nothing_is_known() -> None:
    accuracy = measure(outcomes(("up", None), ("up", "missed")))
    figures = [accuracy.error, accuracy.hits.value, accuracy.covered[80].value, accuracy.covered[95].lower]
    assert [math.isnan(figure) for figure in figures] == [True] * 4
