"""Who looks often enough will see something: how often the gate may look at the point forecast, and at which level.

A test at 5% that is repeated every half hour lets noise pass within weeks. So the blend of candidates is tested only at
*formal looks*, some days of unseen data apart, and the error that all looks within a year may make together is fixed
beforehand and divided among them (alpha spending). The levels add up, so the bound (Bonferroni's) holds whatever the
looks have to do with each other; two looks a week apart share most of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Champion, Gate
from cryptosentinel.config import GateSettings
from cryptosentinel.storage import RegisteredModel

_PREFIX = "gate_"


@dataclass(frozen=True)
class PastVerdict:
    """What an earlier run of the gate left behind.

    Attributes:
        data_end: timestamp of the last row it was judged on.
        look: whether it was a formal look at the point forecast.
        champion: who may say where the price goes, by the verdict; a bundle whose shrinkage weight is 0 says that the
            price stays even where this is "blend".
        promoted: whether the bundle was let through.
        tested: whether the look could have given the blend its voice, and so used up its level; a look that could only
            take it away did not.
    """

    data_end: datetime
    look: bool
    champion: Champion
    promoted: bool
    tested: bool = True


@dataclass(frozen=True)
class Look:
    """What the gate may do this time.

    Attributes:
        due: whether this is a formal look; if not, the standing verdict is kept.
        number: which one of the budget period it is or would be, from 1; looks that used up nothing are not counted.
        alpha: the probability with which it may take luck for information.
        standing: who may say where the price goes, by the last formal look.
    """

    due: bool
    number: int
    alpha: float
    standing: Champion


def next_look(past: Sequence[PastVerdict], data_end: datetime, settings: GateSettings) -> Look:
    """Whether the point forecast may be looked at now, and at which level.

    Args:
        past: all earlier verdicts, in any order.
        data_end: timestamp of the last unseen row.
        settings: how far apart looks are, and what all of them may err together.
    """
    looks = sorted((verdict for verdict in past if verdict.look), key=lambda verdict: verdict.data_end)
    last = looks[-1] if looks else None
    due = last is None or data_end - last.data_end >= timedelta(days=settings.look_days)
    begin = data_end - timedelta(days=settings.budget_days)
    number = 1 + sum(verdict.tested and verdict.data_end > begin for verdict in looks)
    return Look(due, number, look_alpha(number, settings), last.champion if last else RANDOM_WALK)


def most_looks(settings: GateSettings) -> int:
    """How many formal looks fit into any stretch of `budget_days`."""
    return math.ceil(settings.budget_days / settings.look_days)


def look_alpha(number: int, settings: GateSettings) -> float:
    """The level of the `number`-th look of a budget period.

    The first gets half of `alpha`: a signal that is there is there from the beginning. A quarter goes to the others as
    1 / k^2 (k from 1; that sums to pi^2 / 6), a quarter in equal parts, so that late looks are not hopeless. Within any
    stretch of `budget_days` the j-th look has a number of at least j, and so all of them together at most `alpha`.
    """
    if number == 1:
        return settings.alpha / 2
    falling = settings.alpha / 4 * 6 / (math.pi * (number - 1)) ** 2
    others = most_looks(settings) - 1
    # More looks than fit can only come from settings that were others; equal parts would overspend.
    return falling + (settings.alpha / 4 / others if number <= others + 1 else 0.0)


def past_verdict(gate: Gate, data_end: datetime) -> PastVerdict:
    """A gate's answer as the next looks will see it, for who keeps no registry (a backtest)."""
    return PastVerdict(
        data_end=data_end,
        look=gate.look,
        champion=BLEND if gate.figures["blend_may_speak"] else RANDOM_WALK,
        promoted=gate.promote,
        tested=bool(gate.figures["look_tested"]),
    )


def verdict_metrics(gate: Gate, data_end: datetime) -> dict[str, float]:
    """What to register a bundle with, among its metrics, for `past_verdicts` to find."""
    verdict = past_verdict(gate, data_end)
    return {
        f"{_PREFIX}data_end": data_end.timestamp(),
        f"{_PREFIX}look": float(verdict.look),
        f"{_PREFIX}blend": float(verdict.champion == BLEND),
        f"{_PREFIX}promoted": float(verdict.promoted),
        f"{_PREFIX}tested": float(verdict.tested),
    }


def past_verdicts(versions: Sequence[RegisteredModel]) -> list[PastVerdict]:
    """The verdicts that registered versions carry; version 0 and bundles of older formats have none."""
    return [_read(model.metrics) for model in versions if f"{_PREFIX}data_end" in model.metrics]


def _read(metrics: Mapping[str, float]) -> PastVerdict:
    return PastVerdict(
        data_end=datetime.fromtimestamp(metrics[f"{_PREFIX}data_end"], UTC),
        look=bool(metrics[f"{_PREFIX}look"]),
        champion=BLEND if metrics[f"{_PREFIX}blend"] else RANDOM_WALK,
        promoted=bool(metrics[f"{_PREFIX}promoted"]),
        tested=bool(metrics[f"{_PREFIX}tested"]),
    )
