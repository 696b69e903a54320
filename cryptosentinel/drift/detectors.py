"""Detectors: two samples of the same features in, a distance a feature out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from cryptosentinel.config import DriftSettings

WORKER = Path(__file__).with_name("alibi_worker.py")
# Beside the library, in a checkout and in the image: what `make setup-drift` makes.
ENVIRONMENT = Path(__file__).parents[2] / ".venv-drift"


@dataclass(frozen=True)
class Pair:
    """Two samples with the same columns, without missing values; the baseline's is the first."""

    reference: pd.DataFrame
    current: pd.DataFrame


@dataclass(frozen=True)
class Answer:
    """What a detector said.

    Attributes:
        detector: which one.
        tables: for each pair `statistic` and `p_value`, by feature.
        note: why it is not the one that was asked for; empty where it is.
    """

    detector: str
    tables: list[pd.DataFrame]
    note: str = ""


class Detector(Protocol):
    """Compares pairs of samples, feature by feature, taking rows for independent."""

    def __call__(self, pairs: Sequence[Pair]) -> Answer:
        """The two-sample Kolmogorov-Smirnov statistic of each feature, and its asymptotic p-value."""


class NoAnswerError(Exception):
    """alibi-detect did not answer; says why, and what to do. Never leaves this package: SciPy answers instead."""


def scipy_ks(pairs: Sequence[Pair]) -> Answer:
    """SciPy's test; both figures in single precision, as alibi-detect keeps them, so that the two agree."""
    from scipy.stats import ks_2samp

    def compared(pair: Pair) -> pd.DataFrame:
        tests = [ks_2samp(pair.reference[name], pair.current[name], method="asymp") for name in pair.reference]
        found = np.array([[test.statistic, test.pvalue] for test in tests], dtype=np.float32).reshape(-1, 2)
        return pd.DataFrame(found.astype(np.float64), index=pair.reference.columns, columns=["statistic", "p_value"])

    return Answer("scipy-ks", [compared(pair) for pair in pairs])


@dataclass(frozen=True)
class AlibiTabular:
    """alibi-detect's `TabularDrift`, which cannot live in one environment with the rest, in a process of its own.

    Attributes:
        python: the interpreter of its environment.
        timeout_s: how long it may take, its start included.
        memory_mb: how much memory its data may take.
    """

    python: Path
    timeout_s: float
    memory_mb: int

    def __call__(self, pairs: Sequence[Pair]) -> Answer:
        """See `Detector`.

        Raises:
            NoAnswerError: it did not start, or failed, or took too long.
        """
        with tempfile.TemporaryDirectory(prefix="cryptosentinel-drift-") as folder:
            for number, pair in enumerate(pairs):
                pair.reference.reset_index(drop=True).to_parquet(Path(folder) / f"{number}-reference.parquet")
                pair.current.reset_index(drop=True).to_parquet(Path(folder) / f"{number}-current.parquet")
            said = self._run(folder, len(pairs))
        tables = [
            pd.DataFrame({"statistic": table["statistic"], "p_value": table["p_value"]}, index=pair.reference.columns)
            for table, pair in zip(said["tables"], pairs, strict=True)
        ]
        return Answer(f"alibi-detect {said['version']} TabularDrift", tables)

    def _run(self, folder: str, pairs: int) -> Any:
        # -I: nothing of this process's environment is imported there. One thread: each reserves memory of its own.
        command = [str(self.python), "-I", str(WORKER), folder, str(pairs), str(self.memory_mb)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=True,
                env={**os.environ, **threads, "ARROW_DEFAULT_MEMORY_POOL": "system"},
            )
            return json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"alibi-detect took longer than {self.timeout_s:g} s (drift.timeout_s)") from None
        except subprocess.CalledProcessError as error:
            last = (error.stderr or "").strip().splitlines()[-1:] or [f"it ended with {error.returncode}"]
            raise NoAnswerError(f"alibi-detect failed: {last[0][:200]}") from error
        except (OSError, ValueError, IndexError) as error:
            raise NoAnswerError(f"{self.python} did not answer: {error}") from error


def find_python(settings: DriftSettings) -> Path | None:
    """The interpreter that has alibi-detect: the one that is set, else that of `make setup-drift`; None: neither."""
    if settings.python is not None:
        return Path(settings.python)
    python = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    return python if python.exists() else None


def ask_detector(pairs: Sequence[Pair], settings: DriftSettings) -> Answer:
    """The answer of the detector that the settings name; where it has none, SciPy's, with a note that says why."""
    if settings.detector == "scipy":
        return scipy_ks(pairs)
    python = find_python(settings)
    if python is None:
        lacking = "alibi-detect has no environment: run `make setup-drift`, or set drift.python"
        return _fallen_back(pairs, lacking if settings.detector == "tabular" else "")
    try:
        return AlibiTabular(python, settings.timeout_s, settings.memory_mb)(pairs)
    except NoAnswerError as error:
        return _fallen_back(pairs, str(error))


def _fallen_back(pairs: Sequence[Pair], note: str) -> Answer:
    answer = scipy_ks(pairs)
    return Answer(answer.detector, answer.tables, note)
