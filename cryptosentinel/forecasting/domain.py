"""Fitting the domain in which a bundle's models may be believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.bundle import CLIP, Domain

PROTOTYPES = 64
# Rows that there are for each prototype at least.
_ROWS_EACH = 20
# Enough rows to place the prototypes; K-means on more only costs time, and so does going on until nothing moves.
_MAX_ROWS, _MAX_ROUNDS = 5_000, 10
_BLOCKS = 4
# Markets have heavy tails: Meyer & Pebesma's upper whisker calls 2 to 8% of the next month's rows outlying, most of
# them ordinary wild hours, and people stop reading what cries wolf. This calls 0 to 0.3% of them so.
_QUANTILE = 0.999


def fit_domain(X: NDArray[np.float32], seed: int) -> Domain:
    """Fits the domain of training rows.

    The threshold is a quantile of the dissimilarities of rows that were not fitted on: each quarter of the time is held
    against a domain of the other three, so that wherever in time the wildest rows lie, they count as unseen once.

    Args:
        X: the training rows' features in time order, finite, shape (n, features), n at least 2.
        seed: of K-means.
    """
    rows = X.astype(np.float64)
    blocks = np.array_split(rows, min(_BLOCKS, len(rows)))
    unseen = [
        _fit(np.concatenate(blocks[:number] + blocks[number + 1 :]), seed).dissimilarity(block)
        for number, block in enumerate(blocks)
    ]
    update = {
        "threshold": float(np.quantile(np.concatenate(unseen), _QUANTILE)) or 1.0,  # 0 where all rows are one
        "method": f"{_QUANTILE:.1%} quantile of {len(rows):,} training rows, each by a fit on the other blocks of time",
    }
    return _fit(rows, seed).model_copy(update=update)


def _fit(rows: NDArray[np.float64], seed: int) -> Domain:
    """Prototypes and their mean distance; the threshold is still to be found."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    means, deviations = rows.mean(axis=0), rows.std(axis=0)
    deviations[deviations <= 1e-12 * np.abs(means)] = 1.0  # one that never moves says nothing
    sample = ((rows[:: -(-len(rows) // _MAX_ROWS)] - means) / deviations).clip(-CLIP, CLIP)
    clusters = min(PROTOTYPES, max(1, len(sample) // _ROWS_EACH))
    with threadpool_limits(1):  # several add up in the order in which they end: the last digit would be theirs to say
        fitted = KMeans(clusters, n_init=1, max_iter=_MAX_ROUNDS, random_state=seed).fit(sample)
    distances = fitted.transform(sample).min(axis=1)
    return Domain(
        means=means.tolist(),
        deviations=deviations.tolist(),
        prototypes=fitted.cluster_centers_.tolist(),
        mean_distance=float(distances.mean()) or 1.0,
        threshold=1.0,
        method="",
    )
