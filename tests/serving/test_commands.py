"""`cryptosentinel forecast` and `explain`: what they say of a running predictor, and how they end."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
import typer

from cryptosentinel.bundle import FLAT
from cryptosentinel.cli import main
from cryptosentinel.explaining import Attribution, contribution_tables
from cryptosentinel.workspace import Workspace, open_workspace, remember
from serving import commands
from tests.builders import T0, add_bars, make_explanation, make_local, make_random_bars, settings_of
from tests.serving.builders import SPEC
from tests.serving.test_client import OWN_INFO, explained_as, stub
from tests.test_cli import Ran

BARS = SPEC.warm_up_bars + 40
CLOSE = f"{T0 + BARS * timedelta(minutes=5):%Y-%m-%d %H:%M}"


def run(*arguments: object) -> Ran:
    """Runs a command in this process, as people do."""
    app = typer.Typer()
    commands.add_commands(app)
    out, err = StringIO(), StringIO()
    with (
        patch.object(sys, "argv", ["cryptosentinel", *map(str, arguments)]),
        patch("cryptosentinel.cli.app", app),
        patch("cryptosentinel.cli.entry_points", return_value=[]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Ran(ended.value.code or 0, out.getvalue(), err.getvalue())


def make_home(home: Path, count: int, stored: int | None = None) -> Workspace:
    """A home folder whose market is a file of bars, of which the first `stored` have features."""
    bars = make_random_bars(count)
    home.mkdir(exist_ok=True)
    bars.to_parquet(home / "bars.parquet")
    workspace = open_workspace(settings_of(home=str(home), market__source=f"file:{home / 'bars.parquet'}"))
    add_bars(workspace.storage, bars.head(stored or count), SPEC)
    remember(workspace)
    return workspace


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With warm features to the end of its market. For reading."""
    folder = tmp_path_factory.mktemp("market")
    make_home(folder, BARS)
    return folder


def ask(command: str, home: Path, url: str, *options: object) -> Ran:
    return run(command, "--home", home, "--set", f"serving.url={url}", *options)


class TestForecast:
    def test_the_forecast_as_of_now_is_shown_and_not_logged(self, home, running):
        running.serve(1)
        workspace = open_workspace(settings_of(home=str(home), market__source=f"file:{home / 'bars.parquet'}"))
        ran = ask("forecast", home, running.process.url)
        assert (ran.code, ran.err) == (0, "")
        assert "30 minutes after a close of" in ran.words
        assert "trained bundle 1" in ran.words
        assert workspace.storage.log.read_forecasts("bitcoin").empty

    def test_it_is_the_one_that_would_be_logged(self, tmp_path, running):
        from cryptosentinel.predicting import forecast_records, predict

        running.serve(1)
        workspace = make_home(tmp_path, BARS)
        shown = ask("forecast", tmp_path, running.process.url, "--json").json
        now = workspace.source.now()
        done = predict(workspace.storage, running.client, SPEC, workspace.settings, now=now)
        (logged,) = forecast_records(workspace.storage.log.read_forecasts("bitcoin"))
        assert done.forecast is not None
        assert shown == {"market": workspace.market, "simulated": False, "abstained": "", "forecast": logged}

    def test_features_that_are_too_old_are_said_to_be(self, tmp_path, running):
        make_home(tmp_path, BARS, stored=BARS - 30)
        ran = ask("forecast", tmp_path, running.process.url)
        assert ran.code == 0
        assert ran.words.startswith("No forecast now: the newest features are 2.5 hours old, more than")
        answer = ask("forecast", tmp_path, running.process.url, "--json").json
        assert answer["forecast"] is None
        assert "2.5 hours old" in answer["abstained"]

    def test_a_bundle_that_is_too_old_is_said_to_be(self, home, running):
        running.serve(1)
        ran = ask("forecast", home, running.process.url, "--set", "forecast.max_model_age_days=1")
        assert "No forecast now: the champion's data end" in ran.words

    def test_without_a_predictor_it_says_how_to_start_one(self, home):
        ran = run("forecast", "--home", home)
        assert (ran.code, ran.out) == (1, "")
        assert "There is no predictor to ask" in ran.err
        assert "cryptosentinel up" in ran.err

    def test_the_predictor_that_runs_for_the_market_is_found(self, home, running):
        with patch("serving.process.running_predictor", return_value=running.process.url) as found:
            assert run("forecast", "--home", home).code == 0
        ((root,), _) = found.call_args
        assert root.parent == home

    def test_a_home_where_nothing_ran_is_said_to_be(self, tmp_path):
        ran = run("forecast", "--home", tmp_path)
        assert ran.code == 2
        assert "Nothing has run" in ran.err


