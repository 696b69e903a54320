"""`up` on a market that goes on: schedules run and what is asked for, and a run that fails does not end them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from cryptosentinel.runs.local import LocalRunner
from tests.pipelines.builders import command, environment, processes_of, started, wait_until

SETTINGS: dict[str, object] = {
    "market.coingecko.base_url": "http://127.0.0.1:9",  # nobody listens there
    "serving.explainer_url": "http://127.0.0.1:9",  # one elsewhere, so that none is started here
    "training.window_days": 1,
    "training.min_rows": 5_000,
    "schedules.feature": "*/10 * * * * *",
    "schedules.inference": "5-59/10 * * * * *",
    "schedules.training": "0 0 0 29 2 *",
}


def test_up_runs_on_through_failures_until_it_is_told_to_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(command("up", home=home, settings=SETTINGS), environment(tmp_path / "scratch")) as up:
        begun = up.wait_for("the next start goes on from here.")
        assert "CoinGecko" in up.text
        assert "using a SIMULATED market. Its prices are invented." in up.text
        assert "Next runs: feature " in up.text

        up.wait_for(" feature (", begun)
        done = up.wait_for(" inference (", begun)
        up.wait_for(": forecast for ", done)

        runner = LocalRunner(home / "simulated-0-bitcoin-usd-5m")
        asked = runner.ask("drift", "ana")
        up.wait_for(" drift (", done)
        answer = runner.answer(asked)
        assert answer is not None
        assert (answer.state, answer.user) == ("succeeded", "ana")
        assert "no baseline yet" in answer.told[0]
        assert {run.by for run in runner.runs()} == {"start", "schedule", "user"}

        marker = home / "simulated-0-bitcoin-usd-5m" / "store" / "store.json"
        whole = marker.read_text()
        marker.write_text(json.dumps(json.loads(whole) | {"format_version": 99}))
        failed = up.wait_for(" failed: Step ", done)
        up.wait_for("has format version 99", failed)
        marker.write_text(whole)
        mended = up.wait_for(" feature (", failed)

        assert up.end(signal.SIGTERM) == 143
        assert " failed: " not in up.text[mended:]
        assert [run.failed_step for run in runner.runs() if run.state == "failed"][-1] in {
            "ingest",
            "featurize",
            "predict",
        }
        assert "`cryptosentinel up`" in runner.refusal("feature")
        assert "Traceback" not in up.text
        wait_until(lambda: not processes_of(home))
        assert processes_of(home) == []
