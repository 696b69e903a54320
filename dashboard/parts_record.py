"""How good forecasts were, in cards."""

from __future__ import annotations

import math
from typing import NamedTuple

import streamlit as st

from cryptosentinel.predicting import ENOUGH_OUTCOMES, Accuracy, Share, evidence
from dashboard import parts
from dashboard.parts import Tone
from dashboard.text import OUTCOMES, UNKNOWN, share


class Card(NamedTuple):
    """What `parts.card` shows."""

    label: str
    value: str
    note: str
    colour: Tone
    explained: str


def record(figures: Accuracy, flat_move: float) -> None:
    """How forecasts have done: six figures, and what they rest on in a sentence.

    Args:
        figures: the record.
        flat_move: as `forecast.flat_move`.
    """
    with st.container(horizontal=True, gap="small"):
        for card in _cards(figures, flat_move):
            parts.card(card.label, card.value, card.note, card.colour, explained=card.explained, height="content")
    outcomes = ", ".join(f"{figures.counts.get(outcome, 0):,} {outcome}" for outcome in OUTCOMES)
    no_call = " No direction was called: incorrect only means that the price moved."
    basis = f" {evidence(figures.covered[80].independent)}." if figures.settled else ""
    parts.aside(f"{outcomes}.{basis}" + (no_call if figures.counts.get("incorrect") and not figures.called else ""))


def _cards(figures: Accuracy, flat_move: float) -> list[Card]:
    hits = figures.hits
    told: Tone = "blue" if hits.lower > 0.5 else "orange" if hits.upper < 0.5 else "off"
    return [
        Card("Settled", f"{figures.settled:,}", f"of {figures.made:,} made", "off", "Forecasts whose time has come."),
        Card(
            "Direction right",
            share(hits.value),
            ", ".join(filter(None, (_between(hits), f"{figures.called:,} calls"))),
            told,
            f"Of forecasts that called a rise or a fall, and whose price moved by {100 * flat_move:g}% or more; "
            "smaller moves are flat. A coin has 50%. Below: where the true share lies, with a probability of 95%.",
        ),
        *(_covered(level, covered) for level, covered in figures.covered.items()),
        Card(
            "Mean error",
            _error(figures.error),
            f"random walk {_error(figures.baseline_error)}",
            "off",
            "How far actual prices were from their forecasts on average, in percent of the price then; and how far "
            "they were from that price, which is what the random walk forecasts.",
        ),
        _skill(figures),
    ]


def _covered(level: int, covered: Share) -> Card:
    off = covered.lower > level / 100 or covered.upper < level / 100
    return Card(
        f"In the {level}% band",
        share(covered.value),
        _between(covered) or "none settled",
        "orange" if off and covered.independent >= ENOUGH_OUTCOMES else "off",
        f"The share of actual prices within the {level}% band of their forecasts; in the long run it should be "
        f"{level}%. Below: where the true share lies, with a probability of 95%.",
    )


def _skill(figures: Accuracy) -> Card:
    skill = figures.skill
    stays = skill.lower == skill.upper
    verdict: tuple[str, Tone] = (
        ("the price stays, as it says", "off")
        if stays
        else ("too few to judge", "off")
        if not math.isfinite(skill.lower) or figures.covered[80].independent < ENOUGH_OUTCOMES
        else ("▲ better", "blue")
        if skill.lower > 0
        else ("▼ worse", "orange")
        if skill.upper < 0
        else ("cannot be told apart", "off")
    )
    known = math.isfinite(skill.value)
    return Card(
        "vs. random walk",
        (f"{skill.value:+.2%}" if skill.value else "0.00%") if known else UNKNOWN,
        (f"± {skill.value - skill.lower:.2%}, " if math.isfinite(skill.lower) and not stays else "")
        + (verdict[0] if known else "nothing settled"),
        verdict[1],
        "Skill: how much less squared error the forecasts have than the random walk, which says that the price stays "
        "where it is. 0% is no better; to beat it at all is rare. Below: how sure that is, with a probability of 95%, "
        "forecasts that overlap allowed for.",
    )


def _between(figure: Share) -> str:
    """The bounds of a share, where there are enough outcomes for them to say something; empty where there is none."""
    if figure.independent < ENOUGH_OUTCOMES:
        return "too few to judge" if figure.independent else ""
    return f"{100 * figure.lower:.0f} to {share(figure.upper)}"


def _error(value: float) -> str:
    return f"{value:.3%}" if math.isfinite(value) else UNKNOWN
