"""What the trained parts forecast for rows they were not fitted on, put together row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import DIRECTION, RANDOM_WALK, REGIME
from cryptosentinel.errors import PipelineError
from cryptosentinel.forecasting.dataset import Dataset
from cryptosentinel.forecasting.training import FORECASTS_FILE, LAST_BLOCK, PART_FILE, Part
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS

Array = NDArray[np.float64]
NOT_ANSWERED = -1


@dataclass(frozen=True)
class Unseen:
    """Rows that each model met only after it was fitted, in the order of time, with every part's answer.

    Attributes:
        rows: of the dataset that the parts were trained on.
        block: the walk-forward fold that a row was in, or `training.LAST_BLOCK`, shape (n,).
        candidates: log returns by candidate, the random walk among them, each of shape (n,).
        sigma: forecast volatility over the horizon, up to a factor that calibration finds, shape (n,).
        score: the direction classifier's, shape (n,).
        regime: cluster number, `NOT_ANSWERED` before the last block, shape (n,).
    """

    rows: Dataset
    block: NDArray[np.int64]
    candidates: dict[str, Array]
    sigma: Array
    score: Array
    regime: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, which: NDArray[np.bool_]) -> Unseen:
        """Some of the rows."""
        return replace(
            self,
            rows=self.rows.rows(which),
            block=self.block[which],
            candidates={name: values[which] for name, values in self.candidates.items()},
            sigma=self.sigma[which],
            score=self.score[which],
            regime=self.regime[which],
        )

    def split(self) -> tuple[Unseen, Unseen]:
        """The rows that choices are made on, out of fold, and the last block, which none is made on."""
        last = self.block == LAST_BLOCK
        return self.pick(~last), self.pick(last)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Where every answer that counts is a number, shape (n,)."""
        known: NDArray[np.bool_] = np.isfinite(self.blend) & np.isfinite(self.sigma) & np.isfinite(self.score)
        return known

    @property
    def blend(self) -> Array:
        """The mean of the candidates' log returns, all counting alike, the random walk not at all; 0 without any."""
        forecasts = [values for name, values in self.candidates.items() if name != RANDOM_WALK]
        mean: Array = np.mean(forecasts, axis=0) if forecasts else np.zeros(len(self))
        return mean


def read_parts(folders: Sequence[Path]) -> dict[str, tuple[Part, Path]]:
    """The parts that training tasks left behind, by name.

    Raises:
        PipelineError: a folder holds no part, a part is missing, or two saw different rows.
    """
    parts: dict[str, tuple[Part, Path]] = {}
    for folder in folders:
        try:
            part = Part.model_validate_json((folder / PART_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PipelineError("evaluate", f"{folder} holds no trained part ({error}).") from error
        parts[part.name] = part, folder
    windows = {part.data for part, _ in parts.values()}
    if missing := {DIRECTION, RANDOM_WALK, REGIME, *VOLATILITY_MODELS} - parts.keys():
        raise PipelineError("evaluate", f"there is no trained {' and no '.join(sorted(missing))}.")
    if len(windows) != 1:
        raise PipelineError("evaluate", f"the parts were trained on {len(windows)} different sets of rows.")
    return parts


def read_unseen(folders: Sequence[Path], rows: Dataset) -> Unseen:
    """The parts' answers beside the rows they are for.

    Args:
        folders: what `train_part` wrote, one folder a part.
        rows: what the parts were trained on.

    Raises:
        PipelineError: as `read_parts`, or a part answered for rows that are not among `rows`.
    """
    parts = read_parts(folders)
    frames = {name: pd.read_parquet(folder / FORECASTS_FILE) for name, (_, folder) in parts.items()}
    frame = frames[RANDOM_WALK]
    times = _times(frame)
    positions = np.searchsorted(rows.timestamps, times)
    known = positions < len(rows)
    if not known.all() or (rows.timestamps[positions] != times).any():
        raise PipelineError("evaluate", "the parts were trained on other rows than those they are measured on.")
    for name, other in frames.items():
        expected = frame[frame["block"] == LAST_BLOCK] if name == REGIME else frame
        if not np.array_equal(_times(other), _times(expected)):
            raise PipelineError("evaluate", f"{name} answered for other rows than the random walk.")
    last = (frame["block"] == LAST_BLOCK).to_numpy()
    regime = np.full(len(frame), NOT_ANSWERED)
    regime[last] = frames.pop(REGIME)["forecast"].to_numpy()
    answers = {name: other["forecast"].to_numpy(np.float64) for name, other in frames.items()}
    picked = np.zeros(len(rows), dtype=np.bool_)
    picked[positions] = True
    return Unseen(
        rows=rows.rows(picked),
        block=frame["block"].to_numpy(np.int64),
        sigma=np.exp(np.mean([np.log(answers.pop(name)) for name in VOLATILITY_MODELS], axis=0)),
        score=answers.pop(DIRECTION),
        candidates=answers,
        regime=regime,
    )


def _times(frame: pd.DataFrame) -> NDArray[np.datetime64]:
    # With the type named: without, pandas makes an object of every time that has a zone.
    times: NDArray[np.datetime64] = frame["timestamp"].to_numpy("datetime64[ms]")
    return times
