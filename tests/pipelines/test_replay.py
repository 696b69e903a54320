"""The held-back end of a recorded market, stepped through; with a bundle in this process as the predictor."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from cryptosentinel.bundle import Bundle
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.features import featurize
from cryptosentinel.market import ingest
from cryptosentinel.predicting import Answer, BundlePredictor, Rows
from cryptosentinel.workspace import Workspace, open_workspace
from pipelines.replay import replay, replay_start
from tests.pipelines.builders import END, SMALL, make_market

MINUTES = timedelta(minutes=1)


class Watching:
    """A predictor that notes which price it was asked about."""

    def __init__(self, workspace: Workspace) -> None:
        self.bundle = BundlePredictor(Bundle.load(workspace.champion_bundle()), 0)
        self.asked: list[float] = []

    def infer(self, rows: Rows) -> Answer:
        self.asked.append(float(rows.close[-1]))
        return self.bundle.infer(rows)


def record_market(folder: Path, bars: pd.DataFrame, held_back: int) -> Settings:
    bars.to_parquet(folder / "bars.parquet")
    given = {"home": str(folder / "home"), "market.source": f"file:{folder / 'bars.parquet'}"} | SMALL
    return load_settings(environ={}, overrides=given | {"market.file.replay_bars": held_back})


def bring_to(settings: Settings, now: datetime) -> None:
    """What the feature pipeline does."""
    workspace = open_workspace(settings, now=now)
    ingest(workspace.source, workspace.storage.features, history=timedelta(days=2))
    featurize(workspace.storage.features, workspace.spec, "bitcoin")


def run(settings: Settings) -> tuple[int, Watching, pd.DataFrame]:
    workspace = open_workspace(settings)
    start = replay_start(workspace)
    assert start is not None
    bring_to(settings, start)
    predictor = Watching(workspace)
    made = replay(settings, predictor, start, workspace.source.now(), lambda done, of: None)
    return made, predictor, workspace.storage.log.read_forecasts("bitcoin")


def test_the_clock_begins_where_the_held_back_bars_do(tmp_path: Path) -> None:
    settings = record_market(tmp_path, make_market(100), held_back=8)
    assert replay_start(open_workspace(settings)) == END - 40 * MINUTES


def test_a_market_that_goes_on_has_nothing_to_step_through(tmp_path: Path) -> None:
    settings = load_settings(environ={}, overrides={"home": str(tmp_path), "market.source": "simulated"})
    assert replay_start(open_workspace(settings)) is None


def test_each_bar_is_forecast_from_at_its_own_close(tmp_path: Path) -> None:
    bars = make_market(100)
    made, predictor, log = run(record_market(tmp_path, bars, held_back=8))
    assert made == 8
    assert list(log["made_at"]) == list(pd.date_range(end=END, periods=8, freq="5min"))
    assert predictor.asked == bars["close"].tail(8).tolist()
    assert log["outcome"].notna().sum() == 8 - 6


def test_a_gap_is_stepped_over(tmp_path: Path) -> None:
    bars = make_market(100).drop(index=range(96, 98)).reset_index(drop=True)  # 23:40 and 23:45 are not there
    settings = record_market(tmp_path, bars, held_back=4)
    bring_to(settings, END - 30 * MINUTES)
    predictor, told = Watching(open_workspace(settings)), []
    made = replay(settings, predictor, END - 30 * MINUTES, END, lambda done, of: told.append((done, of)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # Behind the gap the volatility is not known yet.
    assert (made, predictor.asked) == (2, bars["close"].iloc[94:96].tolist())


def test_a_second_replay_has_nothing_left_to_do(tmp_path: Path) -> None:
    settings = record_market(tmp_path, make_market(100), held_back=2)
    _, _, before = run(settings)
    made, predictor, after = run(settings)
    assert (made, predictor.asked) == (0, [])
    pd.testing.assert_frame_equal(before, after)


def test_what_was_stepped_through_stays_when_the_recording_grows(tmp_path: Path) -> None:
    bars = make_market(100)
    run(record_market(tmp_path, bars.iloc[:-3], held_back=4))
    made, _, log = run(record_market(tmp_path, bars, held_back=50))
    assert made == 3
    assert len(log) == 4 + 3


def test_bars_too_young_to_know_their_volatility_are_not_counted_as_forecasts(tmp_path: Path) -> None:
    made, predictor, log = run(record_market(tmp_path, make_market(20), held_back=3))
    assert (made, predictor.asked, len(log)) == (0, [], 0)


def test_nothing_held_back_leaves_nothing_to_replay(tmp_path: Path) -> None:
    made, _, log = run(record_market(tmp_path, make_market(60), held_back=0))
    assert (made, len(log)) == (0, 0)