class TestForecastOfBars:
    def test_the_last_bars_of_a_file_are_forecast_from(self, home, running, tmp_path):
        running.serve(1)
        ran = ask("forecast", tmp_path, running.process.url, "--bars", home / "bars.parquet")
        assert ran.code == 0
        assert "The live pipeline would make no forecast of this: the champion's data end" in ran.words
        assert "30 minutes after a close of" in ran.words

    def test_it_is_the_forecast_of_the_same_features(self, home, running):
        running.serve(1)
        url = running.process.url
        of_bars = ask("forecast", home, url, "--bars", home / "bars.parquet", "--json").json
        stored = ask("forecast", home, url, "--json").json
        assert of_bars["forecast"] == stored["forecast"]
        assert of_bars["abstained"]

    def test_finer_bars_are_put_together(self, tmp_path, running):
        from cryptosentinel.market.bars import Interval

        running.serve(1)
        make_random_bars(5 * BARS, interval=Interval("1m")).to_parquet(tmp_path / "fine.parquet")
        ran = ask("forecast", tmp_path, running.process.url, "--bars", tmp_path / "fine.parquet", "--json")
        assert ran.json["forecast"]["made_at"].startswith(CLOSE.replace(" ", "T"))

    def test_too_few_bars_are_refused_with_how_many_are_needed(self, tmp_path, running):
        make_random_bars(30).to_parquet(tmp_path / "few.parquet")
        ran = ask("forecast", tmp_path, running.process.url, "--bars", tmp_path / "few.parquet")
        assert (ran.code, ran.out) == (1, "")
        assert "send at least 463" in ran.err

    def test_a_file_that_is_not_there_is_told(self, tmp_path, running):
        ran = ask("forecast", tmp_path, running.process.url, "--bars", tmp_path / "none.parquet")
        assert (ran.code, ran.out) == (2, "")
        assert "There is no file" in ran.err


