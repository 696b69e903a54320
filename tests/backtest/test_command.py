"""The command `cryptosentinel backtest`: what it says, what it leaves behind, and how it can be stopped."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import psutil
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

from cryptosentinel.backtest import BacktestFigures
from cryptosentinel.cli_backtest import _progress
from cryptosentinel.forecasting import judge
from cryptosentinel.workspace import open_workspace, remember
from tests.backtest.conftest import Undisturbed
from tests.backtest.replays import BARS, DAY, END, make_plan, replay_inline
from tests.builders import settings_of
from tests.test_cli import MAIN, Ran, run

PERIOD = ("--start", "2025-01-17", "--end", "2025-01-20", "--every-days", "1")
ASSIGNED = {
    "window_days": "3",
    "folds": "2",
    "min_rows": "100",
    "candidates": "random_walk,ridge",
    "holdout_share": "0.3",
}
SETTINGS = [word for name, value in ASSIGNED.items() for word in ("--set", f"training.{name}={value}")]
SETTINGS += ["--set", "gate.min_independent_labels=20"]
SMALL = (*PERIOD, *SETTINGS)
STOPPED = "Stopped. Finished trainings are kept; the same command goes on after them."


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """A file of the bars, as --source names it."""
    BARS.drop(columns=["asset", "source"]).to_parquet(tmp_path / "bars.parquet")
    return f"file:{tmp_path / 'bars.parquet'}"


def started(recording: str, home: Path, *others: str) -> Ran:
    return run("backtest", "--source", recording, "--home", home, *others)


def asked(recording: str, home: Path, *others: str) -> Ran:
    return started(recording, home, "--dry-run", *others)


class TestResult:
    def test_the_figures_are_shown_and_everything_is_kept(
        self, undisturbed: Undisturbed, recording: str, tmp_path: Path
    ) -> None:
        with undisturbed.rehearsal.played():
            ran = started(recording, tmp_path / "home", *SMALL)
        assert ran.code == 0
        market = next((tmp_path / "home").iterdir())
        assert market.name.startswith("file-bars-")
        folder = market / "backtests" / "2025-01-17_2025-01-20"
        files = [folder / name for name in ("report.html", "forecasts.parquet", "figures.json")]
        assert ran.out.splitlines()[-3:] == [str(path) for path in files]
        assert "864 forecasts with an outcome" in ran.words
        assert_frame_equal(pd.read_parquet(files[1]), undisturbed.backtest.forecasts)
        figures = BacktestFigures.model_validate_json(files[2].read_text())
        assert (figures.rows, figures.gate.trainings, figures.gate.promoted) == (864, 3, 2)
        assert not list(folder.rglob("*.new"))
        assert not (folder / "tape").exists()

    def test_progress_is_lines_where_there_is_no_terminal(
        self, undisturbed: Undisturbed, recording: str, tmp_path: Path
    ) -> None:
        with undisturbed.rehearsal.played():
            ran = started(recording, tmp_path / "home", *SMALL)
        head, *lines = ran.err.splitlines()
        assert head.startswith(
            "file:bars from 2025-01-17 00:00 to 2025-01-20 00:00 UTC, trained every day on the 3 before, into /"
        )
        assert [line.partition(", about")[0] for line in lines] == [
            "reading bars",
            *(f"training and forecasting: {done} of 3" for done in range(4)),
            "settling and calibrating",
            "writing the report",
        ]
        assert ["left" in line for line in lines] == [False, False, True, True, False, False, False]

    def test_json_is_the_figures_and_nothing_else(
        self, undisturbed: Undisturbed, recording: str, tmp_path: Path
    ) -> None:
        with undisturbed.rehearsal.played():
            ran = started(recording, tmp_path / "home", *SMALL, "--json", "--out", str(tmp_path / "out"))
        assert ran.json == json.loads((tmp_path / "out" / "figures.json").read_text())

    def test_the_report_says_how_to_do_it_again(self, undisturbed: Undisturbed, recording: str, tmp_path: Path) -> None:
        with undisturbed.rehearsal.played():
            started(recording, tmp_path / "home", *SMALL, "--out", str(tmp_path / "out"))
        again = f"cryptosentinel backtest --source {recording} {' '.join(PERIOD)} "
        report = (tmp_path / "out" / "report.html").read_text()
        assert again in report
        assert "--set training.candidates=random_walk,ridge" in report
        assert str(tmp_path / "home") not in report

    def test_the_market_used_last_is_replayed_where_none_is_named(
        self, undisturbed: Undisturbed, recording: str, tmp_path: Path
    ) -> None:
        remember(open_workspace(settings_of(home=str(tmp_path / "home"), market__source=recording)))
        with undisturbed.rehearsal.played():
            ran = run("backtest", "--home", tmp_path / "home", *SMALL)
        assert ran.code == 0
        report = next((tmp_path / "home").rglob("report.html")).read_text()
        assert "--source file:bars.parquet" in report
        assert str(tmp_path) not in report


class TestDryRun:
    def test_it_says_what_would_be_done_and_does_nothing(self, recording: str, tmp_path: Path) -> None:
        ran = asked(recording, tmp_path / "home", *SMALL)
        assert "3 trainings on 858 rows, and 864 forecasts." in ran.words
        assert "where no training is finished yet" in ran.words
        assert not (tmp_path / "home").exists()

    def test_it_says_what_is_there_already(self, undisturbed: Undisturbed, recording: str, tmp_path: Path) -> None:
        with undisturbed.rehearsal.played():
            started(recording, tmp_path / "home", *SMALL)
        assert (
            "where 3 of the trainings and their forecasts are done" in asked(recording, tmp_path / "home", *SMALL).words
        )

    def test_it_says_which_trainings_would_fail(self, recording: str, tmp_path: Path) -> None:
        ran = asked(recording, tmp_path, *SMALL, "--start", "2025-01-06T12:00", "--end", "2025-01-11")
        assert "2 of the trainings would have too few rows, the first on 2025-01-06 12:00" in ran.words

    def test_rows_are_counted_from_few_to_many(self, recording: str, tmp_path: Path) -> None:
        ran = asked(recording, tmp_path, *SMALL, "--start", "2025-01-07T23:00", "--end", "2025-01-09")
        assert "2 trainings on 96 to 384 rows" in ran.words

    def test_the_command_it_names_is_the_same_backtest(self, recording: str, tmp_path: Path) -> None:
        first = asked(recording, tmp_path, *SMALL, "--set", "forecast.horizon_bars=3", "--json").json
        words = shlex.split(first["command"])
        assert words[:2] == ["cryptosentinel", "backtest"]
        assert "forecast.horizon_bars=3" in words
        assert run(*words[1:], "--home", tmp_path, "--dry-run", "--json").json == first
        assert [training["rows"] for training in first["trainings"]] == [861, 861, 861]

    def test_threads_do_not_multiply(self, recording: str, tmp_path: Path) -> None:
        ran = asked(recording, tmp_path, *SMALL, "--set", "training.threads=8", "--json")
        assert "training.threads" not in ran.json["command"]

    def test_settings_of_a_file_are_in_the_command(self, recording: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("training:\n  scheme: rolling\nmarket:\n  asset: ether\n")
        command = asked(recording, tmp_path, *SMALL, "--config", str(tmp_path / "mine.yaml"), "--json").json["command"]
        assert "--set market.asset=ether" in command
        assert "--set training.scheme=rolling" in command
        assert "mine.yaml" not in command


class TestPeriod:
    def test_it_ends_with_the_bars_and_begins_four_weeks_earlier(self, tmp_path: Path) -> None:
        ran = run("backtest", "--source", "simulated", "--home", tmp_path, *SETTINGS, "--dry-run", "--json")
        begin, end = (datetime.fromisoformat(ran.json[name]) for name in ("start", "end"))
        assert (end - begin, end.hour, end.minute) == (28 * DAY, 0, 0)
        assert ran.json["folder"].endswith(f"backtests/{begin:%Y-%m-%d}_{end:%Y-%m-%d}")

    def test_a_recording_is_replayed_to_its_end_and_not_beyond(self, recording: str, tmp_path: Path) -> None:
        last = (BARS["timestamp"].iloc[-1] + pd.Timedelta("5min")).isoformat()
        assert asked(recording, tmp_path, *SETTINGS, "--start", "2025-01-17", "--json").json["end"] == last
        ran = asked(recording, tmp_path, *SETTINGS, "--start", "2025-01-17", "--end", "2026-01-01", "--json")
        assert ran.json["end"] == last
        assert "The bars end at 2025-01-20 01:00 UTC, and so does the backtest." in ran.err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--start", "2025-01-17", "--end", "2025-01-17"), "There is nothing between 2025-01-17 00:00 and"),
            (("--start", "2025-01-18", "--end", "2025-01-17"), "There is nothing between 2025-01-18 00:00 and"),
            (
                ("--start", "2026-02-20", "--end", "2026-03-01"),
                "The bars end at 2025-01-20 01:00 UTC: too early for --start 2026-02-20. Choose an earlier --start.",
            ),
            (("--start", "soon"), "There is no such time as 'soon'. Write --start as YYYY-MM-DD or"),
            (("--start", "2024-02-30"), "There is no such time as '2024-02-30'. Write --start as YYYY-MM-DD or"),
            (("--every-days", "0"), "Trainings cannot be 0 days apart. Write --every-days 7"),
            (("--every-days", "nan"), "Trainings cannot be nan days apart."),
            (("--every-days", "1e12"), "Trainings cannot be 1e+12 days apart."),
            (("--set", "training.folds=1"), "training.folds"),
        ],
    )
    def test_what_cannot_be_is_a_sentence(
        self, recording: str, tmp_path: Path, words: tuple[str, ...], said: str
    ) -> None:
        ran = asked(recording, tmp_path / "home", *SMALL, *words)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.words
        assert not (tmp_path / "home").exists()

    def test_a_window_before_the_bars_is_a_sentence(self, recording: str, tmp_path: Path) -> None:
        ran = asked(recording, tmp_path, *SMALL, "--start", "2024-12-01", "--end", "2025-01-06T06:00")
        assert ran.code == 1
        assert "No training run would see enough bars" in ran.words
        assert "The bars begin at 2025-01-06 00:00 UTC: choose a later --start." in ran.words
        ran = asked(recording, tmp_path, *SMALL, "--start", "2023-12-01", "--end", "2024-01-06")
        assert ran.code == 1
        assert "Choose --start and --end within what the source has." in ran.words

    def test_a_market_must_be_named_where_none_was_used_yet(self, tmp_path: Path) -> None:
        ran = run("backtest", "--home", tmp_path)
        assert ran.code == 2
        assert "none was named" in ran.words
        assert "--source file:<path>" in ran.words


def test_an_interrupt_is_a_sentence_and_its_code(recording: str, tmp_path: Path) -> None:
    with patch("cryptosentinel.backtest.runner.tapes.record", side_effect=KeyboardInterrupt):
        ran = started(recording, tmp_path / "home", *SMALL)
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == STOPPED


def test_a_terminal_has_one_bar_that_knows_what_is_being_done() -> None:
    shown = StringIO()
    with _progress(Console(force_terminal=True, width=100, file=shown)) as progress:
        progress("reading bars", 0, 1)
        for done in range(3):
            progress("training and forecasting", done, 3)
            time.sleep(0.2)
    assert "training and forecasting" in shown.getvalue()
    assert "1/3" in shown.getvalue()


def spawn(recording: str, home: Path) -> subprocess.Popen[str]:
    """Starts a backtest of two trainings."""
    words = [sys.executable, "-c", MAIN, "backtest", "--source", recording, "--home", str(home), *SMALL]
    words += ["--end", "2025-01-19", "--jobs", "1"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(home: Path, pattern: str) -> None:
    for _ in range(600):
        if any(home.rglob(pattern)):
            return
        time.sleep(0.1)
    raise AssertionError(f"there is no {pattern}")


@pytest.mark.slow
def test_a_real_one_goes_on_after_ctrl_c_and_after_a_kill(recording: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = spawn(recording, home)
    wait_for(home, "parts-*/*")  # a process is training
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert err.splitlines()[-1] == STOPPED
    assert "Traceback" not in err
    assert psutil.wait_procs(children, timeout=10)[1] == []

    second = spawn(recording, home)
    wait_for(home, "record.json")  # the next one is being trained
    children = psutil.Process(second.pid).children(recursive=True)
    second.kill()
    second.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=10)[1] == []

    third = spawn(recording, home)
    assert third.wait(timeout=120) == 0
    folder = next(home.glob("*/backtests/*"))
    undisturbed = replay_inline(tmp_path / "undisturbed", make_plan(end=END - DAY), gate=judge)
    assert_frame_equal(pd.read_parquet(folder / "forecasts.parquet"), undisturbed.forecasts)
    assert not list(folder.rglob("parts*"))
