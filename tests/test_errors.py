"""The exception tree is the one that `errors` draws."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from cryptosentinel import errors


def drawn() -> dict[str, str | None]:
    """Each class of the drawing, and its parent there."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ |`-]*)([A-Z]\w*Error)\b", line):
            column, name = len(match[1]), match[2]
            above = [(indent, parent) for indent, parent in above if indent < column]
            parents[name] = above[-1][1] if above else None
            above.append((column, name))
    return parents


def test_every_error_is_drawn_below_its_parent() -> None:
    defined = {
        name: parent if (parent := thing.__bases__[0].__name__) != "Exception" else None
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    assert drawn() == defined


def test_what_the_user_asked_for_exits_with_2_and_a_fault_with_1() -> None:
    codes = {name: getattr(errors, name).exit_code for name in drawn()}
    assert {name for name, code in codes.items() if code == 2} == {
        "UserInputError",
        "SettingsError",
        "MarketDataError",
        "HomeInUseError",
    }
    assert set(codes.values()) == {1, 2}


def test_an_error_says_what_happened_and_then_what_to_do() -> None:
    error = errors.StorageError("The disk is full.", remedy="Make room.")
    assert (error.message, error.remedy, str(error)) == (
        "The disk is full.",
        "Make room.",
        "The disk is full. Make room.",
    )
    assert str(errors.StorageError("The disk is full.")) == "The disk is full."


def test_errors_with_figures_say_them() -> None:
    few = errors.NotEnoughDataError("Training", have=1200, need=5000)
    assert (few.have, few.need, str(few)) == (1200, 5000, "Training: have 1,200 rows, need at least 5,000.")
    step = errors.PipelineError("train", "no rows", remedy="Ingest some.")
    assert (step.step, str(step)) == ("train", "Step 'train' failed: no rows Ingest some.")
    assert errors.RateLimitedError("slow down", retry_after_s=3).retry_after_s == 3


@pytest.mark.parametrize("name", drawn())
def test_an_error_comes_out_of_another_process_as_it_was(name: str) -> None:
    more: dict[str, dict[str, Any]] = {
        "NotEnoughDataError": {"have": 1, "need": 2},
        "RateLimitedError": {"retry_after_s": 3.0},
        "DeliveryError": {"away": True, "retry_after_s": 3.0},
        "PipelineError": {"message": "no rows", "exit_code": 2, "cause": "SourceError"},
    }
    error = getattr(errors, name)("What happened.", remedy="What to do.", **more.get(name, {}))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.message, again.remedy, vars(again)) == (error.message, "What to do.", vars(error))
