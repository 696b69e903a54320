"""How much each feature matters to a champion: how far its answers move when the feature is shuffled among rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptosentinel.bundle import Bundle

_ROWS = 200


def importances(bundle: Bundle, baseline: pd.DataFrame) -> dict[str, float]:
    """Each feature's share; empty where the bundle answers the same for all rows.

    Permutation importance (Breiman, "Random forests", 2001), of what is served rather than of its error: the mean move
    of the log return, of the probability of a rise and of the logarithm of sigma, each in shares of its own sum, then
    averaged over those that move at all. It asks the bundle's graph alone, so every format and model has it.

    Args:
        bundle: a trained champion.
        baseline: rows of its features.
    """
    names = bundle.manifest.features
    rows = baseline[names].to_numpy(np.float64)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _ROWS).astype(int))]
    shuffled = np.tile(rows, (len(names) + 1, 1, 1))
    order = np.random.default_rng(0).permutation(len(rows))
    for column in range(len(names)):
        shuffled[column + 1, :, column] = rows[order, column]
    answer = bundle.infer(shuffled.reshape(-1, len(names)), np.ones(shuffled.shape[0] * len(rows)))
    shares = []
    for said in (answer.log_return, answer.p_up, np.log(np.maximum(answer.sigma, 1e-12))):
        table = said.reshape(len(names) + 1, len(rows))
        moves = np.abs(table[1:] - table[0]).mean(axis=1)
        if moves.sum() > 0:
            shares.append(moves / moves.sum())
    return dict(zip(names, np.mean(shares, axis=0).tolist(), strict=True)) if shares else {}
