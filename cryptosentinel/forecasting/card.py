"""The model card: a bundle's description for people (after Mitchell et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from statistics import NormalDist

from cryptosentinel.bundle import RANDOM_WALK, Champion, DataWindow, Manifest
from cryptosentinel.config import TrainingSettings
from cryptosentinel.forecasting.evaluation import SHRUNK, Evaluation, Slice, league_table
from cryptosentinel.forecasting.training import thinning_step
from cryptosentinel.market.bars import Interval

_SPREADS = {"constant": "constant width", "ewma": "EWMA", "har": "HAR"}
_SLICES = {"regime": "regime", "volatility": "forecast volatility", "hour": "hour (UTC)"}


def model_card(manifest: Manifest, evaluation: Evaluation) -> str:
    """A bundle's card as Markdown: what, on which data, how good against what, where it fails, how to do it again."""
    minutes = manifest.horizon_bars * Interval(manifest.interval).seconds // 60
    data, evidence = evaluation.data, evaluation.evidence
    settings, currency = TrainingSettings.model_validate(manifest.settings), manifest.currency.upper()
    stays, slices = manifest.champion == RANDOM_WALK, evaluation.slices[manifest.champion]
    sections = [
        f"# {manifest.asset}, {minutes} minutes ahead",
        *(["> **Simulated market.** These prices are invented; nothing here says anything about a real one."]
          if manifest.simulated else []),
        f"Forecasts what {manifest.asset} will cost in {currency} {manifest.horizon_bars} bars of {manifest.interval} "
        f"ahead: nine quantiles, the probability of a rise, and a price. Made {manifest.created_at:%Y-%m-%d %H:%M} UTC "
        f"by cryptosentinel {manifest.libraries.get('cryptosentinel', 'of an unknown version')}.",
        _price(manifest, evaluation),
        f"**Verdict: {'promoted' if manifest.gate.promote else 'refused'}.**",
        "\n".join(f"- {reason}" for reason in manifest.gate.reasons),
        "## What it is for",
        f"It says how far the price may go within {minutes} minutes, and how likely that is. It is not for trading on "
        "the direction, which has not been worth its costs, nor for other markets, bars or horizons, and it knows "
        "nothing of news that no bar foretells.",
        "## Data",
        f"- `{manifest.market}`, {data.start:%Y-%m-%d %H:%M} to {data.end:%Y-%m-%d %H:%M} UTC.\n"
        f"- {_fitted(data, settings)} {data.oof_rows:,} of these rows were forecast by models fitted before them, and "
        "every choice was made on these forecasts.\n"
        f"- {data.holdout_rows:,} rows from {data.holdout_start:%Y-%m-%d %H:%M} on, for the figures below and the "
        f"gate's verdict; a bundle trained a week later is judged on {_again(data):.0%} of them once more. Each "
        f"outcome spans {manifest.horizon_bars} bars: {evidence.independent_labels:,.0f} of them do not overlap.",
        "## The spread",
        _spread_table(evaluation, manifest.champion),
        "Pinball loss is the mean over the nine quantiles, in basis points of the log return; lower is better. Inside "
        "is the share of outcomes that an interval held. The other three have the same online calibration.",
        "## The direction",
        *_direction(evaluation),
        "## The price",
        league_table(evaluation.candidates, RANDOM_WALK if stays else SHRUNK),
        f"Errors are of the log return, in basis points; `RMSE price` is of the price, in {currency}. Skill is 1 less "
        "the squared error over the random walk's (in the gate's *skill over variance* each row counts in units of its "
        "variance, so that the two differ), direction the share of signs that were right. `continued` says that the "
        f"last {minutes} minutes' return comes again, `reversed` that it is taken back; `single_feature` goes by where "
        "closes lie in their range, by volume. `blend` is the mean of the candidates, `shrunk` the "
        f"{evaluation.choices.shrinkage:.1%} of it that the forecasts out of fold vouch for; what is served is in "
        f"bold. The blend's volatility-weighted Clark-West t is {evidence.information_t:+.2f}.",
        "## Where it fails",
        _worst(slices, manifest.horizon_bars),
        *(_slice_table(title, [s for s in slices if s.kind == kind]) for kind, title in _SLICES.items()),
        "A regime is a group of like rows, begun at those that its name stands for: `downtrend` where the price fell "
        "most over ten bars for its volatility, `uptrend` where it rose most, and of the rows between `accumulation` "
        "the calm and `distribution` the wild half. The names do not say who buys or sells.",
        f"Skill is that of the price that is served. Returns over {minutes} minutes are nearly all noise: a few "
        "hundredths of a percent are all that can be hoped for, and less than nothing is common. A row unlike any "
        f"trained on is flagged, and its interval widened: {evidence.outlying_share:.2%} of these rows.",
        "## How to make it again",
        f"{_tables(data)}Features `{manifest.spec_hash[:12]}`, seed {settings.seed}, preset `{settings.preset}`, "
        f"{settings.folds} {settings.scheme} folds. The same data, settings and library versions (`manifest.json`) "
        "give the same models.",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _price(manifest: Manifest, evaluation: Evaluation) -> str:
    if manifest.champion == RANDOM_WALK:
        return "Its price is the random walk's: that it stays where it is. The spread and the direction are learnt."
    names = ", ".join(manifest.blend)
    return f"Its price moves by {evaluation.choices.shrinkage:.1%} of the return that {names} expect on average."


def _fitted(data: DataWindow, settings: TrainingSettings) -> str:
    rows, step = data.training_rows, thinning_step(data.training_rows, settings)
    if step == 1:
        return f"{rows:,} rows to fit on."
    return (
        f"{rows:,} rows, of which the models are fitted on one in {step} ({-(-rows // step):,}): neighbours are alike."
    )


def _again(data: DataWindow) -> float:
    """The share of the last block that is in that of a week later."""
    week = timedelta(days=7)
    return 1 - week / max(data.end - data.holdout_start, week)


def _tables(data: DataWindow) -> str:
    """Which versions of the store's tables hold the rows; a backtest has no store."""
    if data.bars_version < 0:
        return ""
    return f"Bars table version {data.bars_version}, features table version {data.features_version}. "


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*head, *("| " + " | ".join(line) + " |" for line in lines)])


