"""The library's commands: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from cryptosentinel import __version__
from cryptosentinel.bundle import Bundle
from cryptosentinel.cli import main
from cryptosentinel.config import setting_names
from cryptosentinel.doctor import Check
from cryptosentinel.predicting import BundlePredictor, predict
from cryptosentinel.workspace import CURRENT, Workspace, open_workspace, remember
from tests.builders import T0, add_bars, at, make_tiny_bundle, settings_of

COMMANDS = ("forecasts", "model", "doctor", "settings")
MAIN = "from cryptosentinel.cli import main; main()"
HEAVY = {"pandas", "deltalake", "scipy", "kfp", "kserve"}


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """What it said, wherever lines were broken."""
        return " ".join((self.out + self.err).split())


def run(*arguments: str | Path) -> Ran:
    """Runs one of the library's own commands in this process."""
    out, err = StringIO(), StringIO()
    with (
        patch.object(sys, "argv", ["cryptosentinel", *map(str, arguments)]),
        patch("cryptosentinel.cli.entry_points", return_value=[]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Ran(ended.value.code or 0, out.getvalue(), err.getvalue())


def spawn(*arguments: str | Path, **environ: str) -> Ran:
    """Runs a command as people do."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environ})
    return Ran(done.returncode, done.stdout, done.stderr)


def make_home(folder: Path, *, bars: int = 50, first: int = 40) -> Workspace:
    """A home folder whose simulated market was forecast at each of its last bars."""
    for number in range(first, bars + 1):
        workspace = open_workspace(settings_of(home=str(folder), market__source="simulated:3"), now=at(number))
        add_bars(workspace.storage, workspace.source.bars(T0, at(number)), workspace.spec)
        predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), workspace.champion().version)
        predict(workspace.storage, predictor, workspace.spec, workspace.settings, now=at(number))
    remember(workspace)
    return workspace


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with 11 forecasts, 5 of them settled. For reading."""
    home = tmp_path_factory.mktemp("filled")
    make_home(home)
    return home


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(filled, tmp_path / "home"))


class TestForecasts:
    def test_the_newest_forecasts_are_shown_with_their_record(self, filled: Path) -> None:
        ran = run("forecasts", "--home", filled)
        assert (ran.code, ran.err) == (0, "")
        label, above, header, *rows = ran.out.splitlines()[:14]
        assert label == "SIMULATED market: these prices are invented."
        assert above.split() == ["price", "P", "of"]
        assert header.split() == ["for", "(UTC)", "then", "forecast", "80%", "interval", "rise", "actual", "outcome"]
        assert [row[:11] for row in rows] == [f"{at(number + 6):%m-%d %H:%M}" for number in range(40, 51)]
        assert [row.split()[-1] for row in rows[5:]] == ["pending"] * 6
        assert "11 forecasts, 5 settled: 0 correct," in ran.words
        assert "of the prices within the 80% interval" in ran.words

    def test_every_line_fits_80_columns(self, filled: Path) -> None:
        ran = run("forecasts", "--home", filled)
        assert max(map(len, ran.out.splitlines())) <= 80
        assert "…" not in ran.out

    def test_last_limits_the_table_and_not_the_record(self, filled: Path) -> None:
        ran = run("forecasts", "--home", filled, "--last", 2)
        assert len([line for line in ran.out.splitlines() if "pending" in line]) == 2
        assert "11 forecasts" in ran.out

    def test_json_has_all_figures(self, filled: Path) -> None:
        answer = run("forecasts", "--home", filled, "--last", 8, "--json").json
        assert (answer["market"], answer["simulated"]) == ("simulated-3-bitcoin-usd-5m", True)
        assert (answer["record"]["made"], answer["record"]["settled"]) == (11, 5)
        assert [row["made_at"] for row in answer["forecasts"]] == [
            f"{at(number):%Y-%m-%dT%H:%M:%S.000Z}" for number in range(43, 51)
        ]
        assert [row["outcome"] is None for row in answer["forecasts"]] == [False] * 2 + [True] * 6

    def test_where_nothing_has_run_it_is_said_what_to_do(self, tmp_path: Path) -> None:
        ran = run("forecasts", "--home", tmp_path / "new")
        assert (ran.code, ran.out) == (2, "")
        assert "Nothing has run in" in ran.err
        assert "cryptosentinel up" in ran.err
        assert not (tmp_path / "new").exists()

    def test_without_a_forecast_yet_it_says_so(self, tmp_path: Path) -> None:
        open_workspace(settings_of(home=str(tmp_path), market__source="simulated"))
        ran = run("forecasts", "--home", tmp_path, "--source", "simulated")
        assert ran.code == 0
        assert "No forecast has been made yet" in ran.out
        empty = run("forecasts", "--home", tmp_path, "--source", "simulated", "--json").json
        assert (empty["forecasts"], empty["record"]["covered_80"]) == ([], None)

    def test_a_market_that_never_ran_is_named_and_nothing_is_made_for_it(self, tmp_path: Path) -> None:
        ran = run("forecasts", "--home", tmp_path, "--source", "simulated:9")
        assert ran.code == 2
        assert "simulated:9" in ran.err
        assert not list(tmp_path.glob("simulated-9*"))

    def test_before_any_is_due_the_record_says_so(self, tmp_path: Path) -> None:
        make_home(tmp_path, bars=41)
        assert "2 forecasts, none settled yet." in run("forecasts", "--home", tmp_path).out

    def test_where_every_price_was_missed_there_is_no_coverage_to_tell(self, tmp_path: Path) -> None:
        workspace = make_home(tmp_path, bars=40)
        predictor = BundlePredictor(Bundle.load(workspace.champion_bundle()), 0)
        predict(workspace.storage, predictor, workspace.spec, workspace.settings, now=at(100))
        ran = run("forecasts", "--home", tmp_path)
        assert (ran.code, ran.err) == (0, "")
        assert "1 forecast, 1 settled: 0 correct, 0 incorrect, 0 flat, 1 missed." in ran.words


class TestModel:
    def test_the_champions_card_and_the_versions_are_shown(self, own: Path) -> None:
        workspace = open_workspace(settings_of(home=str(own), market__source="simulated:3"))
        bundle = make_tiny_bundle(own / "made", workspace.spec).path
        verdict = "promoted: skill [bold] against the random walk"
        trained = workspace.storage.registry.register(bundle, metrics={}, verdict=verdict)
        before = run("model", "--home", own)
        assert (before.code, before.err) == (0, "")
        assert "SIMULATED market" in before.out
        assert "Random walk for bitcoin" in before.out
        assert "0 (champion)" in before.out
        workspace.storage.registry.promote(trained.version, expected=0)
        after = run("model", "--home", own)
        assert "A bundle for tests" in after.out
        assert "1 (champion)" in after.out
        assert "skill [bold] against" in after.out
        assert max(map(len, after.out.splitlines())) <= 80

    def test_of_a_pruned_version_it_is_said_that_it_was(self, own: Path) -> None:
        workspace = open_workspace(settings_of(home=str(own), market__source="simulated:3"))
        bundle = make_tiny_bundle(own / "made", workspace.spec).path
        registry = workspace.storage.registry
        registry.prune([registry.register(bundle, metrics={}, verdict="refused").version])
        assert "1 (pruned)" in run("model", "--home", own).out
        versions = run("model", "--home", own, "--json").json["versions"]
        assert [version["pruned_at"] is None for version in versions] == [True, False]

    def test_json_has_the_manifest_and_the_versions(self, filled: Path) -> None:
        answer = run("model", "--home", filled, "--json").json
        assert answer["champion"] == 0
        assert (answer["manifest"]["champion"], answer["manifest"]["simulated"]) == ("random_walk", True)
        assert [version["version"] for version in answer["versions"]] == [0]
        assert answer["versions"][0]["registered_at"][10] == "T"


class TestDoctor:
    LONG = "/a/folder/[bold]whose/name/is/longer/than/what/a/terminal/of/eighty/columns/shows/in/one/line"

    def found(self, *checks: Check, form: tuple[str, ...] = ()) -> Ran:
        with patch("cryptosentinel.doctor.checks", return_value=list(checks)):
            return run("doctor", *form)

    def test_every_check_is_told_with_its_remedy_as_it_is(self) -> None:
        ran = self.found(
            Check("Python", ok=True, detail="3.11"),
            Check("clock", ok=False, detail="it is late", remedy="Set [the] clock.", required=False),
            Check("store", ok=True, detail=f"{self.LONG} holds bitcoin"),
        )
        assert (ran.code, ran.err) == (0, "")
        lines = [line.rstrip() for line in ran.out.splitlines()]
        assert lines[:3] == ["ok   Python: 3.11", "note clock: it is late", "     Set [the] clock."]
        assert max(map(len, lines)) <= 80
        assert all(line.startswith("     ") for line in lines[4:])
        assert self.LONG in "".join(line[5:] for line in lines[3:])

    def test_what_the_main_job_does_not_run_without_is_exit_code_1(self) -> None:
        missing = Check("packages", ok=False, detail="missing: kfp", remedy="Run `make setup`.")
        assert self.found(missing).code == 1
        assert "FAIL packages: missing: kfp Run `make setup`." in self.found(missing).words
        assert self.found(replace(missing, required=False)).code == 0
        ran = self.found(missing, form=("--json",))
        assert (ran.code, ran.json) == (1, [vars(missing)])

    def test_it_looks_at_the_market_and_the_home_that_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        ran = run("doctor", "--home", tmp_path / "file" / "home", "--source", "simulated", "--json")
        checks = {check["name"]: check for check in ran.json}
        assert ran.code == 1
        assert checks["market (simulated)"]["ok"]
        assert not checks["home folder"]["ok"]


class TestSettings:
    def test_all_settings_are_shown_as_they_are_in_force(self, tmp_path: Path) -> None:
        config = tmp_path / "config.yaml"
        config.write_text("training: {window_days: 30, seed: 4}\n")
        ran = run("settings", "--config", config, "--set", "training.seed=5", "--source", "simulated:2")
        assert (ran.code, ran.err) == (0, "")
        shown = yaml.safe_load(ran.out)
        assert (shown["training"]["window_days"], shown["training"]["seed"]) == (30.0, 5)
        assert shown["market"]["source"] == "simulated:2"
        groups = {name for name in shown if isinstance(shown[name], dict)}
        assert {name.partition(".")[0] for name in setting_names()} == set(shown)
        assert "market" in groups

    def test_json_has_the_same(self) -> None:
        assert run("settings", "--json").json == yaml.safe_load(run("settings").out)

    def test_secrets_are_masked(self) -> None:
        given = ("--set", "market.coingecko.api_key=hush-1", "--set", "storage.options={AWS_SECRET_ACCESS_KEY: hush-2}")
        for form in ((), ("--json",)):
            ran = run("settings", *given, *form)
            assert ran.code == 0
            assert "hush" not in ran.out + ran.err
            assert "AWS_SECRET_ACCESS_KEY" in ran.out


class TestMistakes:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--set", "training.windw_days=3"], "training.windw_days"),
            (["--set", "training.window_days=soon"], "training.window_days"),
            (["--set", "training.seed"], "training.seed"),
            (["--config", "nowhere.yaml"], "nowhere.yaml"),
            (["--bogus"], "--bogus"),
        ],
    )
    def test_a_wrong_argument_is_named(self, tmp_path: Path, command: str, arguments: list[str], named: str) -> None:
        ran = run(command, "--home", tmp_path, *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert named in ran.err
        assert "Traceback" not in ran.err

    @pytest.mark.parametrize("source", ["bitcoin", "exchange:", "simulated:x", "file:"])
    def test_a_wrong_source_is_named(self, tmp_path: Path, source: str) -> None:
        ran = run("forecasts", "--home", tmp_path, "--source", source)
        assert (ran.code, ran.out) == (2, "")
        assert "--source" in ran.err

    def test_a_wrong_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CRYPTOSENTINEL_TRAINING__WINDOW_DAYS", "soon")
        monkeypatch.setenv("CRYPTOSENTINEL_TRAINNIG__SEED", "1")
        ran = run("settings")
        assert (ran.code, ran.out) == (2, "")
        assert "CRYPTOSENTINEL_TRAINING__WINDOW_DAYS" in ran.err
        assert "CRYPTOSENTINEL_TRAINNIG__SEED" in ran.err

    @pytest.mark.parametrize("arguments", [["bogus"], ["forecasts", "--last", "0"], ["forecasts", "--last", "many"]])
    def test_a_wrong_command_or_value_is_exit_code_2(self, arguments: list[str]) -> None:
        ran = run(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "Error" in ran.err

    def test_a_name_with_brackets_is_told_as_it_is(self, tmp_path: Path) -> None:
        ran = run("forecasts", "--home", tmp_path / "[bold]x[/]")
        assert f"{tmp_path}/[bold]x[/]" in ran.err


class TestFaults:
    """What is damaged is exit code 1, and a sentence that names it."""

    def fails(self, home: Path, command: str, *named: str) -> None:
        for form in ((), ("--json",)):
            ran = run(command, "--home", home, *form)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err.startswith("Error: ")
            assert [name for name in named if name not in ran.err] == []
            assert "Traceback" not in ran.err

    def test_a_store_of_an_unknown_version(self, own: Path) -> None:
        (marker,) = own.glob("*/store/store.json")
        marker.write_text(marker.read_text().replace('"format_version": 1', '"format_version": 99'))
        self.fails(own, "forecasts", "format version 99", "home")
        self.fails(own, "model", "format version 99")

    def test_a_store_with_a_damaged_marker(self, own: Path) -> None:
        (marker,) = own.glob("*/store/store.json")
        marker.write_text("{")
        self.fails(own, "forecasts", "store.json", "Restore")

    def test_a_store_with_a_damaged_log(self, own: Path) -> None:
        for commit in own.glob("*/store/forecasts/_delta_log/*.json"):
            commit.write_text("nonsense")
        self.fails(own, "forecasts", "store/forecasts")

    def test_a_bundle_that_was_changed_in_the_registry(self, own: Path) -> None:
        (manifest,) = own.glob("*/store/bundles/*/manifest.json")
        manifest.write_text(manifest.read_text().replace("random_walk", "magic"))
        for copy in own.glob("*/bundles"):
            shutil.rmtree(copy)
        self.fails(own, "model", "not the one that was registered", "from a backup")

    def test_a_bundle_with_a_damaged_file(self, own: Path) -> None:
        (card,) = own.glob("*/bundles/*/MODEL_CARD.md")
        card.write_text("# Better than it is\n")
        self.fails(own, "model", "MODEL_CARD.md differs")
        card.unlink()
        self.fails(own, "model", "MODEL_CARD.md is missing")

    def test_a_damaged_note_of_the_market_used_last_is_the_users_to_mend(self, own: Path) -> None:
        (own / CURRENT).write_text("{")
        ran = run("forecasts", "--home", own)
        assert (ran.code, ran.out) == (2, "")
        assert CURRENT in ran.err
        assert run("forecasts", "--home", own, "--source", "simulated:3").code == 0


class TestAsAProcess:
    def test_json_is_alone_on_standard_output(self, filled: Path) -> None:
        ran = spawn("forecasts", "--home", filled, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert ran.json["record"]["made"] == 11

    def test_an_error_is_on_standard_error_with_what_to_do(self, tmp_path: Path) -> None:
        ran = spawn("model", CRYPTOSENTINEL_HOME=str(tmp_path / "none"))
        assert (ran.code, ran.out) == (2, "")
        first, remedy = ran.err.splitlines()
        assert first == f"Error: Nothing has run in {tmp_path}/none yet."
        assert remedy.startswith("Run `cryptosentinel up` first")

    def test_a_reader_that_has_seen_enough_is_no_error(self, filled: Path) -> None:
        command = [sys.executable, "-c", MAIN, "forecasts", "--home", str(filled)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()

    def test_help_and_version_need_nothing(self) -> None:
        ran = spawn("--help")
        assert ran.code == 0
        assert [name for name in (*COMMANDS, "up", "run", "serve") if f" {name} " not in ran.out] == []
        assert spawn("--version") == Ran(0, f"{__version__}\n", "")
        imported = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", MAIN, "--help"], capture_output=True, text=True, check=True
        ).stderr
        modules = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
        assert "typer" in modules
        assert modules & HEAVY == set()

    def test_every_command_has_help(self) -> None:
        for command in COMMANDS:
            ran = run(command, "--help")
            assert ran.code == 0
            assert "--json" in ran.out
            assert max(map(len, ran.out.splitlines())) <= 80
