"""The market that is replayed: cleaned bars, their features and targets, in files that every process can map."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features import FeatureSpec, compute_features
from cryptosentinel.forecasting.dataset import HISTORY, Dataset, make_dataset
from cryptosentinel.market import Source
from cryptosentinel.market.bars import PRICES, Interval, utc
from cryptosentinel.market.cleaning import clean

_ABOUT = "about.json"
_ARRAYS = tuple(f.name for f in fields(Dataset) if f.name not in {"history", "names", "interval", "horizon_bars"})


@dataclass(frozen=True)
class Tape:
    """A row a bar, complete or not, from the first training row to the last forecast's target.

    Attributes:
        rows: see `forecasting.Dataset`.
        digest: sha256 of the cleaned bars, in hex.
    """

    rows: Dataset
    digest: str

    @property
    def begin(self) -> datetime:
        """When the first row's bar opens."""
        return utc(self.rows.timestamps[0])

    @property
    def end(self) -> datetime:
        """When the last row's bar closes."""
        return utc(self.rows.timestamps[-1]) + self.rows.interval.delta

    def between(self, start: datetime, end: datetime) -> slice:
        """The rows whose bars open from `start` on and before `end`; none where `end` is earlier."""
        first, stop = np.searchsorted(self.rows.timestamps, [_naive(start), _naive(end)]).tolist()
        return slice(first, max(first, stop))

    def closed_between(self, start: datetime, end: datetime) -> slice:
        """The rows whose bars close from `start` on and before `end`: one forecast is made at each."""
        bar = self.rows.interval.delta
        return self.between(start - bar, end - bar)

    def window_at(self, now: datetime, window_days: float) -> slice:
        """The rows of a training run's window at `now` whose targets are known then."""
        newest = now - self.rows.interval.delta - self.rows.horizon
        return self.between(now - timedelta(days=window_days), newest + timedelta(milliseconds=1))

    def known_at(self, now: datetime, window_days: float) -> Dataset:
        """What a training run sees at `now`: the complete ones of those rows."""
        return self.rows.rows(self.window_at(now, window_days)).complete()

    def bars(self) -> pd.DataFrame:
        """`timestamp` and `close` of every row, as settling wants them."""
        times = pd.DatetimeIndex(self.rows.timestamps).tz_localize("UTC")
        return pd.DataFrame({"timestamp": times, "close": self.rows.close})


def record(source: Source, spec: FeatureSpec, start: datetime, end: datetime, horizon_bars: int) -> Tape:
    """Reads, cleans and featurizes a market, as ingestion and featurization would.

    Args:
        source: who has the bars.
        spec: what to compute.
        start: where rows begin; bars from before give features and baselines their history.
        end: where bars end.
        horizon_bars: how far targets reach.

    Raises:
        NotEnoughDataError: the source has no bars there.
        SourceError: it failed.
    """
    before = max(spec.warm_up_bars * spec.interval.delta, HISTORY)
    bars = clean(source.bars(start - before, end), spec.interval, end).bars
    inside = (bars["timestamp"] >= pd.Timestamp(start)).to_numpy()
    if not inside.any():
        raise NotEnoughDataError(
            f"Bars of {source.name} from {start:%Y-%m-%d} to {end:%Y-%m-%d}",
            have=0,
            need=1,
            remedy="Choose --start and --end within what the source has.",
        )
    # Only what models are given: over eight years, each of the others is 7 MB.
    features = compute_features(bars, spec).loc[inside, ["timestamp", *spec.model_names]]
    return Tape(make_dataset(bars, features, spec, horizon_bars), digest_of(bars))


def digest_of(bars: pd.DataFrame) -> str:
    """sha256 of the times, prices and volumes of bars, in hex."""
    digest = hashlib.sha256(bars["timestamp"].to_numpy("datetime64[ms]").tobytes())
    for name in (*PRICES, "volume"):
        digest.update(bars[name].to_numpy(np.float64).tobytes())
    return digest.hexdigest()


def save(tape: Tape, folder: Path) -> None:
    """Writes a tape."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = tape.rows
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(rows, name))
    for name, values in rows.history.items():
        np.save(folder / f"history-{name}.npy", values)
    about = {
        "digest": tape.digest,
        "names": rows.names,
        "history": list(rows.history),
        "interval": rows.interval.name,
        "horizon_bars": rows.horizon_bars,
    }
    (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def load(folder: Path) -> Tape:
    """Maps a tape into memory, which is shared by all processes that do so."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))

    def mapped(name: str) -> NDArray[np.float64]:
        array: NDArray[np.float64] = np.load(folder / f"{name}.npy", mmap_mode="r")
        return array

    rows = Dataset(
        **{name: mapped(name) for name in _ARRAYS},  # type: ignore[arg-type]
        history={name: mapped(f"history-{name}") for name in about["history"]},
        names=tuple(about["names"]),
        interval=Interval(about["interval"]),
        horizon_bars=about["horizon_bars"],
    )
    return Tape(rows, about["digest"])


def _naive(time: datetime) -> np.datetime64:
    return np.datetime64(pd.Timestamp(time).tz_convert("UTC").tz_localize(None))
