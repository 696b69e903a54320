"""What every component does around its call of the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.marks import FAILURE_MARK, TOLD_MARK
from components.step import log_metrics, step, tell, write_text
from cryptosentinel.config import load_settings
from cryptosentinel.errors import MarketDataError, NotEnoughDataError, SettingsError


def settings_in(home: Path, **overrides: object) -> str:
    given = {"home": str(home), "market.source": "simulated:3"} | overrides
    return load_settings(environ={}, overrides=given).public_json()


def failure(printed: str) -> dict[str, object]:
    line = next(line for line in printed.splitlines() if line.startswith(FAILURE_MARK))
    return json.loads(line.removeprefix(FAILURE_MARK))


def test_a_step_works_in_the_market_that_its_settings_name(tmp_path: Path) -> None:
    with step("ingest", settings_in(tmp_path), "2025-01-06T00:00:00") as workspace:
        assert workspace.root == tmp_path / "simulated-3-bitcoin-usd-5m"
        assert workspace.source.now().isoformat() == "2025-01-06T00:00:00+00:00"


def test_the_environment_cannot_override_what_the_run_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings_in(tmp_path, **{"training.window_days": 7})
    for name, value in {
        "HOME": "/elsewhere",
        "MARKET__SOURCE": "coingecko",
        "TRAINING__WINDOW_DAYS": "365",
        "SERVING__URL": "http://elsewhere",
        "TRAINING__PRESET": "classic",
    }.items():
        monkeypatch.setenv(f"CRYPTOSENTINEL_{name}", value)
    with step("ingest", given, "") as workspace:
        assert workspace.settings == load_settings(environ={}, overrides=json.loads(given))


def test_secrets_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOSENTINEL_MARKET__COINGECKO__API_KEY", "s3cret")
    with step("ingest", settings_in(tmp_path), "") as workspace:
        key = workspace.settings.market.coingecko.api_key
        assert key is not None
        assert key.get_secret_value() == "s3cret"


def test_a_failure_names_the_step_its_cause_and_the_remedy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MarketDataError), step("ingest", settings_in(tmp_path), ""):
        raise MarketDataError("The file is empty.", remedy="Name another.")
    printed = capfd.readouterr()
    assert failure(printed.out) == {
        "step": "ingest",
        "cause": "MarketDataError",
        "message": "The file is empty.",
        "remedy": "Name another.",
        "exit_code": 2,
    }
    assert "Traceback" in printed.err


def test_a_failure_that_nobody_foresaw_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), step("train", settings_in(tmp_path), ""):
        raise ZeroDivisionError("division by zero")
    told = failure(capfd.readouterr().out)
    assert (told["message"], told["exit_code"]) == ("ZeroDivisionError: division by zero", 1)
    assert "log has the traceback" in str(told["remedy"])


@pytest.mark.parametrize("settings", ["{", '{"training": {"window_dayz": 3}}', '{"training": {"window_days": -1}}'])
def test_settings_that_are_none_are_the_users_input(settings: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError), step("drift", settings, ""):
        pass
    assert failure(capfd.readouterr().out)["exit_code"] == 2


def test_a_message_of_several_lines_stays_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotEnoughDataError), step("train", settings_in(tmp_path), ""):
        raise NotEnoughDataError("Rows\nof bars", have=1, need=2)
    assert failure(capfd.readouterr().out)["message"] == "Rows\nof bars: have 1 rows, need at least 2."


def test_a_sentence_reaches_whoever_runs_the_pipeline(capfd: pytest.CaptureFixture[str]) -> None:
    tell("register", "version 1\npromoted")
    line = capfd.readouterr().out.rstrip("\n")
    assert json.loads(line.removeprefix(TOLD_MARK)) == {"step": "register", "text": "version 1\npromoted"}


def test_figures_that_are_not_finite_are_left_out() -> None:
    metrics = dsl.Metrics()
    log_metrics(metrics, {"rmse": 0.5, "r2": float("nan"), "skill": float("-inf"), "rows": 3})
    assert metrics.metadata == {"rmse": 0.5, "rows": 3}


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(dsl.Markdown(uri=str(tmp_path / "report")), "Größe")
    assert (tmp_path / "report").read_bytes() == "Größe".encode()
