"""The promotion gate: may a bundle become champion, may its point forecast be anything but "the price stays", and why.

Two questions, answered apart. *May the blend speak?* is a claim about the market, and luck would pass for it if it were
asked every half hour: it is asked at formal looks only, each paid for (`looks`). *May this bundle serve?* is about one
fit against another: it must be sound, must not be worse than the champion on rows neither was fitted on, and may take
the place of one that grows old without having to be better. Nothing is fitted or measured here: see `evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from cryptosentinel.bundle import BLEND, RANDOM_WALK, Champion, Gate
from cryptosentinel.config import GateSettings
from cryptosentinel.forecasting.evidence import Comparison, Evidence, Service
from cryptosentinel.forecasting.looks import Look, most_looks

# At which a bundle counts as worse than the champion, or a blend that speaks as worse than the random walk.
SIGNIFICANT = 0.05
# How much further from its nominal share an interval may be than the champion's, beyond what chance explains.
COVERAGE_TOLERANCE = 0.01
# The best honest figure published for half an hour ahead. More than luck makes of it is suspect.
HONEST_ACCURACY = 0.54


def judge(evidence: Evidence, look: Look, settings: GateSettings) -> Gate:
    """Judges a bundle by what was measured on rows that no choice was made on.

    Args:
        evidence: from `gather_evidence`.
        look: from `next_look`.
        settings: how strict to be.

    Returns:
        Whether to promote the bundle, who speaks in it, and the reasons, the decisive ones first. The figures are those
        of the evidence, of the comparison (`champion_...`), of the look, and `blend_may_speak`, which differs from the
        champion where today's blend has a shrinkage weight of 0. A look at evidence with a fault in it is none, and
        costs nothing.
    """
    if faults := list(_faults(evidence, settings)):
        return _gate(evidence, look, look.standing, promote=False, reasons=faults, looked=False)
    voice, point = _point(evidence, look)
    promote, reasons = _against_champion(evidence, voice, look, settings)
    basis = (
        f"measured on {evidence.rows:,} rows that no model was fitted on, worth {evidence.independent_labels:,.0f} "
        "outcomes that do not overlap"
    )
    return _gate(evidence, look, voice, promote=promote, reasons=[*reasons, point, basis], looked=look.due)


def _gate(evidence: Evidence, look: Look, voice: Champion, *, promote: bool, reasons: list[str], looked: bool) -> Gate:
    champion = _served(evidence, voice)
    service = evidence.served[champion]
    figures = _numbers(evidence) | _numbers(service)
    figures |= {f"accuracy_{name}": value for name, value in evidence.accuracies.items()}
    if them := service.champion:
        figures |= {f"champion_{name}": value for name, value in _numbers(them).items()}
        figures |= {f"champion_coverage_excess_{level}": cover.excess for level, cover in them.coverage.items()}
    figures |= {
        "blend_may_speak": float(voice == BLEND),
        "look_number": float(look.number),
        "look_alpha": look.alpha,
        "look_tested": float(looked and look.standing == RANDOM_WALK),
    }
    return Gate(promote=promote, champion=champion, reasons=reasons, figures=figures, look=looked)


def _numbers(record: Evidence | Service | Comparison) -> dict[str, float]:
    return {name: float(value) for name, value in record if isinstance(value, int | float)}


def _served(evidence: Evidence, voice: Champion) -> Champion:
    """Whose point forecast the bundle gives: with a shrinkage weight of 0 a blend says what the random walk says."""
    return voice if evidence.weight > 0 else RANDOM_WALK


def _faults(evidence: Evidence, settings: GateSettings) -> Iterator[str]:
    """What no comparison can make good."""
    labels = evidence.independent_labels
    figures = _numbers(evidence) | evidence.accuracies
    for service in evidence.served.values():
        figures |= _numbers(service)
    if evidence.not_finite:
        names = " and ".join(evidence.not_finite)
        yield f"{names}: not finite on some rows, so a model diverged; look at the figures of its training"
    elif labels < settings.min_independent_labels:
        yield (
            f"only {labels:,.0f} unseen outcomes that do not overlap, of {settings.min_independent_labels} needed "
            "(gate.min_independent_labels): collect more bars, or lengthen training.window_days"
        )
    elif broken := [name for name, x in figures.items() if not math.isfinite(x)]:
        yield f"there is no finite {' and no '.join(broken)}: a model diverged, or the price did not move at all"
    if evidence.data_age_s > settings.max_data_age_s:
        yield (
            f"the newest row with an outcome is {timedelta(seconds=round(evidence.data_age_s))} old, more than "
            f"{timedelta(seconds=settings.max_data_age_s)} (gate.max_data_age_s): run the feature pipeline first"
        )
    if evidence.outlying_newest > settings.max_outlying_share:
        yield (
            f"{evidence.outlying_newest:.0%} of the newest day's rows are unlike any trained on, more than "
            f"{settings.max_outlying_share:.0%} (gate.max_outlying_share): the market drifted away; train again once "
            "the rows to fit on hold some like these"
        )
    # Three standard errors of a coin: few labels prove nothing.
    luck = max(HONEST_ACCURACY, evidence.base_rate) + 1.5 / math.sqrt(max(labels, 1.0))
    limit = max(settings.suspect_accuracy, luck)
    for name, accuracy in {"the direction classifier": evidence.accuracy, **evidence.accuracies}.items():
        if accuracy > limit:
            yield (
                f"{name} gets {accuracy:.1%} of the directions right, more than {limit:.1%}: a leak is suspected; "
                "look for a feature that knows the future"
            )


def _point(evidence: Evidence, look: Look) -> tuple[Champion, str]:
    """Who may say where the price goes, and why."""
    test = f"Clark-West t {evidence.information_t:+.2f}, p {evidence.information_p:.2g}"
    skill = f"shrunk skill over variance {evidence.weighted_skill:+.3%}, weight {evidence.weight:.2f}"
    stays = "the forecast is that the price stays"
    if not look.due:
        says = "the blend may speak" if look.standing == BLEND else stays
        return look.standing, f"{says}, as the last formal look left it; no other is due yet ({test}; {skill})"
    if look.standing == BLEND:
        against = f"(Diebold-Mariano p {evidence.worse_p:.2g}; {skill})"
        if evidence.worse_p <= SIGNIFICANT:
            return RANDOM_WALK, f"{stays}: the blend is worse than that {against}; a later look can let it speak again"
        return BLEND, f"the blend may go on speaking: it is not significantly worse than the random walk {against}"
    figures = f"{test}, where look {look.number} asks for at most {look.alpha:.2g}; {skill}"
    if evidence.information_p <= look.alpha and evidence.weighted_skill > 0:
        return BLEND, f"the blend may speak: it knows something, and shrunk it is worth something ({figures})"
    return RANDOM_WALK, (
        f"{stays}: the blend shows too little ({figures}); at the next look it needs a p below that look's level and a "
        "skill above 0"
    )


def _against_champion(
    evidence: Evidence, voice: Champion, look: Look, settings: GateSettings
) -> tuple[bool, list[str]]:
    """Whether the bundle may take the champion's place, and why."""
    ours = _served(evidence, voice)
    them = evidence.served[ours].champion
    if them is None:
        return True, ["there is no champion that answers for enough of the same rows"]
    if worse := list(_worse(them)):
        return False, [*worse, f"a bundle that is not worse than {them.name} where both can be measured may replace it"]
    # Either of two tests will do; all that fit into a budget period may err with `alpha` together.
    level = settings.alpha / most_looks(settings) / 2
    better = min(them.point_better_p, them.pinball_better_p)
    name, days = them.name, f"{them.age_days:.1f} days"
    grounds = [
        (not them.trained, f"{name} learnt nothing from data"),
        (
            them.age_days >= settings.refresh_days,
            f"the data of {name} end {days} earlier; from {settings.refresh_days:g} on (gate.refresh_days) it gives "
            "way to an equal",
        ),
        (them.speaks and voice == RANDOM_WALK, f"{name} says where the price goes, which the blend may not any more"),
        (ours == BLEND and not them.speaks, f"the blend may speak, and does not in {name}"),
        (
            look.due and better <= level,
            f"it is better than {name} (Diebold-Mariano p {better:.2g}, where at most {level:.2g} is asked for)",
        ),
    ]
    equal = (
        f"on {them.rows:,} common rows nothing is significantly worse: pinball {_pinball(them)} "
        f"(Diebold-Mariano p {them.pinball_worse_p:.2g}; worse would be {SIGNIFICANT:g} or less)"
    )
    if reasons := [reason for holds, reason in grounds if holds]:
        return True, [*reasons, equal]
    found = f"this look found {better:.2g}" if look.due else "none is due yet"
    return False, [
        f"the data of {name} end only {days} earlier: it gives way to an equal from {settings.refresh_days:g} on "
        f"(gate.refresh_days), before that to one that a formal look finds better (Diebold-Mariano p of at most "
        f"{level:.2g}; {found})"
    ]


