"""What is held for and against a trained bundle, and that luck alone does not pass for more than that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.bench_gate import one_look
from cryptosentinel.bundle import PROBABILITIES
from cryptosentinel.config import GateSettings
from cryptosentinel.forecasting.evidence import Block, Comparison, Evidence, Incumbent, gather_evidence
from cryptosentinel.forecasting.gate import judge
from cryptosentinel.forecasting.looks import Look, PastVerdict, next_look, past_verdict

SETTINGS = GateSettings()
END = datetime(2025, 6, 1, tzinfo=UTC)
DUE = Look(due=True, number=1, alpha=0.025, standing="random_walk")
NOT_DUE = replace(DUE, due=False)


def make_block(seed: int = 0, rows: int = 8_640, horizon: int = 6, share: float = 0.0, width: float = 1.0) -> Block:
    """Returns of 10 bp a bar and forecasts of them; `share` of the variance is forecast, the rest of it is noise.

    The forecasts are as alike from one row to the next as those of a model of slow features.
    """
    noise = np.random.default_rng(seed)
    shocks = noise.normal(0, 1e-3, rows + horizon)
    total = np.concatenate([[0.0], np.cumsum(shocks)])
    actual = total[horizon + 1 :] - total[1 : rows + 1]
    sigma = np.full(rows, 1e-3 * np.sqrt(horizon))
    slow = np.convolve(noise.normal(size=rows + 23), np.ones(24) / np.sqrt(24), "valid")
    blend = sigma * (np.sqrt(share) * actual / sigma + np.sqrt(1 - share) * slow) * 0.05
    return Block(
        timestamps=np.datetime64("2025-05-02", "ms") + np.timedelta64(5, "m") * np.arange(rows),
        actual=actual,
        sigma=sigma,
        blend=blend,
        weight=0.2,
        quantiles=sigma[:, None] * width * norm.ppf(PROBABILITIES),
        p_up=norm.cdf(blend / sigma),
        outlying=np.zeros(rows, dtype=bool),
        horizon_bars=horizon,
    )


def gather(block: Block, champion: Block | None = None, **changes: Any) -> Evidence:
    facts = {"name": "version 7", "trained": True, "age_days": 10.0} | changes
    incumbent = Incumbent(block=champion, **facts) if champion else None
    return gather_evidence(
        {"blend": block, "random_walk": replace(block, weight=0.0)},
        data_age_s=60.0,
        accuracies={},
        incumbent=incumbent,
    )


def compare(block: Block, champion: Block) -> Comparison:
    them = gather(block, champion=champion).served["blend"].champion
    assert them is not None
    return them


def test_evidence_by_hand() -> None:
    block = make_block(rows=4_000)
    inside = np.abs(block.actual) <= block.sigma * norm.ppf(0.9)
    evidence = gather(block)
    assert evidence.data_end == datetime(2025, 5, 2, tzinfo=UTC) + 3_999 * timedelta(minutes=5)
    assert evidence.independent_labels == pytest.approx(4_000 / 6)
    assert evidence.served["blend"].coverage_80 == pytest.approx(inside.mean())
    assert evidence.skill == pytest.approx(
        1 - ((block.actual - 0.2 * block.blend) ** 2).sum() / (block.actual**2).sum()
    )
    assert evidence.accuracy == pytest.approx(((block.blend > 0) == (block.actual > 0)).mean())
    assert evidence.accuracy_low < evidence.accuracy < evidence.accuracy_high
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_information_is_found_where_there_is_some_and_does_not_depend_on_the_weight() -> None:
    informed = make_block(share=0.02)
    assert gather(informed).information_p < 1e-3
    assert gather(replace(informed, weight=0.0)).information_p == gather(informed).information_p
    assert gather(replace(informed, blend=-informed.blend)).information_p > 0.99, "the wrong way is no information"


def test_a_direction_that_is_not_given_counts_half() -> None:
    block = make_block()
    assert gather(replace(block, p_up=np.full(len(block), 0.5))).accuracy == 0.5


def test_the_newest_day_is_looked_at_by_the_clock() -> None:
    block = make_block(rows=3_000)
    outlying = np.zeros(3_000, dtype=bool)
    outlying[-72:] = True
    evidence = gather(replace(block, outlying=outlying))
    assert evidence.outlying_newest == pytest.approx(72 / 288)
    assert evidence.outlying_share == pytest.approx(72 / 3_000)


@pytest.mark.parametrize("rows", [slice(3), slice(None)])
def test_what_is_not_finite_is_named_and_refused_rather_than_raised(rows: slice) -> None:
    block = make_block()
    block.blend[rows] = np.nan
    evidence = gather(block, champion=make_block())
    assert evidence.not_finite == ["blend"]
    assert evidence.rows == len(block) - len(block.blend[rows])
    assert not judge(evidence, DUE, SETTINGS).promote


def test_a_market_that_did_not_move_is_refused() -> None:
    block = make_block()
    gate = judge(gather(replace(block, actual=np.zeros(len(block)))), DUE, SETTINGS)
    assert any("the price did not move" in reason for reason in gate.reasons)


def test_challenger_and_champion_are_held_against_the_same_rows() -> None:
    ours = make_block()
    theirs = ours.pick(np.arange(2_000, len(ours)))
    alike = compare(ours, theirs)
    assert alike.rows == len(theirs)
    assert alike.pinball_bp == alike.their_pinball_bp == pytest.approx(gather(theirs).served["blend"].pinball_bp)
    assert alike.coverage[80].excess == 0.0
    assert (alike.pinball_worse_p, alike.brier_worse_p, alike.point_worse_p) == (1.0, 1.0, 1.0)


def test_a_comparison_does_not_depend_on_who_is_the_champion() -> None:
    ours = make_block()
    # Calls the first half calm: losses over its own volatility alone would make it a better forecaster there.
    sigma = np.where(np.arange(len(ours)) < 4_000, 0.3, 1.0) * ours.sigma
    theirs = replace(ours, sigma=sigma, quantiles=sigma[:, None] * norm.ppf(PROBABILITIES))
    one, other = compare(ours, theirs), compare(theirs, ours)
    assert (one.pinball_worse_p, one.pinball_better_p) == (other.pinball_better_p, other.pinball_worse_p)
    assert one.point_worse_p == other.point_better_p
    assert one.coverage[80].excess == -other.coverage[80].excess < 0


def test_too_few_common_rows_are_no_comparison() -> None:
    ours = make_block()
    assert gather(ours, champion=ours.pick(np.arange(59))).served["blend"].champion is None


@pytest.mark.parametrize("width", [0.8, 1.25])
def test_wrong_intervals_are_worse_than_right_ones(width: float) -> None:
    evidence = gather(make_block(width=width), champion=make_block())
    them = compare(make_block(width=width), make_block())
    assert them.coverage[80].excess > 2 * them.coverage[80].standard_error > 0
    gate = judge(evidence, NOT_DUE, SETTINGS)
    assert not gate.promote
    assert "intervals hold" in "; ".join(gate.reasons)
    assert judge(gather(make_block(), champion=make_block(width=width)), NOT_DUE, SETTINGS).promote


def test_a_champion_speaks_if_its_forecast_is_not_that_the_price_stays() -> None:
    block = make_block()
    for champion, speaks in [(block, True), (replace(block, weight=0.0), False)]:
        assert compare(block, champion).speaks == speaks


# Luck


def ever_allowed(seed: int, days: int = 90) -> bool:
    """Noise that is tested whenever a look is due, on the last 30 days: every third row, to be quick."""
    market = make_block(seed, rows=(30 + days) * 96, horizon=2)
    past: list[PastVerdict] = []
    for call in range(48 * days):
        end = 30 * 96 + call * 2
        data_end = END + call * timedelta(minutes=30)
        look = next_look(past, data_end, SETTINGS)
        if look.due:
            gate = judge(gather(market.pick(np.arange(end - 30 * 96, end))), look, SETTINGS)
            past.append(past_verdict(gate, data_end))
    assert len(past) == 13
    return any(verdict.champion == "blend" for verdict in past)


def test_looking_48_times_a_day_for_90_days_does_not_let_noise_speak() -> None:
    # 5% may; without alpha spending a quarter does.
    assert sum(ever_allowed(seed) for seed in range(60)) <= 5


def test_one_look_does_not_take_what_a_model_learnt_from_noise_for_information() -> None:
    # 2.5% may pass; with errors that ignore overlap a quarter does.
    looks = [one_look(seed, learners=("ridge",)) for seed in range(40)]
    assert sum(look["promoted"] for look in looks) <= 3


def test_one_look_hears_a_signal_of_one_percent_of_variance() -> None:
    looks = [one_look(seed, half_life=6, features=0, learners=("ridge",)) for seed in range(20)]
    assert sum(look["promoted"] for look in looks) >= 14
