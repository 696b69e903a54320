"""Asking the predictor why it forecasts what it does: `:explain` over V1 JSON. Knows no Streamlit.

What comes of it is a value, never an exception: that a predictor is away is a state of the page, not its failure.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import httpx
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import BACKGROUND_FILE
from cryptosentinel.config import ServingSettings
from cryptosentinel.explaining import Explanation
from cryptosentinel.workspace import Workspace

# Rows at once, as the predictor takes them, and of the background rows, how many importances are measured on here.
MAX_ROWS, BACKGROUND_ROWS = 16, 32
_CONNECT_S = 2.0
# SHAP takes milliseconds: a predictor that is silent for so long hangs, and a page waits for it. With LIME it is waited
# for beyond the explainer's own time: it says itself that it was too slow.
_SHAP_S, _GRACE_S = 4.0, 2.0

Instance = Mapping[str, object]
Why = Literal["away", "loading", "off", "other_bundle", "refused"]
logger = logging.getLogger("cryptosentinel.dashboard")


class Explained(BaseModel):
    """A predictor's answer.

    Attributes:
        explanations: one a row that was asked for.
        sentence: each in words.
        bundle_version: of the bundle that was explained; -1 where it was never registered.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    explanations: list[Explanation]
    sentence: list[str]
    bundle_version: int


@dataclass(frozen=True)
class Unexplained:
    """Why there is no explanation.

    Attributes:
        why: `away`: nobody answers; `loading`: ask again in some seconds; `off`: there will be none; `other_bundle`:
            the predictor serves a bundle of other features than the store has; `refused`: not this row.
        sentence: the same for people.
    """

    why: Why
    sentence: str


_AWAY = Unexplained("away", "The predictor is away, so that nobody can say why it forecasts what it does.")
_NONE = Unexplained("away", "No predictor is named to this dashboard (`serving.url`), so that none can be asked.")
_STRANGER = Unexplained("away", "What answers in the predictor's place is none of this release.")
_WHY: dict[int, Why] = {503: "loading", 501: "off", 409: "other_bundle", 400: "refused"}
_GONE = Unexplained("refused", "The features that this forecast was made from are not in the store any more.")
_COLD = Unexplained(
    "refused",
    "Too few bars since the last gap for all features: the random walk answered, and nothing was learnt that could be "
    "explained.",
)


def explain(
    serving: ServingSettings, instances: Sequence[Instance], spec_hash: str, *, lime: bool = False
) -> Explained | Unexplained:
    """Asks once, and waits some seconds.

    Args:
        serving: where the predictor is.
        instances: `{"close": ..., "features": {...}}` each; at most `MAX_ROWS`, with `lime` one.
        spec_hash: the spec of the features.
        lime: whether to fit linear models around the row too.
    """
    if serving.url is None:
        return _NONE
    longest = serving.explain_timeout_s + _GRACE_S
    timeout = httpx.Timeout(longest if lime else min(longest, _SHAP_S), connect=_CONNECT_S)
    question = {"instances": list(instances), "spec_hash": spec_hash, "lime": lime}
    try:
        with httpx.Client(trust_env=False, timeout=timeout) as client:  # a proxy would not find a cluster's Service
            answer = client.post(f"{serving.url.rstrip('/')}/v1/models/{serving.model_name}:explain", json=question)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        logger.warning("predictor_away why=%r", error)
        return _AWAY
    return _understood(answer, len(instances))


def _understood(answer: httpx.Response, rows: int) -> Explained | Unexplained:
    said = ""
    try:
        if answer.is_success:
            explained = Explained.model_validate_json(answer.content)
            if len(explained.explanations) == len(explained.sentence) == rows:
                return explained
        else:
            said = str(answer.json()["error"])
            if why := _WHY.get(answer.status_code):
                return Unexplained(why, said)
    except (ValueError, KeyError, TypeError) as error:  # pydantic's errors are ValueErrors
        said = repr(error)
    logger.warning("no_explanation status=%d said=%s", answer.status_code, said or "explanations of other rows")
    return _STRANGER


