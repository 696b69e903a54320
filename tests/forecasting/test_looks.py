"""Looks are rare, each is paid for, and the registry remembers them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosentinel.bundle import Champion, Gate
from cryptosentinel.config import GateSettings
from cryptosentinel.forecasting.looks import (
    PastVerdict,
    look_alpha,
    most_looks,
    next_look,
    past_verdict,
    past_verdicts,
    verdict_metrics,
)
from cryptosentinel.storage import RegisteredModel

NOW = datetime(2025, 6, 1, tzinfo=UTC)
SETTINGS = GateSettings(alpha=0.05, budget_days=365, look_days=7)


def verdict(
    days_ago: float, *, look: bool = True, champion: Champion = "random_walk", tested: bool = True
) -> PastVerdict:
    return PastVerdict(NOW - timedelta(days=days_ago), look=look, champion=champion, promoted=True, tested=tested)


def test_the_first_look_is_due_at_once_and_may_spend_half() -> None:
    look = next_look([], NOW, SETTINGS)
    assert (look.due, look.number, look.standing) == (True, 1, "random_walk")
    assert look.alpha == pytest.approx(0.025)


@pytest.mark.parametrize(("days", "due"), [(0.02, False), (6.99, False), (7, True), (30, True), (-1, False)])
def test_the_next_look_waits_for_unseen_data(days: float, due: bool) -> None:
    assert next_look([verdict(days)], NOW, SETTINGS).due == due, "data that end before the last look are not new"


def test_verdicts_between_looks_neither_delay_the_next_one_nor_change_what_stands() -> None:
    past = [verdict(7, champion="blend"), *(verdict(days, look=False) for days in (6, 3, 0.02))]
    look = next_look(past, NOW, SETTINGS)
    assert (look.due, look.number, look.standing) == (True, 2, "blend")


def test_the_newest_look_decides_what_stands_however_the_verdicts_are_ordered() -> None:
    past = [verdict(8, champion="blend"), verdict(20)]
    assert next_look(past, NOW, SETTINGS).standing == "blend"
    assert next_look(past[::-1], NOW, SETTINGS).standing == "blend"


def test_later_looks_get_less_and_never_nothing() -> None:
    levels = [look_alpha(number, SETTINGS) for number in range(1, most_looks(SETTINGS) + 1)]
    assert len(levels) == 53
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] >= 0.05 / 4 / 52, "a quarter of alpha is kept in equal parts"


def test_a_look_that_could_not_let_the_blend_speak_cost_nothing() -> None:
    look = next_look([verdict(14, tested=False), verdict(7, tested=False)], NOW, SETTINGS)
    assert (look.due, look.number) == (True, 1)
    assert not next_look([verdict(6, tested=False)], NOW, SETTINGS).due, "it was a look all the same"


def test_looks_longer_ago_than_the_budget_period_are_paid_off() -> None:
    assert next_look([verdict(366), verdict(365), verdict(300)], NOW, SETTINGS).number == 2


@given(
    gaps=st.lists(st.floats(0, 60), max_size=80),
    alpha=st.floats(0.001, 0.4),
    budget=st.floats(1, 400),
    spacing=st.floats(0.5, 40),
)
def test_the_looks_of_any_budget_period_may_err_with_alpha_together(
    gaps: list[float], alpha: float, budget: float, spacing: float
) -> None:
    settings = GateSettings(alpha=alpha, budget_days=budget, look_days=spacing)
    past: list[PastVerdict] = []
    spent: list[tuple[datetime, float]] = []
    at = NOW
    for gap in gaps:
        at += timedelta(days=gap)
        look = next_look(past, at, settings)
        past.append(PastVerdict(at, look=look.due, champion="random_walk", promoted=False))
        if look.due:
            spent.append((at, look.alpha))
        period = at - timedelta(days=budget)
        assert sum(level for when, level in spent if when > period) <= alpha * (1 + 1e-9)


def make_gate(*, look: bool, speaks: bool, tested: bool) -> Gate:
    figures = {"blend_may_speak": float(speaks), "look_tested": float(tested)}
    return Gate(promote=True, champion="random_walk", reasons=["r"], figures=figures, look=look)


@pytest.mark.parametrize(("look", "speaks", "tested"), [(True, True, True), (True, False, False), (False, True, False)])
def test_the_registry_remembers_verdicts(look: bool, speaks: bool, tested: bool) -> None:
    gate = make_gate(look=look, speaks=speaks, tested=tested)
    metrics = json.loads(json.dumps({"rmse": 1.0, **verdict_metrics(gate, NOW)}))
    versions = [RegisteredModel(n, "", "", NOW, figures, "") for n, figures in enumerate([{}, metrics])]
    expected = PastVerdict(NOW, look=look, champion="blend" if speaks else "random_walk", promoted=True, tested=tested)
    assert past_verdicts(versions) == [expected], "version 0 was never judged"
    assert past_verdict(gate, NOW) == expected, "a backtest remembers the same"
