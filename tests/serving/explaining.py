"""Stand-ins for the explainer's parts, quick and obedient."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from cryptosentinel.bundle import Bundle


class FakeExplanation(BaseModel):
    """Says which row it is of."""

    close: float
    value: float
    lime: bool


class FakeImportances(BaseModel):
    """Of one feature."""

    rsi_14: float = 1.0


class FakeExplainer:
    """Explains a row by the sum of its features, once `may_go` is set.

    Attributes:
        begun: closes of the rows whose explanation has begun.
        fails_with: raised in place of an answer.
        shift: of all values.
    """

    importances = FakeImportances()

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.begun: list[float] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.fails_with: Exception | None = None
        self.shift = 0.0

    def explain(self, features: Any, close: float, *, lime: bool = False) -> FakeExplanation:
        self.begun.append(close)
        self.may_go.wait(20)
        if self.fails_with is not None:
            raise self.fails_with
        return FakeExplanation(close=close, value=float(features.sum()) + self.shift, lime=lime)


def fake_sentence(explanation: FakeExplanation) -> str:
    return f"At {explanation.close:g}."


def use_stand_ins(monkeypatch: Any, explainer: Callable[[Bundle], Any] = FakeExplainer) -> None:
    monkeypatch.setattr("serving.explainer.explainers.Explainer", explainer)
    monkeypatch.setattr("serving.explainer.app.sentence", fake_sentence)