def explain_forecast(
    workspace: Workspace, made_at: datetime, method: Literal["shap", "lime"]
) -> Explained | Unexplained:
    """Why the predictor that serves now answers what it does for the row that a forecast was made from.

    Args:
        workspace: the market.
        made_at: of the forecast: when the row's bar closed.
        method: with `lime`, linear models are fitted around the row too.

    Raises:
        StorageError: the store cannot be read.
    """
    spec, asset, store = workspace.spec, workspace.settings.market.asset, workspace.storage.features
    opened = made_at - spec.interval.delta
    features = store.read_features(asset, spec.hash, opened, made_at, columns=spec.model_names)
    bars = store.read_bars(asset, opened, made_at)
    if features.empty or bars.empty:
        return _GONE
    (instance,) = _instances(features[spec.model_names], [float(bars["close"].iloc[0])])
    if not np.isfinite(features[spec.model_names].to_numpy(np.float64)).all():
        return _COLD
    return explain(workspace.settings.serving, [instance], spec.hash, lime=method == "lime")


class NotExplainedError(Exception):
    """There is no explanation now; raised where what is returned is kept."""


def explain_nearby(workspace: Workspace, made_at: datetime, version: int) -> Explained:
    """`explain_forecast` with linear models around the row (LIME), which never change for a version.

    Raises:
        NotExplainedError: the predictor does not explain it, or serves another version.
        StorageError: the store cannot be read.
    """
    outcome = explain_forecast(workspace, made_at, "lime")
    if isinstance(outcome, Unexplained):
        raise NotExplainedError(outcome.sentence)
    if outcome.bundle_version != version:
        raise NotExplainedError(f"The predictor serves version {outcome.bundle_version} by now.")
    return outcome


@dataclass(frozen=True)
class Importances:
    """How much each feature matters to the bundle that is served.

    Attributes:
        rows: how many of its background rows that was measured on.
        targets: by target (see `explaining.Explanation`) and feature, the mean size of its contribution, the largest
            first.
    """

    rows: int
    targets: dict[str, dict[str, float]]


def importances(workspace: Workspace, version: int) -> Importances:
    """What `Explainer.importances` is for a bundle, on fewer of its rows: the predictor is asked about them.

    Args:
        workspace: the market.
        version: that is served.

    Raises:
        NotExplainedError: the bundle has no background rows, or the predictor does not explain them, or serves another.
        StorageError: the bundle cannot be had.
    """
    champion = workspace.storage.registry.champion()
    if champion is None or champion.version != version:
        raise NotExplainedError("The predictor serves another bundle than the registry's champion.")
    path = workspace.bundle(version) / BACKGROUND_FILE
    if not path.is_file():
        raise NotExplainedError(f"Version {version} learnt nothing: no feature matters to it.")
    rows = pd.read_parquet(path).drop(columns="timestamp", errors="ignore")
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, BACKGROUND_ROWS).astype(int))]
    instances = _instances(rows, [1.0] * len(rows))
    explanations: list[Explanation] = []
    for start in range(0, len(instances), MAX_ROWS):
        asked = instances[start : start + MAX_ROWS]
        answer = explain(workspace.settings.serving, asked, workspace.spec.hash)
        if isinstance(answer, Unexplained):
            raise NotExplainedError(answer.sentence)
        if answer.bundle_version != version:
            raise NotExplainedError(f"The predictor serves version {answer.bundle_version}, not version {version}.")
        explanations += answer.explanations
    sizes = {
        target: pd.DataFrame([each.targets[target].contributions for each in explanations]).abs().mean()
        for target in explanations[0].targets
    }
    return Importances(len(rows), {t: means.sort_values(ascending=False).to_dict() for t, means in sizes.items()})


def _instances(features: pd.DataFrame, closes: Sequence[float]) -> list[Instance]:
    return [
        {"close": close, "features": row} for close, row in zip(closes, features.to_dict(orient="records"), strict=True)
    ]