def _spread_table(evaluation: Evaluation, served: Champion) -> str:
    figures = {"**this bundle**": evaluation.spread[served]}
    figures |= {label: evaluation.spread[name] for name, label in _SPREADS.items()}
    ours = evaluation.spread[served]["pinball_bp"]
    return _table(
        ["width from", "pinball loss bp", "ours is lower by", "inside 80%", "inside 95%"],
        (
            [
                label,
                f"{f['pinball_bp']:.3f}",
                "" if f is evaluation.spread[served] else f"{1 - ours / f['pinball_bp']:+.2%}",
                f"{f['coverage_80']:.1%}",
                f"{f['coverage_95']:.1%}",
            ]
            for label, f in figures.items()
        ),
    )


def _direction(evaluation: Evaluation) -> list[str]:
    d, evidence = evaluation.direction, evaluation.evidence
    chance = not (evidence.accuracy_low > evidence.base_rate and d["brier_skill"] > 0)
    return [
        *(["**On these rows it cannot be told from chance.**"] if chance else []),
        f"{evidence.accuracy:.1%} right (95% interval {_share(evidence.accuracy_low)} to "
        f"{_share(evidence.accuracy_high)}), where always saying the more frequent direction gets "
        f"{evidence.base_rate:.1%}. Brier score {d['brier']:.4f}, a skill of {d['brier_skill']:+.3%} against saying "
        f"{evaluation.choices.base_rate:.1%} each time; log loss {d['log_loss']:.4f}; calibration error "
        f"{d['calibration_error'] * 100:.2f} points, where right probabilities would show "
        f"{d['perfect_error'] * 100:.2f}. That is over up to ten bins of about equally many rows; rows with the same "
        "probability stay together:",
        _table(
            ["probability of a rise", "rose", "rows"],
            ([f"{b.forecast:.1%}", f"{b.observed:.1%}", f"{b.count:,}"] for b in evaluation.reliability),
        ),
        "The quantiles are another model's and ignore the direction: their median may lie on the other side of the "
        "price.",
    ]


def _share(value: float) -> str:
    return f"{min(max(value, 0.0), 1.0):.1%}"


def _worst(slices: Sequence[Slice], horizon_bars: int) -> str:
    worst = max(slices, key=lambda s: abs(s.coverage_80 - 0.8))
    peers, apart = sum(s.kind == worst.kind for s in slices), worst.rows / horizon_bars
    off = abs(worst.coverage_80 - 0.8) / math.sqrt(0.8 * 0.2 / apart)
    luck = NormalDist().inv_cdf(1 - 0.05 / 2 / peers)  # Bonferroni's bound
    return (
        f"The 80% interval was furthest off in {_SLICES[worst.kind]} {worst.name}: it held {worst.coverage_80:.1%} of "
        f"{worst.rows:,} outcomes, of which {apart:,.0f} do not overlap. That is {off:.1f} standard errors; by luck "
        f"alone the worst of {peers} would be beyond {luck:.1f} in one case of 20 at most, so "
        f"{'this is more than luck' if off > luck else 'luck may explain it'}."
    )


def _slice_table(title: str, slices: Iterable[Slice]) -> str:
    return _table(
        [title, "rows", "pinball loss bp", "inside 80%", "inside 95%", "skill", "direction"],
        (
            [
                s.name,
                f"{s.rows:,}",
                f"{s.pinball_bp:.3f}",
                f"{s.coverage_80:.1%}",
                f"{s.coverage_95:.1%}",
                f"{s.skill:+.3%}",
                "-" if s.accuracy != s.accuracy else f"{s.accuracy:.1%}",
            ]
            for s in slices
        ),
    )
