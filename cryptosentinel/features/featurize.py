"""The featurize step: brings a spec's feature table up to date with the bars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.features.compute import compute_features
from cryptosentinel.features.spec import FeatureSpec
from cryptosentinel.storage import FeatureStore, Written

# A row computed from the warm-up alone equals one computed from all history to this, relative or absolute.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class FeaturizeReport:
    """What a featurize step did.

    Attributes:
        written: what the store did with the rows.
        computed_from: timestamp of the oldest row that was computed.
        newest: timestamp of the newest row.
        newest_is_warm: whether that row has every feature the models need.
        bars_since_gap: bars without a gap up to the newest, counted up to the spec's warm-up.
    """

    written: Written
    computed_from: datetime
    newest: datetime
    newest_is_warm: bool
    bars_since_gap: int


def featurize(
    store: FeatureStore,
    spec: FeatureSpec,
    asset: str,
    *,
    touched_from: datetime | None = None,
    heal: bool = True,
) -> FeaturizeReport:
    """Computes the features of every bar that is new or was touched, and stores them.

    Safe to run again: what is there and right is not written. What follows a touched bar is computed anew as well.

    Args:
        store: bars are read from it and features written to it.
        spec: what to compute.
        asset: whose bars.
        touched_from: the oldest bar that changed since the last time, as `ingest` reports it.
        heal: also look for older bars that have no feature row, which a killed run leaves behind.

    Raises:
        NotEnoughDataError: there is no bar at all.
    """
    newest_bar = store.last_timestamp(asset)
    if newest_bar is None:
        raise NotEnoughDataError(
            f"Bars of {asset}",
            have=0,
            need=1,
            remedy="Run `cryptosentinel run feature`; if it did, the source is empty.",
        )
    start = _first_stale(store, spec, asset, newest_bar, touched_from, heal=heal)
    delta = spec.interval.delta
    context = None if start is None else start - spec.warm_up_bars * delta
    bars = store.read_bars(asset, context)
    rows = compute_features(bars, spec)
    if start is not None:
        rows = rows[rows["timestamp"] >= pd.Timestamp(start)]
    changed = rows if start is None else _changed(rows, store, spec, asset)
    written = store.write_features(changed, spec.hash)
    last = rows.iloc[-1]
    return FeaturizeReport(
        written=replace(written, unchanged=written.unchanged + len(rows) - len(changed)),
        computed_from=rows["timestamp"].iloc[0].to_pydatetime(),
        newest=last["timestamp"].to_pydatetime(),
        newest_is_warm=bool(last[spec.model_names].notna().all()),
        bars_since_gap=_bars_since_gap(bars["timestamp"].tail(spec.warm_up_bars), delta),
    )


def _first_stale(
    store: FeatureStore,
    spec: FeatureSpec,
    asset: str,
    newest_bar: datetime,
    touched_from: datetime | None,
    *,
    heal: bool,
) -> datetime | None:
    """The oldest bar whose feature row may be missing or out of date; None: all of them."""
    newest_row = store.last_timestamp(asset, spec.hash)
    if newest_row is None:
        return None
    # A killed run may have left revised bars behind and told nobody: a day's worth, as far as live sources revise.
    starts = [min(newest_row, newest_bar) - timedelta(days=1)]
    if touched_from is not None:
        starts.append(touched_from)
    if heal:
        bars = store.read_bars(asset)["timestamp"]
        rows = store.read_features(asset, spec.hash, columns=[])["timestamp"]
        missing = bars[~bars.isin(rows)]
        if len(missing):
            starts.append(missing.iloc[0].to_pydatetime())
    return min(starts)


def _changed(rows: pd.DataFrame, store: FeatureStore, spec: FeatureSpec, asset: str) -> pd.DataFrame:
    """Rows that are new, or differ from the stored ones by more than the rounding of where their history began."""
    stored = store.read_features(asset, spec.hash, rows["timestamp"].iloc[0].to_pydatetime())
    stored = stored.set_index("timestamp").reindex(rows["timestamp"])
    same = stored["asset"].notna().to_numpy()
    for name in spec.names:  # one at a time: with all of history, each copy of all features is 360 MB
        same &= np.isclose(rows[name], stored[name], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return rows[~same]


def _bars_since_gap(timestamps: pd.Series, delta: timedelta) -> int:
    gaps = (timestamps.diff().iloc[1:] != delta).to_numpy().nonzero()[0]
    return len(timestamps) - (int(gaps[-1]) + 1 if len(gaps) else 0)
