"""`cryptosentinel status`: everything at a glance, from what is stored, and an exit code for scripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from cryptosentinel.alerting import RULES, Facts, acknowledge, mute, watch
from cryptosentinel.bundle import Bundle
from cryptosentinel.config import Settings
from cryptosentinel.drift import keep_report
from cryptosentinel.errors import UserInputError
from cryptosentinel.market.bars import Interval
from cryptosentinel.monitoring import read_status, show
from cryptosentinel.monitoring.status import ABOUT
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.storage import ALERTS, RunLog, open_run_log
from cryptosentinel.storage.files import Files
from cryptosentinel.storage.frames import of_records
from cryptosentinel.storage.hopsworks.outbox import RowOutbox
from cryptosentinel.workspace import CURRENT, Workspace, open_workspace, remember
from pipelines.status import NOTHING_YET, newest_runs, status
from tests.builders import FIVE, add_bars
from tests.dashboard.builders import a_drift_report
from tests.hopsworks.builders import NEAR, SECRET
from tests.kubeflow.builders import schedule, wanted
from tests.kubeflow.double import Double
from tests.kubeflow.server import serving
from tests.monitoring.builders import nobody, watched

app = typer.Typer()
app.command()(status)

MINUTE, FOR_A_WHILE = timedelta(minutes=1), 45


@dataclass(frozen=True)
class Ran:
    code: int
    out: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """What it said, wherever lines were broken."""
        return " ".join(self.out.split())


def run(home: Path, *arguments: str) -> Ran:
    done = CliRunner().invoke(app, ["--home", str(home), *arguments], catch_exceptions=False)
    return Ran(done.exit_code, done.output)


def now() -> datetime:
    return datetime.now(UTC)


def running(settings: Settings, bars: int = FOR_A_WHILE) -> Workspace:
    """A market that goes on, whose every pipeline just ran well; forecasts were made of its newest bars."""
    end = Interval("5m").floor(now())
    for number in range(bars - 7, bars + 1):
        clock = end - (bars - number) * FIVE.delta
        workspace = open_workspace(settings, now=clock)
        add_bars(workspace.storage, workspace.source.bars(end - bars * FIVE.delta, clock), workspace.spec)
        predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), workspace.champion().version)
        predict(workspace.storage, predictor, workspace.spec, workspace.settings, now=clock)
    remember(workspace)
    for step in ("ingest", "featurize", "drift", "train", "evaluate", "register", "predict"):
        ran_well(workspace, step)
    return workspace


def log_of(workspace: Workspace) -> RunLog:
    return open_run_log(workspace.settings.storage, workspace.storage.uri)


def ran_well(workspace: Workspace, step: str, at: datetime | None = None, **found: Any) -> None:
    log, began = log_of(workspace), at or now()
    log.write(log.begin(step, now=began)[1].succeeds(began + timedelta(seconds=2), **found))


def failed(workspace: Workspace, step: str, times: int = 1) -> None:
    for _ in range(times):
        log = log_of(workspace)
        log.write(log.begin(step, now=now())[1].fails(now(), "SourceError", "CoinGecko is away."))


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which all is well, however wild the market is just now. For reading."""
    calm = watched(tmp_path_factory.mktemp("well"), alerts__volatility=100.0)
    return running(calm).settings.home


@pytest.fixture
def workspace(well: Path, tmp_path: Path) -> Workspace:
    """A copy of it."""
    shutil.copytree(well, tmp_path, dirs_exist_ok=True)
    return open_workspace(watched(tmp_path))


def problems(workspace: Workspace) -> list[str]:
    return [problem.about for problem in read_status(open_workspace(workspace.settings)).problems]


def text(workspace: Workspace) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(show(read_status(open_workspace(workspace.settings))))
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


