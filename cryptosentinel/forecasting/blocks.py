"""The last block as the gate sees it: the challenger's forecasts of it, and the champion's."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import BLEND, Bundle, Champion, Domain, QuantileTable
from cryptosentinel.config import ForecastSettings
from cryptosentinel.forecasting.choices import Choices
from cryptosentinel.forecasting.dataset import Dataset
from cryptosentinel.forecasting.evidence import Block, Incumbent
from cryptosentinel.forecasting.online import calibrate_rows
from cryptosentinel.forecasting.unseen import Unseen

Array = NDArray[np.float64]


def issued_quantiles(
    rows: Dataset, mean: Array, sigma: Array, table: QuantileTable, settings: ForecastSettings
) -> Array:
    """Quantiles of the log return as they would have been issued live, shape (n, 9).

    The table they begin with gives way to what the rows themselves teach, as far as each could know.

    Args:
        rows: in the order of time.
        mean: point forecast of the log return, shape (n,).
        sigma: forecast volatility of it, shape (n,).
        table: quantiles of (actual - mean) / sigma to begin with.
        settings: of the online calibration.
    """
    made_at = rows.timestamps + np.timedelta64(rows.interval.delta)
    scores = (rows.y - mean) / sigma
    table_rows = calibrate_rows(np.array(table.values), made_at, scores, rows.horizon, settings)
    quantiles: Array = mean[:, None] + sigma[:, None] * table_rows
    return quantiles


def last_block(last: Unseen, choices: Choices, domain: Domain, settings: ForecastSettings, served: Champion) -> Block:
    """The challenger's: its parts' forecasts of the last block, put together as its bundle would.

    Args:
        last: the last block's rows.
        choices: made before it.
        domain: of the training rows.
        settings: of the online calibration.
        served: whose point forecast it gives.
    """
    rows = last.rows
    weight = choices.shrinkage if served == BLEND else 0.0
    dissimilarity = domain.dissimilarity(rows.X)
    sigma = last.sigma * domain.widening(dissimilarity)
    return Block(
        timestamps=rows.timestamps,
        actual=rows.y,
        sigma=sigma,
        blend=last.blend,
        weight=weight,
        quantiles=issued_quantiles(rows, weight * last.blend, sigma, choices.quantiles[served], settings),
        p_up=choices.calibration.apply(last.score),
        outlying=dissimilarity > domain.threshold,
        horizon_bars=rows.horizon_bars,
    )


def incumbent_on(
    rows: Dataset, spec_hash: str, bundle: Bundle, version: int, settings: ForecastSettings
) -> Incumbent | None:
    """The champion's forecasts of the last block, of those rows that it was not fitted on.

    Args:
        rows: the last block's.
        spec_hash: of their features.
        bundle: the champion.
        version: its number in the registry.
        settings: of the online calibration.

    Returns:
        None where the champion cannot answer for them: it was built for other features or another horizon, or has seen
        them all.
    """
    manifest = bundle.manifest
    if manifest.spec_hash != spec_hash or manifest.horizon_bars != rows.horizon_bars:
        return None
    age = timedelta(0)
    end = pd.Timestamp(rows.timestamps[-1], tz="UTC")
    if manifest.data is not None:
        fitted_until = pd.Timestamp(manifest.data.training_end).tz_localize(None) + rows.horizon
        rows = rows.rows(rows.timestamps > np.datetime64(fitted_until))
        age = end - pd.Timestamp(manifest.data.end)
    if len(rows) == 0:
        return None
    answer = bundle.infer(rows.X.astype(np.float64), rows.close)
    speaks = manifest.champion == BLEND
    block = Block(
        timestamps=rows.timestamps,
        actual=rows.y,
        sigma=answer.sigma,
        blend=np.log(answer.by_model[BLEND] / rows.close) if speaks else np.zeros(len(rows)),
        weight=manifest.shrinkage if speaks else 0.0,
        quantiles=issued_quantiles(rows, answer.log_return, answer.sigma, bundle.quantiles, settings),
        p_up=answer.p_up,
        outlying=answer.outlying,
        horizon_bars=rows.horizon_bars,
    )
    return Incumbent(f"version {version}", manifest.data is not None, age / timedelta(days=1), block)
