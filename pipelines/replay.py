"""Steps through the held-back end of a recorded market, bar by bar, so that forecasts are made and settled at once.

Each step calls what the pipelines' components call, in this process: a pipeline run a bar would spend its time starting
interpreters.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cryptosentinel.config import Settings
from cryptosentinel.features import featurize
from cryptosentinel.market import FileSource, ingest
from cryptosentinel.market.bars import utc
from cryptosentinel.predicting import Predictor, predict
from cryptosentinel.workspace import Workspace, open_workspace


def replay_start(workspace: Workspace) -> datetime | None:
    """The clock to begin with; None where the market is no recording.

    The last `market.file.replay_bars` are held back, but what an earlier start has stepped through stays.
    """
    if not isinstance(workspace.source, FileSource):
        return None
    start = workspace.source.replay_start(workspace.settings.market.file.replay_bars)
    newest = workspace.storage.features.last_timestamp(workspace.settings.market.asset)
    return start if newest is None else max(start, newest + workspace.spec.interval.delta)


def replay(
    settings: Settings, predictor: Predictor, start: datetime, end: datetime, progress: Callable[[int, int], None]
) -> int:
    """Ingests, featurizes and predicts at the close of every bar after `start` up to `end`; gaps are stepped over.

    Args:
        settings: name the recording.
        predictor: who is asked.
        start: the clock so far.
        end: the recording's own clock: the close of its last bar.
        progress: is told the number of steps done, and of all.

    Returns:
        How many forecasts were made.
    """
    recording = open_workspace(settings, now=end)
    opens = recording.source.bars(start, end)["timestamp"].unique()
    made = set()
    for done, timestamp in enumerate(opens, 1):
        now = utc(timestamp) + recording.spec.interval.delta
        workspace = open_workspace(settings, now=now)
        store, asset = workspace.storage.features, settings.market.asset
        ingested = ingest(workspace.source, store, history=timedelta(days=settings.training.window_days))
        featurize(store, workspace.spec, asset, touched_from=ingested.touched_from, heal=False)
        report = predict(workspace.storage, predictor, workspace.spec, settings, now=now)
        if report.forecast is not None:
            made.add(report.forecast["forecast_id"])
        progress(done, len(opens))
    return len(made)
