"""Market regimes: K-means on principal components of trend and volatility, named by a rule.

The names follow Wyckoff's four phases. After every fit, each cluster is named by where its rows lie on average: the one
with the strongest trend (rate of change in units of volatility) is `uptrend`, the one with the weakest `downtrend`; of
the two between, the calmer is `accumulation` and the wilder `distribution`. So a name means the same after retraining,
whatever number K-means gave the cluster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptosentinel.features import SCALE_FEATURE

CLUSTERS = 4
COMPONENTS = 5
_TREND, _VOLATILITY = "roc_10", SCALE_FEATURE
# Enough rows to place four centres; K-means on more only costs time.
_MAX_ROWS = 50_000
# With 4, every second seed ended in another local optimum on real data, and named half of the rows otherwise.
_STARTS = 20


def fit_regimes(X: NDArray[np.float32], names: tuple[str, ...], seed: int) -> tuple[Any, list[str]]:
    """Fits scaler, PCA and K-means, and names the clusters.

    Args:
        X: model features, shape (n, features).
        names: its columns.
        seed: of K-means.

    Returns:
        The fitted pipeline, whose `predict` gives a cluster number a row, and each number's name.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    step = max(1, -(-len(X) // _MAX_ROWS))
    sample = X[::step]
    pipeline = make_pipeline(
        StandardScaler(),
        PCA(n_components=min(COMPONENTS, X.shape[1]), random_state=seed),
        KMeans(n_clusters=CLUSTERS, n_init=_STARTS, random_state=seed),
    )
    labels = pipeline.fit_predict(sample)
    return pipeline, name_clusters(sample, labels, names)


def name_clusters(X: NDArray[np.float32], labels: NDArray[np.int32], names: tuple[str, ...]) -> list[str]:
    """The name of each cluster number by the rule above; a cluster without rows counts as calm and trendless."""
    volatility = X[:, names.index(_VOLATILITY)].astype(np.float64)
    trend = X[:, names.index(_TREND)] / np.maximum(volatility, 1e-12)
    means = np.zeros((CLUSTERS, 2))
    for cluster in range(CLUSTERS):
        members = labels == cluster
        if members.any():
            means[cluster] = trend[members].mean(), volatility[members].mean()
    by_trend = np.argsort(means[:, 0], kind="stable")
    calm, wild = sorted(by_trend[1:3], key=lambda cluster: means[cluster, 1])
    result = [""] * CLUSTERS
    for cluster, name in zip(
        (by_trend[0], by_trend[3], calm, wild), ("downtrend", "uptrend", "accumulation", "distribution"), strict=True
    ):
        result[cluster] = name
    return result
