"""What the gate goes by: everything that is measured on the last block, which no choice was made on.

Labels overlap (each return spans the horizon, and a new one begins every bar), so every error here is a HAC one. Losses
are weighted by volatility: without that, the wildest days decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import BLEND, BOUNDS, LEVELS, PROBABILITIES, Champion
from cryptosentinel.forecasting.losses import brier, pinball, weighted_squared
from cryptosentinel.forecasting.significance import clark_west, diebold_mariano, mean_interval, mean_test

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Fewer common labels than this and a comparison says nothing either way.
_COMPARABLE_LABELS = 10


@dataclass(frozen=True)
class Block:
    """Unseen rows, what was forecast for them and what happened; ordered in time.

    Attributes:
        timestamps: when each row's bar opens (UTC), shape (n,).
        actual: log return over the horizon, shape (n,).
        sigma: forecast volatility of that return, shape (n,).
        blend: the unshrunk blend's log return, shape (n,).
        weight: shrinkage towards the random walk, learnt without these rows: the point forecast is weight * blend.
        quantiles: log returns as issued, at `PROBABILITIES`, shape (n, 9).
        p_up: calibrated probability of a rise, shape (n,).
        outlying: rows unlike any trained on, shape (n,).
        horizon_bars: how many bars a return spans.
    """

    timestamps: NDArray[np.datetime64]
    actual: Array
    sigma: Array
    blend: Array
    weight: float
    quantiles: Array
    p_up: Array
    outlying: Flags
    horizon_bars: int

    def __len__(self) -> int:
        return len(self.actual)

    def pick(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Block:
        """Some of the rows."""
        return replace(
            self,
            timestamps=self.timestamps[rows],
            actual=self.actual[rows],
            sigma=self.sigma[rows],
            blend=self.blend[rows],
            quantiles=self.quantiles[rows],
            p_up=self.p_up[rows],
            outlying=self.outlying[rows],
        )

    @property
    def independent_labels(self) -> float:
        """How many labels there would be if none overlapped."""
        return len(self) / self.horizon_bars


@dataclass(frozen=True)
class Incumbent:
    """The champion, and its own forecasts of the challenger's rows.

    Attributes:
        name: for reasons: "version 7".
        trained: whether it learnt from data; version 0 did not.
        age_days: how much newer the challenger's last row is than the champion's.
        block: those of the rows that the champion was not fitted on; weight 0 where its forecast is that the price
            stays.
    """

    name: str
    trained: bool
    age_days: float
    block: Block


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Coverage(_Figures):
    """An interval's share of outcomes inside, against the champion's.

    Attributes:
        ours: share inside.
        theirs: the champion's share.
        excess: how much further ours is from the nominal share than theirs; negative: nearer.
        standard_error: of `excess`.
    """

    ours: float
    theirs: float
    excess: float
    standard_error: float


class Comparison(_Figures):
    """Challenger against champion on the same rows; each p-value is one-sided, from Diebold-Mariano.

    Attributes:
        name, trained, age_days: as in `Incumbent`.
        speaks: whether its point forecast is anything but that the price stays.
        rows: how many both could be measured on.
        point_worse_p: that the challenger's point forecast is as good; `point_better_p`: that it is no better.
        pinball_worse_p, pinball_better_p: the same of its quantiles; `pinball_bp` ours, `their_pinball_bp` theirs.
        brier_worse_p: the same of its direction; `brier` ours, `their_brier` theirs.
        coverage: by nominal share in percent, 80 and 95.
    """

    name: str
    trained: bool
    age_days: float
    speaks: bool
    rows: int
    point_worse_p: float
    point_better_p: float
    pinball_bp: float
    their_pinball_bp: float
    pinball_worse_p: float
    pinball_better_p: float
    brier: float
    their_brier: float
    brier_worse_p: float
    coverage: dict[int, Coverage]


class Service(_Figures):
    """What the bundle would serve, as it is with one of the two point forecasts that the gate chooses between.

    Attributes:
        coverage_80, coverage_95, pinball_bp: of the quantiles.
        champion: the comparison with it; None where there is none that answers for these rows.
    """

    coverage_80: float
    coverage_95: float
    pinball_bp: float
    champion: Comparison | None = None


class Evidence(_Figures):
    """Measured on the last block.

    Attributes:
        data_end: timestamp of its last row; `data_age_s` says how long ago that was.
        rows, independent_labels: with labels that overlap, and with none.
        effective_labels: how many independent ones they are worth to the test of information.
        not_finite: inputs with values that are not (or a sigma of 0); figures are of the other rows.
        weight: the shrinkage weight, learnt without these rows.
        information_t, information_p: volatility-weighted Clark-West of the unshrunk blend against the random walk.
        skill, weighted_skill: 1 - squared error of weight * blend over the random walk's, plain and over variance.
        worse_p: Diebold-Mariano, that weight * blend is not worse than the random walk.
        accuracy: share of directions that `p_up` had right, one not given or not taken counting half; `accuracy_low`
            and `accuracy_high` its 95% interval; `base_rate` the share of the more frequent direction.
        brier: of `p_up`.
        outlying_newest, outlying_share: rows unlike any trained on, in the last 24 hours and in all.
        accuracies: share of right directions by candidate.
        served: the rest, by whose point forecast is served.
    """

    data_end: datetime
    data_age_s: float
    rows: int
    horizon_bars: int
    independent_labels: float
    effective_labels: float
    not_finite: list[str]
    weight: float
    information_t: float
    information_p: float
    skill: float
    weighted_skill: float
    worse_p: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    base_rate: float
    brier: float
    outlying_newest: float
    outlying_share: float
    accuracies: dict[str, float]
    served: dict[Champion, Service]


def gather_evidence(
    blocks: Mapping[Champion, Block],
    *,
    data_age_s: float,
    accuracies: Mapping[str, float],
    incumbent: Incumbent | None = None,
) -> Evidence:
    """Measures the last block.

    Args:
        blocks: the challenger's, as it is where the blend speaks and where the random walk does.
        data_age_s: how old its last row was when this was asked.
        accuracies: share of right directions of each candidate that names one.
        incumbent: the champion, unless it cannot answer for these rows.
    """
    block = blocks[BLEND]
    end = pd.Timestamp(block.timestamps[-1], tz="UTC").to_pydatetime()
    newest = block.timestamps > block.timestamps[-1] - np.timedelta64(24, "h")
    outlying = _mean(block.outlying), _mean(block.outlying[newest])
    not_finite, finite = _finite(block)
    block = block.pick(finite)
    y, sigma, bars = block.actual, block.sigma, block.horizon_bars
    shrunk = block.weight * block.blend
    information = clark_west(y, block.blend, bars, sigma)
    ours, walk = weighted_squared(y, shrunk, sigma), weighted_squared(y, np.zeros_like(y), sigma)
    hits = _hits(block)
    low, high = mean_interval(hits, bars)
    up = y > 0
    return Evidence(
        data_end=end,
        data_age_s=data_age_s,
        rows=len(block),
        horizon_bars=bars,
        independent_labels=block.independent_labels,
        effective_labels=information.effective_size,
        not_finite=not_finite,
        weight=block.weight,
        information_t=information.statistic,
        information_p=information.p_value,
        skill=_skill((y - shrunk) ** 2, y**2),
        weighted_skill=_skill(ours, walk),
        worse_p=diebold_mariano(ours, walk, bars).p_value,
        accuracy=_mean(hits),
        accuracy_low=low,
        accuracy_high=high,
        base_rate=max(_mean(up), 1 - _mean(up)),
        brier=_mean(brier(block.p_up, up)),
        outlying_share=outlying[0],
        outlying_newest=outlying[1],
        accuracies=dict(accuracies),
        served={champion: _service(block.pick(finite), incumbent) for champion, block in blocks.items()},
    )


def _service(block: Block, incumbent: Incumbent | None) -> Service:
    return Service(
        coverage_80=_mean(_inside(block, 80)),
        coverage_95=_mean(_inside(block, 95)),
        pinball_bp=_mean(pinball(block.actual, block.quantiles, PROBABILITIES)) * 1e4,
        champion=_compare(block, incumbent) if incumbent else None,
    )


def _compare(challenger: Block, incumbent: Incumbent) -> Comparison | None:
    theirs = incumbent.block.pick(_finite(incumbent.block)[1])
    _, here, there = np.intersect1d(challenger.timestamps, theirs.timestamps, return_indices=True)
    ours, theirs = challenger.pick(here), theirs.pick(there)
    if ours.independent_labels < _COMPARABLE_LABELS:
        return None
    y, bars = ours.actual, ours.horizon_bars
    # One weight for both, and neither's own: who calls a day calm should not be able to make it count for more.
    sigma = np.sqrt(ours.sigma * theirs.sigma)
    points = [weighted_squared(y, block.weight * block.blend, sigma) for block in (ours, theirs)]
    pinballs = [pinball(y, block.quantiles, PROBABILITIES) for block in (ours, theirs)]
    briers = [brier(block.p_up, y > 0) for block in (ours, theirs)]
    return Comparison(
        name=incumbent.name,
        trained=incumbent.trained,
        age_days=incumbent.age_days,
        speaks=bool(theirs.weight > 0 and np.any(theirs.blend != 0)),
        rows=len(ours),
        point_worse_p=diebold_mariano(points[0], points[1], bars).p_value,
        point_better_p=diebold_mariano(points[1], points[0], bars).p_value,
        pinball_bp=_mean(pinballs[0]) * 1e4,
        their_pinball_bp=_mean(pinballs[1]) * 1e4,
        pinball_worse_p=diebold_mariano(pinballs[0] / sigma, pinballs[1] / sigma, bars).p_value,
        pinball_better_p=diebold_mariano(pinballs[1] / sigma, pinballs[0] / sigma, bars).p_value,
        brier=_mean(briers[0]),
        their_brier=_mean(briers[1]),
        brier_worse_p=diebold_mariano(briers[0], briers[1], bars).p_value,
        coverage={percent: _coverage(ours, theirs, percent) for percent in LEVELS},
    )


def _coverage(ours: Block, theirs: Block, percent: int) -> Coverage:
    inside = [_inside(block, percent) for block in (ours, theirs)]
    # |a| - |b| as the mean of one series, so that its error knows that both saw the same outcomes.
    off = [np.sign(series.mean() - percent / 100) * (series - percent / 100) for series in inside]
    excess = mean_test(off[0] - off[1], ours.horizon_bars, "greater")
    return Coverage(
        ours=_mean(inside[0]),
        theirs=_mean(inside[1]),
        excess=excess.mean,
        standard_error=excess.standard_error,
    )


def _inside(block: Block, percent: int) -> Array:
    low, high = (block.quantiles[:, BOUNDS.index(f"{side}_{percent}")] for side in ("lower", "upper"))
    return ((low <= block.actual) & (block.actual <= high)).astype(np.float64)


def _hits(block: Block) -> Array:
    """1 for a right direction, 0 for a wrong one, one half where none was given or taken."""
    return 0.5 + 0.5 * np.sign(block.p_up - 0.5) * np.sign(block.actual)


def _finite(block: Block) -> tuple[list[str], Flags]:
    """The names of inputs that cannot be measured somewhere, and the rows where all can."""
    inputs = {name: getattr(block, name) for name in ("actual", "sigma", "blend", "quantiles", "p_up")}
    good = {name: np.isfinite(values).reshape(len(block), -1).all(axis=1) for name, values in inputs.items()}
    good["sigma"] &= block.sigma > 0
    return [name for name, rows in good.items() if not rows.all()], np.logical_and.reduce(list(good.values()))


def _mean(series: Array | Flags) -> float:
    return float(series.mean()) if len(series) else float("nan")


def _skill(loss: Array, reference: Array) -> float:
    total = float(reference.sum())
    return 1.0 - float(loss.sum()) / total if total > 0 else float("nan")