class TestExplain:
    def explained(self, home: Path, explanation, *options: object) -> Ran:
        with stub((200, OWN_INFO), (200, OWN_INFO), (200, explained_as(explanation))) as url:
            return ask("explain", home, url, *options)

    def test_price_direction_and_range_are_explained_in_words_and_numbers(self, home):
        ran = self.explained(home, make_explanation(600.0))
        assert (ran.code, ran.err) == (0, "")
        assert "The price is forecast to rise by 0.200%" in ran.words
        for said in ("Price forecast, in USD", "Direction, in log-odds of a rise", "Range, as factors"):
            assert said in ran.out
        assert f"Bundle 7, at the close of {CLOSE} UTC" in ran.words

    def test_price_rows_add_up_to_the_forecast_less_the_close(self, home):
        lines = self.explained(home, make_explanation(600.0)).out.splitlines()
        begin = lines.index(next(line for line in lines if line.startswith("Price forecast, in USD")))
        rows = lines[begin + 1 : lines.index("", begin)]
        figures = [float(row.split()[0]) for row in rows]
        assert figures == [0.30, 1.20, -0.60, 0.30, 0.00, 1.20]
        assert "600.00" in rows[-1]
        assert "up" in rows[1]
        assert "down" in rows[2]

    def test_top_limits_the_rows_and_the_others_are_summed(self, home):
        ran = self.explained(home, make_explanation(600.0), "--top", 1)
        price = ran.out[ran.out.index("Price") : ran.out.index("Direction")]
        assert [line.split()[0] for line in price.splitlines()[1:5]] == ["+0.30", "+1.20", "-0.30", "+1.20"]
        assert "47 other features" in price

    def test_every_line_fits_80_columns(self, home):
        lime = {"blend": make_local(rsi_14=0.001), "p_up": make_local("probability", rsi_14=-0.02)}
        ran = self.explained(home, make_explanation(600.0, lime=lime))
        assert max(map(len, ran.out.splitlines())) <= 80
        assert "\u2026" not in ran.out

    def test_where_the_price_stays_the_blend_is_shown_as_not_served(self, home):
        explanation = make_explanation(600.0)
        still = Attribution(
            unit="log_return",
            base=0.0,
            value=0.0,
            contributions=dict.fromkeys(SPEC.model_names, 0.0),
            price_base=0.0,
            price_contributions=dict.fromkeys(SPEC.model_names, 0.0),
        )
        targets = explanation.targets | {"forecast": still}
        ran = self.explained(home, explanation.model_copy(update={"targets": targets, "log_return": 0.0}))
        assert "stays at" in ran.words
        assert "What the models say of the price (blend, not served), in USD" in ran.out

    def test_version_0_has_a_range_alone(self):
        still = Attribution(unit="log_odds", base=0.0, value=0.0, contributions=dict.fromkeys(SPEC.model_names, 0.0))
        targets = make_explanation().targets
        returns = still.model_copy(update={"unit": "log_return", "price_base": 0.0, "price_contributions": {}})
        own = {"forecast": returns, "p_up": still, "sigma": targets["sigma"]}
        explanation = make_explanation(targets=own, direction=FLAT, champion="random_walk")
        assert [table.title for table in contribution_tables(explanation)] == ["Range, as factors of the volatility"]

    def test_lime_is_shown_with_how_well_it_fits(self, home):
        lime = {"blend": make_local(rsi_14=0.0012), "p_up": make_local("probability", rsi_14=-0.02)}
        ran = self.explained(home, make_explanation(600.0, lime=lime), "--lime")
        assert "LIME: blend's return, in bp, for one standard deviation more (R2 0.42)" in ran.out
        assert "+12.000" in ran.out
        assert "-2.000" in ran.out
        assert "LIME has nothing to fit" in self.explained(home, make_explanation(lime={}), "--lime").out

    def test_machines_get_all_of_it(self, home):
        explanation = make_explanation(600.0)
        answer = self.explained(home, explanation, "--json").json
        assert answer["explanation"] == explanation.model_dump(mode="json")
        assert answer["bundle_version"] == 7
        assert answer["made_at"].startswith(CLOSE.replace(" ", "T"))
        assert answer["abstained"] == ""

    def test_what_no_forecast_is_made_of_is_explained_and_said_to_be(self, home):
        info = json.dumps(json.loads(OWN_INFO) | {"data_end": "2020-01-01T00:00:00Z"})
        with stub((200, info), (200, info), (200, explained_as(make_explanation()))) as url:
            ran = ask("explain", home, url)
        assert "No forecast now: the champion's data end" in ran.words
        assert "Price forecast" in ran.words

    def test_without_features_there_is_nothing_to_explain(self, tmp_path):
        make_home(tmp_path, BARS, stored=BARS - 30)
        ran = ask("explain", tmp_path, "http://127.0.0.1:1")
        assert (ran.code, ran.err) == (0, "")
        assert "No forecast now: the newest features are" in ran.words
        answer = ask("explain", tmp_path, "http://127.0.0.1:1", "--json").json
        assert answer["explanation"] is None

    def test_features_that_are_not_warm_are_said_to_be(self, tmp_path):
        make_home(tmp_path, 100)
        with stub((200, OWN_INFO)) as url:
            ran = ask("explain", tmp_path, url)
        assert (ran.code, ran.out) == (2, "")
        assert "nothing was learnt that could be explained" in ran.err

    @pytest.mark.parametrize(
        "why", ["The explainer is away: it starts, or starts again.", "The explainer loads the bundle that is served."]
    )
    def test_an_explainer_that_is_away_or_loads_is_told(self, home, why):
        refused = (503, json.dumps({"error": why}), {"retry-after": "3600"})
        with stub((200, OWN_INFO), (200, OWN_INFO), refused) as url:
            ran = ask("explain", home, url)
        assert (ran.code, ran.out) == (1, "")
        assert f"cannot answer now: {why}" in ran.err
        assert "start an explainer beside the predictor" in ran.err