def _pinball(them: Comparison) -> str:
    return f"{them.pinball_bp:.3f} bp against {them.their_pinball_bp:.3f}"


def _worse(them: Comparison) -> Iterator[str]:
    """Where the challenger is worse than the champion, by more than chance."""
    if them.pinball_worse_p <= SIGNIFICANT:
        yield f"its quantiles are worse than those of {them.name} ({_pinball(them)}, p {them.pinball_worse_p:.2g})"
    for level, cover in them.coverage.items():
        if cover.excess > max(2 * cover.standard_error, COVERAGE_TOLERANCE):
            yield (
                f"its {level}% intervals hold {cover.ours:.1%} of the outcomes, those of {them.name} {cover.theirs:.1%}"
                f": {cover.excess * 100:.1f} points further off, standard error {cover.standard_error * 100:.1f}"
            )
    if not them.trained:  # a coin and a price that stays are no direction and no point forecast to be held against
        return
    if them.brier_worse_p <= SIGNIFICANT:
        yield (
            f"its directions are worse than those of {them.name} (Brier {them.brier:.4f} against "
            f"{them.their_brier:.4f}, p {them.brier_worse_p:.2g})"
        )
    if them.point_worse_p <= SIGNIFICANT:
        yield f"its point forecast is worse than that of {them.name} (p {them.point_worse_p:.2g})"
