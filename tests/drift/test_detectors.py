"""Which detector answers, and what is said where it is not the one that was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.config import DriftSettings
from cryptosentinel.drift import Pair, ask_detector, detectors

PAIR = Pair(pd.DataFrame({"a": range(50)}), pd.DataFrame({"a": range(9)}))


def interpreter(folder: Path, script: str) -> str:
    """What stands in for that environment's Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def _no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "ENVIRONMENT", tmp_path / "absent")


def test_without_its_environment_scipy_answers_and_only_who_asked_for_alibi_is_told_so() -> None:
    answer = ask_detector([PAIR], DriftSettings(detector="auto"))
    assert (answer.detector, answer.note) == ("scipy-ks", "")
    answer = ask_detector([PAIR], DriftSettings(detector="tabular"))
    assert answer.detector == "scipy-ks"
    assert "make setup-drift" in answer.note


def test_its_environment_is_looked_for_beside_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"version": "0.13.0", "tables": [{"statistic": [0.25], "p_value": [0.5]}]}
    (tmp_path / "bin").mkdir()
    interpreter(tmp_path / "bin", f"echo '{json.dumps(said)}'")
    monkeypatch.setattr(detectors, "ENVIRONMENT", tmp_path)
    answer = ask_detector([PAIR], DriftSettings(detector="auto"))
    assert answer.detector == "alibi-detect 0.13.0 TabularDrift"
    assert answer.tables[0].loc["a"].tolist() == [0.25, 0.5]
    assert ask_detector([PAIR], DriftSettings(detector="scipy")).detector == "scipy-ks"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'ImportError: no numpy' >&2; exit 1", "alibi-detect failed: ImportError: no numpy"),
        ("exit 3", "alibi-detect failed: it ended with 3"),
        ("exec sleep 30", "took longer than 0.5 s (drift.timeout_s)"),
        ("echo nothing", "did not answer"),
        ("true", "did not answer"),
    ],
    ids=["breaks", "ends", "hangs", "talks", "is silent"],
)
def test_where_it_breaks_scipy_answers_and_says_why(tmp_path: Path, script: str, said: str) -> None:
    settings = DriftSettings(detector="auto", python=interpreter(tmp_path, script), timeout_s=0.5)
    answer = ask_detector([PAIR], settings)
    assert answer.detector == "scipy-ks"
    assert said in answer.note


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    answer = ask_detector([PAIR], DriftSettings(python=str(tmp_path / "nowhere")))
    assert str(tmp_path / "nowhere") in answer.note
