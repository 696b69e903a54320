"""Luck does not become champion, nor does a leak, nor anything that is worse; what is equal may replace what is old."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cryptosentinel.config import GateSettings
from cryptosentinel.forecasting.evidence import (
    Comparison,
    Coverage,
    Evidence,
    Service,
)
from cryptosentinel.forecasting.gate import judge
from cryptosentinel.forecasting.looks import Look, past_verdict

SETTINGS = GateSettings()
END = datetime(2025, 6, 1, tzinfo=UTC)
DUE = Look(due=True, number=1, alpha=0.025, standing="random_walk")
NOT_DUE = replace(DUE, due=False)
DUE_SPEAKING, NOT_DUE_SPEAKING = replace(DUE, standing="blend"), replace(NOT_DUE, standing="blend")


def make_evidence(**changes: Any) -> Evidence:
    """A block of 30 days that shows nothing in particular; no champion."""
    usual = {
        "data_end": END,
        "data_age_s": 1_800.0,
        "rows": 8_640,
        "horizon_bars": 6,
        "independent_labels": 1_440.0,
        "effective_labels": 1_500.0,
        "not_finite": [],
        "weight": 0.3,
        "information_t": 0.5,
        "information_p": 0.3,
        "skill": 1e-4,
        "weighted_skill": 1e-4,
        "worse_p": 0.6,
        "accuracy": 0.51,
        "accuracy_low": 0.49,
        "accuracy_high": 0.53,
        "base_rate": 0.505,
        "brier": 0.25,
        "outlying_newest": 0.0,
        "outlying_share": 0.0,
        "accuracies": {"ridge": 0.5, "xgboost": 0.52},
        "served": {"blend": make_service(), "random_walk": make_service()},
    }
    return Evidence(**(usual | changes))


def make_service(champion: Comparison | None = None, **changes: float) -> Service:
    return Service(**({"coverage_80": 0.8, "coverage_95": 0.95, "pinball_bp": 6.4} | changes), champion=champion)


def make_comparison(**changes: Any) -> Comparison:
    """An equal of ten days ago that does not speak."""
    even = Coverage(ours=0.8, theirs=0.8, excess=0.0, standard_error=0.005)
    usual = {
        "name": "version 7",
        "trained": True,
        "age_days": 10.0,
        "speaks": False,
        "rows": 8_640,
        "point_worse_p": 0.5,
        "point_better_p": 0.5,
        "pinball_bp": 6.4,
        "their_pinball_bp": 6.4,
        "pinball_worse_p": 0.5,
        "pinball_better_p": 0.5,
        "brier": 0.25,
        "their_brier": 0.25,
        "brier_worse_p": 0.5,
        "coverage": {80: even, 95: even},
    }
    return Comparison(**(usual | changes))


# What no comparison can make good


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"not_finite": ["blend"]}, "blend: not finite"),
        ({"skill": float("nan")}, "no finite skill"),
        ({"accuracies": {"ridge": float("nan")}}, "no finite ridge"),
        ({"independent_labels": 199.0}, "only 199 unseen outcomes"),
        ({"data_age_s": 90_000.0}, "1 day, 1:00:00 old"),
        ({"outlying_newest": 0.26}, "drifted away"),
        ({"accuracy": 0.583}, "the direction classifier gets 58.3%"),
        ({"accuracies": {"ridge": 0.5, "xgboost": 0.62}}, "xgboost gets 62.0%"),
    ],
)
@pytest.mark.parametrize("look", [DUE, NOT_DUE, DUE_SPEAKING])
def test_a_fault_is_refused_and_no_look_is_spent_on_it(changes: dict[str, Any], reason: str, look: Look) -> None:
    gate = judge(make_evidence(information_p=1e-9, **changes), look, SETTINGS)
    assert not gate.promote
    assert [reason in given for given in gate.reasons] == [True]
    verdict = past_verdict(gate, END)
    assert (verdict.look, verdict.tested, verdict.champion) == (False, False, look.standing)


def test_every_fault_is_named() -> None:
    gate = judge(make_evidence(data_age_s=1e6, outlying_newest=1.0, accuracy=0.9), DUE, SETTINGS)
    assert len(gate.reasons) == 3


@pytest.mark.parametrize(
    ("accuracy", "labels", "base_rate", "leak"),
    [
        (0.582, 1_440, 0.5, True),
        (0.575, 1_440, 0.5, False),
        (0.63, 200, 0.5, False),
        (0.66, 200, 0.5, True),
        (0.62, 1_440, 0.6, False),
        (0.66, 1_440, 0.6, True),
        (0.581, 100_000, 0.5, True),
    ],
)
def test_a_leak_is_what_neither_talent_nor_luck_nor_a_lopsided_market_explains(
    accuracy: float, labels: float, base_rate: float, leak: bool
) -> None:
    evidence = make_evidence(accuracy=accuracy, independent_labels=float(labels), base_rate=base_rate)
    assert judge(evidence, DUE, SETTINGS).promote != leak


# Who may say where the price goes


@pytest.mark.parametrize(
    ("changes", "look", "speaks", "tested"),
    [
        ({"information_p": 0.02}, DUE, True, True),
        ({"information_p": 0.03}, DUE, False, True),
        ({"information_p": 0.02}, replace(DUE, number=2, alpha=0.008), False, True),
        ({"information_p": 0.001, "weighted_skill": -1e-5}, DUE, False, True),
        ({"information_p": 0.001, "weighted_skill": 0.0, "weight": 0.0}, DUE, False, True),
        ({"information_p": 1e-9}, NOT_DUE, False, False),
        ({"information_p": 0.9, "worse_p": 0.06, "weighted_skill": -1e-3}, DUE_SPEAKING, True, False),
        ({"information_p": 0.9, "worse_p": 0.04}, DUE_SPEAKING, False, False),
        ({"information_p": 0.9, "worse_p": 0.04}, NOT_DUE_SPEAKING, True, False),
    ],
)
def test_the_blend_speaks_when_a_look_says_so_and_until_a_look_finds_it_worse(
    changes: dict[str, Any], look: Look, speaks: bool, tested: bool
) -> None:
    gate = judge(make_evidence(**changes), look, SETTINGS)
    assert gate.champion == ("blend" if speaks else "random_walk")
    assert (gate.look, gate.figures["look_tested"]) == (look.due, tested)
    assert gate.promote, "a bundle whose forecast is that the price stays has its spread to offer"


@pytest.mark.parametrize("look", [DUE_SPEAKING, NOT_DUE_SPEAKING])
def test_a_blend_that_may_speak_and_has_no_weight_says_that_the_price_stays_and_may_speak_later(look: Look) -> None:
    gate = judge(make_evidence(weight=0.0, skill=0.0, weighted_skill=0.0, worse_p=1.0), look, SETTINGS)
    assert gate.champion == "random_walk"
    assert past_verdict(gate, END).champion == "blend"


# Champion and challenger


def verdict(look: Look = NOT_DUE, evidence: dict[str, Any] | None = None, **changes: Any) -> tuple[bool, str]:
    service = make_service(make_comparison(**changes))
    served = {"blend": service, "random_walk": service}
    gate = judge(make_evidence(served=served, **(evidence or {})), look, SETTINGS)
    return gate.promote, "; ".join(gate.reasons)


@pytest.mark.parametrize(("age_days", "promote"), [(0.02, False), (6.9, False), (7.0, True)])
def test_an_equal_replaces_a_champion_that_grows_old(age_days: float, promote: bool) -> None:
    for look in (DUE, NOT_DUE):
        promoted, reasons = verdict(look, age_days=age_days)
        assert promoted == promote
        assert "gives way to an equal" in reasons


BAD_COVER = {80: Coverage(ours=0.78, theirs=0.8, excess=0.02, standard_error=0.005)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pinball_worse_p": 0.04}, "quantiles are worse"),
        ({"brier_worse_p": 0.04}, "directions are worse"),
        ({"point_worse_p": 0.04}, "point forecast is worse"),
        ({"coverage": BAD_COVER}, "80% intervals hold 78.0%"),
    ],
)
def test_worse_in_anything_is_refused_whatever_the_champions_age(changes: dict[str, Any], reason: str) -> None:
    for age_days in (1.0, 30.0):
        promoted, reasons = verdict(DUE, age_days=age_days, **changes)
        assert not promoted
        assert reason in reasons
        assert "version 7" in reasons


@pytest.mark.parametrize(("excess", "error"), [(0.009, 0.001), (0.03, 0.016), (-0.1, 0.001)])
def test_coverage_may_differ_by_a_point_or_by_chance(excess: float, error: float) -> None:
    cover = Coverage(ours=0.78, theirs=0.8, excess=excess, standard_error=error)
    assert verdict(coverage={80: cover})[0]


def test_an_equal_that_is_a_little_worse_is_not_called_better_than_it_is() -> None:
    _, reasons = verdict(pinball_bp=4.937, their_pinball_bp=4.905, pinball_worse_p=0.123)
    assert "nothing is significantly worse: pinball 4.937 bp against 4.905 (Diebold-Mariano p 0.12" in reasons


def test_against_version_0_only_the_spread_counts() -> None:
    worse_at_nothing_that_counts = {"brier_worse_p": 0.001, "point_worse_p": 0.001}
    assert verdict(trained=False, age_days=0.0, **worse_at_nothing_that_counts)[0]
    assert not verdict(trained=False, pinball_worse_p=0.001)[0]
    assert not verdict(trained=False, coverage=BAD_COVER)[0]


@pytest.mark.parametrize("what", ["point_better_p", "pinball_better_p"])
def test_a_young_champion_gives_way_only_to_what_a_formal_look_finds_better(what: str) -> None:
    assert verdict(DUE, age_days=1.0, **{what: 1e-4})[0]
    assert not verdict(DUE, age_days=1.0, **{what: 1e-3})[0], "53 looks share alpha"
    assert not verdict(NOT_DUE, age_days=1.0, **{what: 1e-9})[0]


@pytest.mark.parametrize(("p", "speaks"), [(0.02, True), (0.03, False)])
def test_a_bundle_is_judged_and_described_by_what_it_would_serve(p: float, speaks: bool) -> None:
    served = {
        "blend": make_service(make_comparison(age_days=1.0, point_better_p=1e-4), pinball_bp=6.3),
        "random_walk": make_service(make_comparison(age_days=1.0), pinball_bp=6.5),
    }
    gate = judge(make_evidence(information_p=p, served=served), DUE, SETTINGS)
    assert gate.champion == ("blend" if speaks else "random_walk")
    assert gate.promote == speaks
    assert gate.figures["pinball_bp"] == (6.3 if speaks else 6.5)
    assert gate.figures["champion_point_better_p"] == (1e-4 if speaks else 0.5)


def test_a_verdict_about_the_blend_takes_effect_at_once() -> None:
    may = {"information_p": 1e-4}
    assert verdict(DUE, may, age_days=1.0, speaks=False)[0]
    assert not verdict(DUE, may, age_days=1.0, speaks=True)[0], "both speak"
    assert verdict(NOT_DUE, age_days=1.0, speaks=True)[0], "the champion speaks, and may not any more"
    silent = {"weight": 0.0, "skill": 0.0, "weighted_skill": 0.0}
    assert not verdict(NOT_DUE_SPEAKING, silent, age_days=1.0, speaks=True)[0], "it may, today's has no weight"


def test_figures_are_plain_numbers_for_every_reader() -> None:
    service = make_service(make_comparison())
    gate = judge(make_evidence(served={"blend": service, "random_walk": service}), DUE, SETTINGS)
    assert json.loads(json.dumps(gate.figures)) == gate.figures
    assert {"information_p", "weighted_skill", "accuracy_ridge", "look_alpha", "champion_age_days"} <= set(gate.figures)
    assert gate.figures["champion_coverage_excess_95"] == 0.0
