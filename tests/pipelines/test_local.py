"""One pipeline run through Kubeflow's local runner."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import PipelineError, StoreUnavailableError
from pipelines.local import end_runs, run_pipeline
from tests.market.servers import json_answer, serving
from tests.pipelines.builders import SMALL, command, environment, processes_of, run_command, wait_until

ROOT = Path(__file__).resolve().parents[2]
KEPT_RUNS = 4


def settings_in(home: Path, **overrides: object) -> Settings:
    given = {"home": str(home), "market.source": "simulated"} | SMALL | overrides
    return load_settings(environ={}, overrides=given)


def test_a_step_that_is_killed_is_named(tmp_path: Path) -> None:
    def kill(step: str) -> None:
        if step == "ingest":
            wait_until(lambda: processes_of(tmp_path, of="kfp.dsl.executor_main"))
            for process in processes_of(tmp_path, of="kfp.dsl.executor_main"):
                process.kill()

    with pytest.raises(PipelineError, match="'ingest' failed: it ended without saying why; it may have been") as caught:
        run_pipeline("feature", settings_in(tmp_path), tmp_path, progress=kill)
    assert (caught.value.step, caught.value.cause, caught.value.exit_code) == ("ingest", "", 1)
    assert "finished with status FAILURE" in Path(re.findall(r"See (.*)\.$", caught.value.remedy)[0]).read_text()


def test_a_run_that_is_ended_takes_its_steps_along(tmp_path: Path) -> None:
    def end(step: str) -> None:
        wait_until(lambda: processes_of(tmp_path, of="kfp.dsl.executor_main"))
        end_runs()

    with pytest.raises(PipelineError):
        run_pipeline("feature", settings_in(tmp_path), tmp_path, progress=end)
    wait_until(lambda: not processes_of(tmp_path))
    assert processes_of(tmp_path) == []


@dataclass(frozen=True)
class Failed:
    """A run whose first step failed, after many others of other times."""

    error: PipelineError
    source: Path
    runs: list[str]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Failed:
    folder = tmp_path_factory.mktemp("failed")
    for number in range(KEPT_RUNS + 2):
        (folder / "runs" / f"feature-20200101T0000{number:02d}").mkdir(parents=True)
    (folder / "runs" / "training-20200101T000000").mkdir()
    source = folder / "none.parquet"
    settings = settings_in(folder, **{"market.source": f"file:{source}", "retention.runs": KEPT_RUNS})
    with pytest.raises(PipelineError) as caught:
        run_pipeline("feature", settings, folder)
    return Failed(caught.value, source, sorted(path.name for path in (folder / "runs").iterdir()))


def test_a_step_that_fails_tells_its_own_cause_remedy_and_exit_code(failed: Failed) -> None:
    assert (failed.error.step, failed.error.cause, failed.error.exit_code) == ("ingest", "MarketDataError", 2)
    assert failed.error.message == f"Step 'ingest' failed: There is no file {failed.source}."
    assert "log.txt" in failed.error.remedy


def test_only_the_newest_runs_of_a_pipeline_are_kept(failed: Failed) -> None:
    assert len(failed.runs) == KEPT_RUNS + 1
    assert failed.runs[0] == "feature-20200101T000003"
    assert "training-20200101T000000" in failed.runs


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreUnavailableError, match=r"The feature pipeline cannot run in .*: .*--home"):
        run_pipeline("feature", settings_in(tmp_path), tmp_path)


def test_no_secret_is_in_a_runs_command_line_or_log(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, **{"market.coingecko.api_key": "s3cret", "storage.options.AWS_SECRET_ACCESS_KEY": "s3cret"}
    )
    lines = []

    def look(step: str) -> None:
        lines.extend(" ".join(process.cmdline()) for process in processes_of(tmp_path))

    run = run_pipeline("feature", settings, tmp_path, progress=look)
    assert lines
    assert "s3cret" not in "".join(lines) + run.log.read_text()
    assert json.loads(json.dumps(run.told))["ingest"].startswith("simulated:0 (SIMULATED prices): bars added")


def test_a_secret_in_the_settings_file_reaches_the_steps_though_nobody_passes_it_on(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("market: {coingecko: {api_key: s3cret}}")
    settings: dict[str, object] = {"market.coingecko.max_attempts": 1, "market.exchange.backfill_id": ""}
    with serving(json_answer({"error": "out of order"}, 500)) as gecko:
        settings["market.coingecko.base_url"] = gecko.url
        line = command(
            "run",
            "feature",
            "--source",
            "coingecko",
            "--config",
            "mine.yaml",
            home=tmp_path / "home",
            settings=settings,
        )
        done = run_command(line, environment(tmp_path / "scratch", PYTHONPATH=str(ROOT)), folder=tmp_path)
    assert {request.headers.get("x-cg-demo-api-key") for request in gecko.requests} == {"s3cret"}
    assert done.code == 1
    assert "Error: Step 'ingest' failed: CoinGecko" in done.err
    assert "s3cret" not in done.err
