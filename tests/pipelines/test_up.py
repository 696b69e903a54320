"""The main job: `cryptosentinel up` on a recorded market, once, and then again to stay."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
import pytest

from cryptosentinel.bundle import read_manifest
from cryptosentinel.config import load_settings
from cryptosentinel.drift import newest_report
from cryptosentinel.predicting.forecasts import forecast_id
from cryptosentinel.runs.local import LocalRunner
from cryptosentinel.workspace import Workspace, open_workspace
from pipelines.up import is_fresh, on_free_ports
from tests.pipelines.builders import (
    END,
    FIVE,
    SMALL,
    Finished,
    Started,
    command,
    environment,
    processes_of,
    run_command,
    started,
    wait_until,
    write_market,
)

BARS, HELD_BACK, HORIZON = 700, 5, 3
SETTINGS = SMALL | {"forecast.horizon_bars": HORIZON, "market.file.replay_bars": HELD_BACK}


@dataclass(frozen=True)
class Home:
    """A home folder after the first `up --once`."""

    path: Path
    source: str
    first: Finished
    env: dict[str, str]

    @property
    def workspace(self) -> Workspace:
        given = {"home": str(self.path), "market.source": self.source} | SETTINGS
        return open_workspace(load_settings(environ={}, overrides=given))

    def log(self) -> pd.DataFrame:
        return self.workspace.storage.log.read_forecasts("bitcoin")

    def runs(self, pipeline: str) -> list[Path]:
        return sorted((self.workspace.root / "runs").glob(f"{pipeline}-*"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("up")
    source = f"file:{write_market(folder / 'bars.parquet', BARS)}"
    # What the environment says of candidates must not reach the steps: the command line says something else.
    env = environment(folder / "scratch", CRYPTOSENTINEL_TRAINING__CANDIDATES="random_walk,xgboost")
    up = command("up", "--once", "--source", source, home=folder / "home", settings=SETTINGS)
    return Home(folder / "home", source, run_command(up, env), env)


def test_once_succeeds_and_shows_six_stages(home: Home) -> None:
    assert home.first.code == 0, home.first.err
    stages = [line[:5] for line in home.first.err.splitlines() if line.startswith("[")]
    assert stages == [f"[{number}/6]" for number in range(1, 7)]
    assert "695 bars of 5m with features, to 2025-01-05 23:30 UTC" in home.first.err
    assert "5 bars replayed, 6 forecasts logged" in home.first.err
    assert "all is stopped again" in home.first.err


def test_once_prints_settled_forecasts_with_their_outcomes_in_eighty_columns(home: Home) -> None:
    lines = home.first.out.splitlines()
    settled = [line for line in lines if line.rstrip().endswith(("correct", "incorrect", "flat", "missed"))]
    assert len(settled) == HELD_BACK + 1 - HORIZON
    assert any(line.startswith("6 forecasts, 3 settled:") for line in lines)
    assert "bitcoin at 2025-01-06 00:15 UTC, 15 minutes after a close" in home.first.out
    assert max(map(len, lines)) <= 80


def test_a_forecast_is_made_at_the_close_of_every_held_back_bar_and_of_the_one_before(home: Home) -> None:
    made = home.log()["made_at"]
    assert list(made) == list(pd.date_range(end=END, periods=HELD_BACK + 1, freq="5min"))
    assert home.log()["forecast_id"].iloc[-1] == forecast_id("bitcoin", home.workspace.spec, HORIZON, END)


def test_outcomes_are_what_the_recording_says(home: Home) -> None:
    closes = pd.read_parquet(home.source.removeprefix("file:")).set_index("timestamp")["close"]
    settled = home.log().dropna(subset=["outcome"])
    for row in settled.itertuples():
        assert row.actual_price == closes[row.target_at - FIVE.delta]
        assert row.price == closes[row.made_at - FIVE.delta]


def test_the_settings_of_the_run_reach_every_step_and_the_environment_does_not(home: Home) -> None:
    manifest = read_manifest(home.workspace.champion_bundle())
    assert manifest.settings["candidates"] == ["random_walk", "ridge"]
    assert manifest.settings["min_rows"] == 50
    assert {name for models in home.log()["by_model"] for name in json.loads(models)} - {"blend"} == {
        "random_walk",
        "ridge",
    }
    parts = {path.parent.parent.parent.name for path in home.runs("training")[0].rglob("part.json")}
    assert len(parts) == 6  # two of volatility, direction, ridge, random walk, regime


def test_training_sees_only_bars_before_the_held_back_ones(home: Home) -> None:
    data = read_manifest(home.workspace.champion_bundle()).data
    assert data is not None
    assert data.end + (HELD_BACK + HORIZON + 1) * FIVE.delta <= END


def test_artifacts_of_each_run_are_kept_with_its_log(home: Home) -> None:
    names = {
        path.name
        for run in ("feature", "training", "inference")
        for path in home.runs(run)[0].rglob("*")
        if path.is_file()
    }
    assert {"log.txt", "bars", "report", "features", "evaluation", "card", "forecast"} <= names


def test_nothing_is_left_behind(home: Home) -> None:
    assert list(Path(home.env["TMPDIR"]).iterdir()) == []
    assert [path for run in home.runs("*") for path in run.iterdir() if path.name in {"tmp", "workspace"}] == []
    assert processes_of(home.path) == []


def test_forecasts_of_the_home_can_be_read_by_a_machine(home: Home) -> None:
    shown = run_command(command("forecasts", "--json", home=home.path), home.env)
    answer = json.loads(shown.out)
    assert (shown.code, answer["record"]["made"], answer["record"]["settled"]) == (0, 6, 3)


@pytest.mark.parametrize(
    ("other", "fresh"),
    [
        ({}, True),
        ({"alerts.drawdown": 0.5}, True),  # nothing that training looks at
        ({"training.preset": "classic"}, False),
        ({"training.candidates": "random_walk,ridge,xgboost"}, False),
        ({"forecast.horizon_bars": HORIZON + 1}, False),
    ],
    ids=str,
)
def test_a_champion_is_fresh_while_it_is_what_training_would_make_now(
    home: Home, other: dict[str, object], fresh: bool
) -> None:
    settings = load_settings(
        environ={}, overrides={"home": str(home.path), "market.source": home.source} | SETTINGS | other
    )
    assert is_fresh(settings, open_workspace(settings)) is fresh


def test_a_champion_whose_data_is_old_is_not_fresh(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its data ends a horizon before the held-back bars; the newest bar is the last of those.
    age = (HELD_BACK + HORIZON) * FIVE.delta
    for allowed, fresh in ((age - HORIZON * FIVE.delta, False), (age - (HORIZON - 1) * FIVE.delta, True)):
        monkeypatch.setattr("pipelines.up.STALE_BUNDLE", allowed)
        assert is_fresh(home.workspace.settings, home.workspace) is fresh


@pytest.fixture(scope="module")
def staying(home: Home) -> Iterator[Started]:
    """A second start on the same home, which stays."""
    before = home.log()
    up = command("up", "--source", home.source, home=home.path, settings=SETTINGS)
    with started(up, home.env) as running:
        running.wait_for("The recording has ended; it stays served.")
        pd.testing.assert_frame_equal(home.log(), before)
        yield running


def test_a_second_start_neither_trains_nor_replays_nor_forecasts_twice(home: Home, staying: Started) -> None:
    assert "serves version 1" in staying.text
    assert "[4/7] Training pipeline: version 1 is fresh" in staying.text
    assert "0 bars replayed, 6 forecasts logged" in staying.text
    assert len(home.runs("training")) == 1


def test_all_urls_answer(staying: Started) -> None:
    urls = dict(
        line.split(maxsplit=1) for line in staying.text.splitlines() if line.startswith(("predictor:", "dashb"))
    )
    assert httpx.get(f"{urls['predictor:']}/v2/models/cryptosentinel/ready", trust_env=False).is_success
    assert httpx.get(urls["dashboard:"], trust_env=False).is_success


def test_the_served_bundle_can_be_explained(home: Home, staying: Started) -> None:
    bundle = read_manifest(home.workspace.champion_bundle())
    body = {"instances": [{"close": 600.0, "features": dict.fromkeys(bundle.features, 0.001)}]}
    url = f"{staying.text.split('predictor: ')[1].split()[0]}/v1/models/cryptosentinel:explain"
    answers = []

    def explained() -> bool:
        answers.append(httpx.post(url, json=body, trust_env=False, timeout=30))
        return answers[-1].is_success

    wait_until(explained)
    assert answers[-1].json()["bundle_version"] == 1
    assert {answer.status_code for answer in answers} <= {200, 503}


def test_in_a_recording_that_has_ended_what_is_asked_for_runs_all_the_same(home: Home, staying: Started) -> None:
    runner, before = LocalRunner(home.workspace.root), home.log()
    asked = [runner.ask(kind, "ana") for kind in ("inference", "drift")]
    staying.wait_for(" inference (")
    staying.wait_for(" drift (")
    answers = [runner.answer(each) for each in asked]
    assert [answer.state for answer in answers if answer] == ["succeeded", "succeeded"]
    pd.testing.assert_frame_equal(home.log(), before)  # of one bar one forecast
    assert newest_report(home.workspace.storage.log, "bitcoin") is not None


def test_a_dead_explainer_is_started_again(home: Home, staying: Started) -> None:
    (supervisor,) = processes_of(home.path, of="serving.explainer ")
    supervisor.kill()
    staying.wait_for("the explainer ended (exit code -9): starting it again")
    test_the_served_bundle_can_be_explained(home, staying)


def test_another_start_on_the_same_home_is_refused_and_the_first_goes_on(home: Home, staying: Started) -> None:
    refused = run_command(command("up", "--source", home.source, home=home.path), home.env)
    assert refused.code == 2
    assert refused.err.startswith(
        f"Error: Another cryptosentinel (process {staying.process.pid}) runs in {home.path}.\n"
    )
    assert "--home" in refused.err
    test_all_urls_answer(staying)


def test_a_dead_predictor_is_started_again_where_it_was(home: Home, staying: Started) -> None:
    (predictor,) = processes_of(home.path, of="serving.server")
    predictor.kill()
    staying.wait_for("the predictor ended (exit code -9): starting it again")
    url = staying.text.split("predictor: ")[1].split()[0]

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/v2/models/cryptosentinel/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_until(answers)
    assert answers()


def test_ctrl_c_stops_everything(home: Home, staying: Started) -> None:
    assert staying.end(signal.SIGINT) == 130
    assert "Stopped. What was stored stays" in staying.text
    assert "Traceback" not in staying.text
    assert processes_of(home.path) == []


def test_a_damaged_champion_is_named_and_nothing_else_is_touched(home: Home) -> None:
    champion = Path(home.workspace.champion().uri)
    (champion / "inference.onnx").write_bytes(b"damaged")
    for copies in ("bundles", "serving/bundles"):
        shutil.rmtree(home.workspace.root / copies)
    before = home.log()
    done = run_command(command("up", "--once", "--source", home.source, home=home.path, settings=SETTINGS), home.env)
    assert done.code == 1
    assert "Version 1 is damaged in the registry: " in done.err
    assert "inference.onnx differs from the digest in its manifest" in done.err
    assert "Restore its folder in the store (bundles/v1-...) from a backup." in done.err
    assert "Traceback" not in done.err
    assert processes_of(home.path) == []
    pd.testing.assert_frame_equal(home.log(), before)


def test_a_single_run_takes_the_market_used_last(home: Home) -> None:
    ran = run_command(command("run", "feature", home=home.path), home.env)
    assert ran.code == 0, ran.err
    assert f"{home.workspace.source.name}: bars added 0" in ran.err


def test_one_cycle_takes_free_ports_unless_they_are_named() -> None:
    usual = load_settings(environ={})
    named = load_settings(environ={}, overrides={"serving.grpc_port": 9000})
    assert (on_free_ports(usual, True).serving.http_port, on_free_ports(usual, True).serving.grpc_port) == (0, 0)
    assert on_free_ports(named, True).serving.grpc_port == 9000
    assert on_free_ports(usual, False) == usual
