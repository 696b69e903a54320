"""What a person gets wrong, and what a machine does: an exit code, a sentence that says what to do, nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptosentinel.cli import main
from cryptosentinel.config import CONFIG_VARIABLE, load_settings
from cryptosentinel.features import featurize
from cryptosentinel.workspace import stored_workspace
from tests.pipelines.builders import Finished, command, environment, make_market, run_command, write_market

Ran = Callable[..., Finished]


@pytest.fixture
def ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Finished]]:
    """Runs the command line in this process, where an error that is none of ours would end the test."""
    monkeypatch.setenv(CONFIG_VARIABLE, "")  # what --config leaves behind goes with the test
    for name in [name for name in os.environ if name.startswith("CRYPTOSENTINEL_")]:
        monkeypatch.delenv(name)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path, home: Path | None = None, settings: dict[str, object] | None = None) -> Finished:
        line = command(*arguments, home=home or tmp_path / "home", settings=settings)
        monkeypatch.setattr(sys, "argv", ["cryptosentinel", *line[3:]])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return Finished(int(str(caught.value.code or 0)), printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, handler)


def truncated(path: Path) -> str:
    whole = write_market(path / "bars.parquet", 300).read_bytes()
    (path / "bars.parquet").write_bytes(whole[: len(whole) // 2])
    return "bars.parquet"


def text_in_numbers(path: Path) -> str:
    bars = make_market(300).astype({"close": object})
    bars.loc[7, "close"] = "a lot"
    bars.to_csv(path / "bars.csv", index=False)
    return "bars.csv"


def empty(path: Path) -> str:
    (path / "bars.csv").touch()
    return "bars.csv"


def without_a_column(path: Path) -> str:
    make_market(300).drop(columns="high").to_parquet(path / "bars.parquet")
    return "bars.parquet"


def missing(path: Path) -> str:
    return "bars.parquet"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (truncated, "bars.parquet is truncated or damaged"),
        (text_in_numbers, "bars.csv, line 9: 'close' is not a number: 'a lot'"),
        (empty, "bars.csv is empty"),
        (without_a_column, "bars.parquet has no column for 'high'"),
        (missing, "There is no file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_holds_no_bars(ran: Ran, tmp_path: Path, make: Callable[[Path], str], sentence: str) -> None:
    name = make(tmp_path)
    done = ran("up", "--once", "--source", f"file:{tmp_path / name}")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert sentence in done.err


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["--source", "kraken"], ["--source", "coingecko, exchange:<id>, file:<path> or simulated", "kraken"]),
        (["--set", "training.window_dayz=3"], ["training.window_dayz", "Did you mean", "training.window_days"]),
        (["--window-days", "-3"], ["--window-days", "greater than 0"]),
        (["--preset", "modern"], ["--preset", "classic"]),
        (["--set", "training.holdout_share=1.5"], ["training.holdout_share", "less than 1"]),
        (["--config", "no-such.yaml"], ["no-such.yaml", "No such file"]),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_a_setting_that_is_none(ran: Ran, arguments: list[str], sentences: list[str]) -> None:
    done = ran("up", "--once", *arguments)
    assert done.code == 2
    assert [sentence for sentence in sentences if sentence not in done.err] == []


def test_a_clock_that_is_no_time(ran: Ran) -> None:
    done = ran("run", "feature", "--source", "simulated", "--as-of", "noon")
    assert (done.code, done.err) == (2, "Error: 'noon' is no time.\nWrite --as-of 2025-06-01T12:05 (UTC).\n")


def test_a_file_shorter_than_what_is_held_back(ran: Ran, tmp_path: Path) -> None:
    source = f"file:{write_market(tmp_path / 'bars.parquet', 40)}"
    done = ran("up", "--once", "--source", source)
    assert done.code == 1
    assert "Cannot hold back the last 48 bars" in done.err
    assert "--replay-bars" in done.err


@pytest.mark.parametrize("words", [["up", "--once"], ["run", "feature"]], ids=" ".join)
def test_a_file_in_the_home_folders_place(ran: Ran, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = ran(*words, "--source", "simulated", home=tmp_path / "mine.txt")
    assert done.code == 1
    assert str(tmp_path / "mine.txt") in done.err
    assert "home" in done.err.splitlines()[-1]
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ['{"format_version": 99, "market": "simulated-0-bitcoin-usd-5m"}', "{"])
def test_a_store_of_an_unknown_format(ran: Ran, tmp_path: Path, text: str) -> None:
    marker = tmp_path / "home" / "simulated-0-bitcoin-usd-5m" / "store" / "store.json"
    marker.parent.mkdir(parents=True)
    marker.write_text(text)
    done = ran("up", "--once", "--source", "simulated")
    assert done.code == 1
    assert "format version 99" in done.err or "is damaged" in done.err
    assert "storage.uri" in done.err
    assert marker.read_text() == text


def test_a_dashboard_port_in_use_is_told_before_the_work(ran: Ran) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ran("up", "--source", "simulated", settings={"dashboard.port": port})
    assert done.code == 1
    assert f"127.0.0.1:{port}: Address already in use" in done.err
    assert "set dashboard.port to another one" in done.err
    assert "[1/" not in done.err


@pytest.mark.parametrize("setting", ["serving.http_port", "serving.grpc_port"])
def test_a_predictor_port_in_use(ran: Ran, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ran("up", "--once", "--source", "simulated", settings={setting: port})
    assert done.code == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.err
    assert f"set {setting} to another port" in done.err


def test_a_market_with_too_few_bars_to_know_its_volatility(ran: Ran, tmp_path: Path) -> None:
    source = f"file:{write_market(tmp_path / 'bars.parquet', 20)}"
    done = ran("up", "--once", "--source", source, "--replay-bars", "2")
    assert done.code == 0
    assert "not training: 0 complete rows" in done.err
    assert "! No forecast now: too few bars since the last gap to know the volatility: wait for more." in done.err
    assert "0 forecasts, none settled yet." in done.out
    assert "No forecast now: too few bars" in done.out
    assert "Error" not in done.err
    assert "Traceback" not in done.err


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    source = f"file:{write_market(tmp_path / 'bars.parquet', 3_000)}"
    line = command("run", "feature", "--source", source, home=tmp_path / "home", settings={"training.window_days": 20})
    env = environment(tmp_path / "scratch")

    def almost_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    full = run_command(line, env, before=almost_full)
    assert full.code == 1
    assert "Error: Step 'featurize' failed: There is no space left for" in full.err
    assert "Free some space there and run again; what was stored before is intact." in full.err
    assert "log.txt" in full.err
    assert "Traceback" not in full.err
    workspace = stored_workspace(load_settings(environ={}, overrides={"home": str(tmp_path / "home")}))
    assert len(workspace.storage.features.read_bars("bitcoin")) == 3_000
    assert featurize(workspace.storage.features, workspace.spec, "bitcoin").written.inserted == 3_000
