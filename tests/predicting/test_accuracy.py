"""What settled forecasts came to, in figures."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.predicting import PENDING, measure
from cryptosentinel.predicting.accuracy import independent_outcomes

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
    figures = [
        accuracy.error,
        accuracy.skill.value,
        accuracy.hits.value,
        accuracy.covered[80].value,
        accuracy.covered[95].lower,
    ]
    assert [math.isnan(figure) for figure in figures] == [True] * 5


def independent_by_hand(log: pd.DataFrame) -> int:
    """What `independent_outcomes` says, a row at a time."""
    count, end = 0, None
    for row in log.sort_values("made_at", kind="stable").itertuples():
        if end is None or row.made_at >= end:
            count, end = count + 1, row.target_at
    return count


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=40))
def test_forecasts_that_do_not_overlap_are_counted_as_by_hand(made_and_reach: list[tuple[int, int]]) -> None:
    """Gaps, several at once, any order, any horizon, none among them."""
    made, reach = ([row[at] for row in made_and_reach] for at in (0, 1))
    times = pd.Timestamp(NOW) + pd.to_timedelta(made, unit="min")
    log = pd.DataFrame({"made_at": times, "target_at": times + pd.to_timedelta(reach, unit="min")})
    assert independent_outcomes(log) == independent_by_hand(log)


def followed(count: int, *, heard: float, seed: int = 0) -> pd.DataFrame:
    """Forecasts half an hour ahead, every five minutes, that know the share `heard` of what the price will do."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 0.001, count + 6)
    moves = np.convolve(steps, np.ones(6), "valid")[:count]
    frame = outcomes(*[("up", "correct")] * count)
    heard_of = heard * moves + random.normal(0, 0.0005, count)
    return frame.assign(price=100.0, actual_price=100 * (1 + moves), predicted_price=100 * (1 + heard_of))


def test_skill_is_the_share_of_squared_error_that_the_random_walk_has_more() -> None:
    skill = measure(followed(2000, heard=0.5)).skill
    frame = followed(2000, heard=0.5)
    ours = (frame["predicted_price"] - frame["actual_price"]).pow(2).sum()
    assert skill.value == pytest.approx(1 - ours / (100 - frame["actual_price"]).pow(2).sum())
    assert skill.value > 0.6
    assert 0 < skill.lower < skill.value < skill.upper < 1


def test_the_interval_of_skill_holds_what_is_true_about_as_often_as_it_says() -> None:
    """The true skill of a forecast that is the random walk's with noise: minus the noise's share."""
    true = -(0.0005**2) / (6 * 0.001**2)
    within = [
        (skill := measure(followed(600, heard=0.0, seed=seed)).skill).lower < true < skill.upper for seed in range(60)
    ]
    assert np.mean(within) > 0.85


def test_to_say_that_the_price_stays_has_no_skill() -> None:
    frame = followed(300, heard=0.0)
    skill = measure(frame.assign(predicted_price=frame["price"])).skill
    assert (skill.value, skill.lower, skill.upper) == (0, 0, 0)


def test_a_few_forecasts_prove_no_skill() -> None:
    assert measure(followed(12, heard=0.5)).skill.lower == -math.inf
