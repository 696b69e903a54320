"""What the page Drift shows: the stored reports, and what the wagers against the champion's forecasts have come to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from cryptosentinel.config import ConceptSettings
from cryptosentinel.drift import Concept, DriftReport, FeatureDrift, champion_concept, in_words, newest_report
from cryptosentinel.workspace import Workspace
from dashboard.charts.thinning import thin

POINTS = 2000
_HISTORY = ("data_end", "checked_at", "bundle_version", "score", "threshold", "drifted")
DRIFTED, NOT_DRIFTED = "●", "○"


@dataclass(frozen=True)
class Drift:
    """What is known of drift.

    Attributes:
        report: the newest; None where there is none.
        checked_at: when it was made.
        champion: the version that serves, 0 for the random walk; None before there is any.
        detections: the versions that were called useless (`storage.DETECTIONS`), the newest first.
    """

    report: DriftReport | None
    checked_at: datetime | None
    champion: int | None
    detections: pd.DataFrame

    @property
    def outdated(self) -> bool:
        """Whether the report is of another champion than the one that serves."""
        return self.report is not None and self.report.version != self.champion


def read_drift(workspace: Workspace) -> Drift:
    """The newest of what is stored.

    Raises:
        StorageError: a store cannot be read.
    """
    log, asset = workspace.storage.log, workspace.settings.market.asset
    report = newest_report(log, asset)
    kept = None if report is None else log.read_drift(asset, report.data_end, columns=["data_end", "checked_at"])
    champion = workspace.storage.registry.champion()
    return Drift(
        report=report,
        checked_at=None if kept is None else kept["checked_at"].max().to_pydatetime(),
        champion=None if champion is None else champion.version,
        detections=log.read_detections(asset).iloc[::-1].reset_index(drop=True),
    )


def read_history(workspace: Workspace, days: float) -> pd.DataFrame:
    """The verdicts of the last `days` before the newest one, by `data_end`, thinned; without the reports themselves."""
    log, asset = workspace.storage.log, workspace.settings.market.asset
    history = log.read_drift(asset, columns=_HISTORY)
    if history.empty:
        return history
    history = history[history["data_end"] >= history["data_end"].iloc[-1] - timedelta(days=days)]
    return history.iloc[thin(history["data_end"], history["score"], POINTS)].reset_index(drop=True)


def read_concept(workspace: Workspace) -> Concept | None:
    """The evidence against the champion's forecasts as of the newest one; None while none of them is settled."""
    log, asset = workspace.storage.log, workspace.settings.market.asset
    made_at = log.read_forecasts(asset, columns=["made_at"])["made_at"]
    if made_at.empty:
        return None
    now = made_at.iloc[-1].to_pydatetime()
    return champion_concept(workspace.storage, workspace.spec.interval.delta, workspace.settings, now=now)


def feature_table(report: DriftReport) -> pd.DataFrame:
    """A row a feature, the drifted ones first, then by importance.

    Columns: `Feature`, `Drifted` (in which windows, in words), `Importance` in percent, and for each window W
    `Distance, W`, `p, W` (corrected for many features) and `Shift, W`; empty where a window leaves a feature out.
    """
    by_window = [
        (in_words(window.hours), {feature.feature: feature for feature in window.features}) for window in report.windows
    ]
    # The long window has them all, with their shares of all importances.
    rows = [_row(name, by_window, weight=found.weight) for name, found in by_window[-1][1].items()]
    table = pd.DataFrame(rows)
    first = table["Drifted"].str.startswith(DRIFTED)
    return table.assign(first=first).sort_values(["first", "Importance"], ascending=False, kind="stable").drop(
        columns="first"
    ).reset_index(drop=True)  # fmt: skip


def _row(name: str, by_window: list[tuple[str, dict[str, FeatureDrift]]], *, weight: float) -> dict[str, object]:
    where = [words for words, features in by_window if name in features and features[name].drifted]
    row: dict[str, object] = {
        "Feature": name,
        "Drifted": f"{DRIFTED} {' and '.join(where)}" if where else f"{NOT_DRIFTED} no",
        "Importance": 100 * weight,
    }
    for words, features in by_window:
        found = features.get(name)
        row[f"Distance, {words}"] = found and found.statistic
        row[f"p, {words}"] = found and found.corrected
        row[f"Shift, {words}"] = found and found.effect
    return row


def champions(history: pd.DataFrame) -> pd.DataFrame:
    """Where another champion's baseline begins to count: `data_end`, `bundle_version`; the first report not."""
    changed = history["bundle_version"].ne(history["bundle_version"].shift()) & (history.index > 0)
    return history.loc[changed, ["data_end", "bundle_version"]].reset_index(drop=True)


def what_follows(settings: ConceptSettings) -> str:
    """What happens by itself once a version is called useless, in words."""
    words = {
        "retrain": "a training is started at once",
        "widen": f"its intervals become {settings.widen_by:g} times as wide",
        "random_walk": "the random walk takes its place until a version passes the gate",
    }
    follows = [words[name] for name in settings.follows]
    return (
        "; ".join(follows)
        or "nothing but an alert; trainings go on as scheduled, and the gate promotes what does better"
    )