class TestTheCommand:
    def test_before_the_first_run_it_says_what_to_run(self, tmp_path: Path) -> None:
        ran = run(tmp_path / "none")
        assert (ran.code, ran.words) == (1, NOTHING_YET)
        assert not (tmp_path / "none").exists()
        assert run(tmp_path / "none", "--json").json["ok"] is False
        assert run(tmp_path / "none", "--source", "simulated:9").words == NOTHING_YET

    def test_where_all_is_well_it_ends_with_0(self, workspace: Workspace, tmp_path: Path) -> None:
        ran = run(tmp_path)
        assert ran.code == 0, ran.out
        assert "SIMULATED market" in ran.out
        assert "FAIL" not in ran.out
        assert ran.words.endswith("All is well.")
        assert max(map(len, ran.out.splitlines())) <= 80

    def test_where_something_is_wrong_it_ends_with_1_and_says_what_to_do(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        failed(workspace, "ingest", times=3)
        ran = run(tmp_path)
        assert ran.code == 1
        assert "Runs: Step 'ingest' failed 3 times in a row: CoinGecko is away." in ran.words
        assert "the log of the pipeline's newest run has the traceback" in ran.words

    def test_for_machines_it_is_json(self, workspace: Workspace, tmp_path: Path) -> None:
        answer = run(tmp_path, "--json").json
        assert (answer["ok"], answer["problems"]) == (True, [])
        assert answer["market"] == "bitcoin/usd 5m (SIMULATED)"
        assert datetime.fromisoformat(answer["newest"]["made_at"]) == datetime.fromisoformat(answer["bar_closed_at"])
        assert [one["outcome"] for one in answer["pipelines"]] == ["ok", "ok", "ok"]
        assert answer["facts"]["drift"] is None
        assert answer["accuracy"]["counts"]["pending"] == 6
        assert sum(answer["accuracy"]["counts"].values()) == 8

    def test_a_home_that_is_damaged_is_not_called_empty(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / CURRENT).write_text("{")
        with pytest.raises(UserInputError, match="cannot be read"):
            run(tmp_path)

    def test_watching_looks_again(self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr("pipelines.status.time.sleep", pause)
        lines = run(tmp_path, "--watch", "--every", "3", "--json").out.splitlines()
        assert [json.loads(line)["ok"] for line in lines if line.startswith("{")] == [True, True]
        assert pauses == [3.0, 3.0]


class TestWhatIsWrong:
    """Each is shown at the part that it is about."""

    def test_nothing_where_all_is_well(self, workspace: Workspace) -> None:
        assert problems(workspace) == []

    def test_bars_that_stay_away(self, workspace: Workspace, tmp_path: Path) -> None:
        strict = watched(tmp_path, alerts__stale_bars_s=0.001, alerts__forecast_late_s=0.001)
        assert problems(open_workspace(strict)) == ["market", "forecasts"]

    def test_a_pipeline_that_does_not_run(self, workspace: Workspace) -> None:
        ran_well(workspace, "ingest", at=now() - 21 * MINUTE)
        assert problems(workspace) == ["runs"]

    def test_an_alert_whose_figure_only_its_step_knows(self, workspace: Workspace) -> None:
        alert = {
            "alert_id": "1",
            "kind": "drift",
            "severity": "warning",
            "asset": "bitcoin",
            "value": 0.5,
            "raised_at": pd.Timestamp(now()),
            "threshold": 0.3,
            "message": "Half of it drifted.",
            "resolved_at": pd.NaT,
        }
        other = alert | {"alert_id": "2", "kind": "volatility"}
        workspace.storage.log.write_alerts(of_records([alert, other], ALERTS))
        assert problems(workspace) == ["drift"]  # the market may be wild
        assert "warning since" in text(workspace)

    def test_who_looks_after_an_alert_and_what_is_muted_are_said_and_mend_nothing(self, workspace: Workspace) -> None:
        log = workspace.storage.log
        watch(workspace.storage, Facts(drift=0.5), workspace.settings, now=now())
        acknowledge(log, "bitcoin", "drift", "ann", now=now())
        mute(log, "bitcoin", "volatility", now() + 60 * MINUTE, "bob", now=now())
        assert ", acknowledged by ann: 50% of the features" in text(workspace)
        assert f"volatility is muted until {now() + 60 * MINUTE:%Y-%m-%d}" in text(workspace)
        assert problems(workspace) == ["drift"]

    def test_somebody_who_is_not_told(self, workspace: Workspace, tmp_path: Path) -> None:
        told = open_workspace(watched(tmp_path, alerts__webhook_url="http://nobody.test"))
        watch(told.storage, Facts(volatility=2.0), told.settings, now=now() - 60 * MINUTE)
        assert problems(told) == ["alerts"]
        assert "webhook was not told of alerts: nobody has tried" in text(told)
        assert "told: webhook; 1 event waits" in text(told)
        assert problems(workspace) == []  # where it is not to be told any more, it waits for nothing

    def test_features_that_wait_for_hopsworks(self, workspace: Workspace, tmp_path: Path) -> None:
        given = {name.replace(".", "__"): value for name, value in NEAR.items()}
        behind = watched(tmp_path, storage__backend="hopsworks", **given)
        assert "has every row of features" in text(open_workspace(behind))
        rows = workspace.storage.features.read_features("bitcoin", workspace.spec.hash)
        RowOutbox(Files(workspace.storage.uri, {}), "crypto_features-1").put(rows)
        assert problems(open_workspace(behind)) == []
        assert "1 write waits for it, since" in text(open_workspace(behind))
        assert SECRET not in text(open_workspace(behind))
        late = watched(tmp_path, storage__backend="hopsworks", alerts__feature_store_lag_s=1e-6, **given)
        assert problems(open_workspace(late)) == ["hopsworks"]


def test_every_rule_but_those_of_the_market_is_about_a_part() -> None:
    assert set(ABOUT) == {rule.kind for rule in RULES if not rule.of_market}


class TestDrift:
    """The newest check counts, whether a training made it or it was asked for by itself."""

    def checked(self, workspace: Workspace) -> tuple[float | None, datetime | None]:
        found = read_status(open_workspace(workspace.settings))
        return found.drift_score, found.drift_checked_at

    def test_a_report_counts_where_no_step_ran_after_it(self, workspace: Workspace) -> None:
        ran_at = read_status(open_workspace(workspace.settings)).drift_checked_at
        assert ran_at is not None
        after = (ran_at + MINUTE).replace(microsecond=0)
        keep_report(workspace.storage.log, a_drift_report(ran_at), now=ran_at - MINUTE)
        assert self.checked(workspace) == (None, ran_at)  # a step that had nothing to compare
        keep_report(workspace.storage.log, a_drift_report(ran_at, scores=(0.0, 0.2)), now=after)
        assert self.checked(workspace) == (0.2, after)
        assert "20% of the features drifted (limit 30%), checked " in " ".join(text(workspace).split())
        ran_well(workspace, "drift", after + MINUTE, figures={"drift_score": 0.1})
        assert self.checked(workspace)[0] == 0.1

    def test_a_step_that_failed_takes_no_score_away(self, workspace: Workspace) -> None:
        at = (now() - MINUTE).replace(microsecond=0)
        keep_report(workspace.storage.log, a_drift_report(at, scores=(0.0, 0.2)), now=at)
        ran_well(workspace, "drift", figures={"drift_score": 0.2})
        failed(workspace, "drift")
        assert self.checked(workspace) == (0.2, at)


class TestPipelines:
    def outcomes(self, workspace: Workspace) -> dict[str, tuple[str, str]]:
        found = read_status(open_workspace(workspace.settings)).pipelines
        return {one.pipeline: (one.outcome, one.step) for one in found}

    def test_one_that_never_ran(self, tmp_path: Path) -> None:
        workspace = open_workspace(watched(tmp_path))
        assert set(self.outcomes(workspace).values()) == {("never", "")}
        assert "never" in text(workspace)

    def test_one_fails_where_one_of_its_steps_did(self, workspace: Workspace) -> None:
        ran_well(workspace, "ingest")
        failed(workspace, "featurize")
        assert self.outcomes(workspace)["feature"] == ("failed", "featurize")
        assert "featurize: CoinGecko is away." in " ".join(text(workspace).split())

    def test_a_failure_of_a_run_before_is_over(self, workspace: Workspace) -> None:
        failed(workspace, "featurize")
        ran_well(workspace, "ingest", at=now() + MINUTE)
        assert self.outcomes(workspace)["feature"] == ("running", "ingest")

    def test_one_runs_while_its_steps_do(self, workspace: Workspace) -> None:
        log_of(workspace).begin("predict", now=now())
        assert self.outcomes(workspace)["inference"] == ("running", "predict")

    @pytest.mark.parametrize(("trains", "outcome"), [(1.0, "running"), (0.0, "ok")])
    def test_a_training_with_too_few_rows_ends_after_its_first_step(
        self, workspace: Workspace, trains: float, outcome: str
    ) -> None:
        ran_well(workspace, "drift", at=now() + MINUTE, figures={"trains": trains})
        assert self.outcomes(workspace)["training"] == (outcome, "drift")


class TestOnKubeflow:
    @pytest.fixture
    def double(self) -> Iterator[Double]:
        with serving(Double()) as double:
            schedule(double, wanted(pipelines=("feature", "inference")))
            double.advance(600)
            yield double

    def test_the_newest_run_of_each_pipeline_is_shown(
        self, workspace: Workspace, tmp_path: Path, double: Double
    ) -> None:
        ran = run(tmp_path, "--set", f"kubeflow.url={double.url}")
        assert ran.code == 0, ran.out
        assert "on Kubeflow" in ran.out
        answer = run(tmp_path, "--set", f"kubeflow.url={double.url}", "--json").json["kubeflow"]
        assert [one["pipeline"] for one in answer] == ["feature", "training", "inference", "upkeep"]
        assert answer[1]["state"] is None
        assert answer[0]["url"].startswith(f"{double.url}/#/runs/details/")

    def test_one_that_failed_is_wrong(self, workspace: Workspace, tmp_path: Path, double: Double) -> None:
        for each in double.runs.values():
            each.state = "FAILED"
        ran = run(tmp_path, "--set", f"kubeflow.url={double.url}")
        assert ran.code == 1
        assert "The newest feature run on Kubeflow ended as FAILED. See http://" in ran.words

    def test_a_kubeflow_that_does_not_answer_is_wrong_and_the_rest_is_shown(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipelines.status._ANSWERS_WITHIN_S", 0.1)
        ran = run(tmp_path, "--set", f"kubeflow.url={nobody()}")
        assert ran.code == 1
        assert "cannot be reached" in ran.words
        assert "newest bar closed" in ran.words

    def test_where_nothing_of_ours_is_there_nothing_ran(self) -> None:
        with serving(Double()) as double:
            settings = watched(Path("unused"), kubeflow__url=double.url).kubeflow
            assert {one.state for one in newest_runs(settings)} == {""}
