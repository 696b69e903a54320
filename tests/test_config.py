"""Settings: where they come from, which one wins, how a wrong one is named, and that no secret gets out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryptosentinel.config import Settings, load_settings, parse_assignment, setting_names
from cryptosentinel.errors import SettingsError

SECRET = "sk-Zq7-never-shown"


def load(*, yaml: str | None = None, into: Path | None = None, **given: Any) -> Settings:
    """Settings from a file of this text, these variables (without prefix) and these overrides."""
    path = None
    if yaml is not None:
        assert into is not None
        path = into / "settings.yaml"
        path.write_text(yaml, encoding="utf-8")
    environ = {f"CRYPTOSENTINEL_{name}": text for name, text in given.pop("env", {}).items()}
    return load_settings(config=path, environ=environ, **given)


def complaint(**given: Any) -> str:
    """What `load` says is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return str(caught.value)


def test_later_sources_win(tmp_path: Path) -> None:
    yaml = "training: {window_days: 1, seed: 1, threads: 1}"
    env = {"TRAINING__WINDOW_DAYS": "2", "TRAINING__SEED": "2"}
    training = load(yaml=yaml, into=tmp_path, env=env, overrides={"training.window_days": "3"}).training
    assert (training.window_days, training.seed, training.threads) == (3, 2, 1)


def test_a_value_that_is_overridden_need_not_be_right(tmp_path: Path) -> None:
    env = {"TRAINING__SEED": "5"}
    assert load(yaml="training: {seed: none}", into=tmp_path, env=env).training.seed == 5


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("log_level: debug")
    assert load_settings(environ={"CRYPTOSENTINEL_CONFIG": str(path)}).log_level == "debug"
    assert load_settings(environ={"CRYPTOSENTINEL_CONFIG": ""}).log_level == "info"


def test_mappings_merge_key_by_key_whatever_their_case(tmp_path: Path) -> None:
    yaml = "storage: {options: {AWS_REGION: eu, AWS_ALLOW_HTTP: true}}"
    env = {"STORAGE__OPTIONS__AWS_REGION": "us"}
    options = load(yaml=yaml, into=tmp_path, env=env).storage.options
    assert {name: secret.get_secret_value() for name, secret in options.items()} == {
        "AWS_REGION": "us",
        "AWS_ALLOW_HTTP": "true",
    }
    options = load(yaml=yaml, into=tmp_path, env=env, overrides={"storage.options.AWS_REGION": "asia"}).storage.options
    assert options["AWS_REGION"].get_secret_value() == "asia"


def test_a_group_may_be_given_whole_or_with_nothing_in_it(tmp_path: Path) -> None:
    assert load(env={"MARKET": "{asset: ethereum, coingecko: {timeout_s: 3}}"}).market.coingecko.timeout_s == 3
    assert load(yaml="market:\ntraining:\n  # seed: 1\n", into=tmp_path) == Settings()
    assert load(yaml="", into=tmp_path) == Settings()


@pytest.mark.parametrize("text", ["random_walk,ridge", "random_walk, ridge", "[random_walk, ridge]"])
def test_a_list_is_written_with_commas_or_brackets(text: str) -> None:
    assert load(env={"TRAINING__CANDIDATES": text}).training.candidates == ("random_walk", "ridge")


@pytest.mark.parametrize("key", ["0123", "1e5", "true", "null", "2024-01-01", "*a", "%x"])
def test_text_from_the_environment_stays_text(key: str) -> None:
    secret = load(env={"MARKET__COINGECKO__API_KEY": key}).market.coingecko.api_key
    assert secret is not None
    assert secret.get_secret_value() == key


def test_empty_means_none_where_a_setting_may_be_left_out_and_is_an_error_elsewhere() -> None:
    env = {
        "SERVING__URL": "",
        "STORAGE__URI": "",
        "MARKET__COINGECKO__API_KEY": "",
        "MARKET__EXCHANGE__BACKFILL_ID": "",
    }
    settings = load(env=env)
    assert (settings.serving.url, settings.storage.uri, settings.market.coingecko.api_key) == (None, None, None)
    assert settings.market.exchange.backfill_id == ""
    assert "'CRYPTOSENTINEL_TRAINING__SEED' in the environment is empty" in complaint(env={"TRAINING__SEED": ""})


def test_what_kubernetes_says_of_services_of_our_name_is_no_setting() -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "DASHBOARD_SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "DASHBOARD_PORT": "tcp://10.0.0.1:80",
        "DASHBOARD_PORT_80_TCP": "tcp://10.0.0.1:80",
        "DASHBOARD_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load(env=links) == Settings()


def test_a_tilde_is_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert load(overrides={"home": "~/data"}).home == Path("/home/ada/data")


def test_an_unknown_setting_is_named_as_it_was_written(tmp_path: Path) -> None:
    assert complaint(env={"TRAINING__WINDOW_DAY": "3"}) == (
        "Unknown setting 'CRYPTOSENTINEL_TRAINING__WINDOW_DAY' in the environment. "
        "Did you mean 'CRYPTOSENTINEL_TRAINING__WINDOW_DAYS'?"
    )
    assert complaint(yaml="training: {window_day: 3}", into=tmp_path) == (
        f"Unknown setting 'training.window_day' in {tmp_path}/settings.yaml. Did you mean 'training.window_days'?"
    )
    assert complaint(overrides={"training.window_day": 3}) == (
        "Unknown setting '--set training.window_day' on the command line. Did you mean '--set training.window_days'?"
    )
    assert "'CRYPTOSENTINEL_TRAINING__SEED'" in complaint(env={"TRAINING_SEED": "3"})
    assert "`cryptosentinel settings`" in complaint(env={"QUUX": "3"})


def test_a_malformed_setting_is_named_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    assert complaint(env={"TRAINING__SEED": "x"}) == (
        "Setting 'CRYPTOSENTINEL_TRAINING__SEED' in the environment must be a valid integer (given: 'x')."
    )
    assert complaint(yaml="training: {window_days: -3}", into=tmp_path) == (
        f"Setting 'training.window_days' in {path} must be greater than 0 (given: -3)."
    )
    assert complaint(overrides={"market.source": "moon"}, flags={"market.source": "--source"}).startswith(
        "Setting '--source' on the command line must be auto, coingecko, "
    )
    assert "(item 2) must be 'random_walk', " in complaint(
        yaml="training: {candidates: [ridge, foo]}", into=tmp_path
    )  # the second of the list


def test_every_mistake_of_every_source_is_told_at_once(tmp_path: Path) -> None:
    said = complaint(yaml="trainig: {}\nalerts: 5", into=tmp_path, env={"HOMES": "x"}, overrides={"log_level": "loud"})
    assert [line.split("'")[1] for line in said.splitlines()] == [
        "trainig",
        "alerts",
        "CRYPTOSENTINEL_HOMES",
        "--set log_level",
    ]


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("market: bitcoin", "'market' in FILE is a group and has no value of its own; set 'market.source'"),
        ("market: [bitcoin]", "'market' in FILE is a group"),
        ("storage: {options: abc}", "'storage.options' in FILE is a group"),
        ("1: x", "Unknown setting '1' in FILE"),
        ("true: x", "Unknown setting 'True' in FILE"),
        ("market: {2: x}", "Unknown setting 'market.2' in FILE"),
        ("market: {asset: {a: b}}", "'market.asset' in FILE must be text"),
        ("market: {asset: 5}", "'market.asset' in FILE must be text (put it in quotes) (given: 5)"),
        ("training: {candidates: 5}", "'training.candidates' in FILE must be a list"),
        ("training: {candidates: [ridge]}", "must contain random_walk"),
        ("training: {candidates: [random_walk, random_walk]}", "names a candidate twice"),
        ("training: {window_days: .inf}", "must be a finite number"),
        ("training: {seed: }", "'training.seed' in FILE is empty"),
        ("schedules: {feature: '*/5 * * * *'}", "must have six fields, seconds first"),
        ("market: {source: 'file:'}", "file: must be followed by a path"),
        ("market: {source: 'simulated:x'}", "simulated: must be followed by a whole number"),
        ("- a\n- b", "FILE must hold names and values, not one list"),
        ("just text", "FILE must hold names and values, not one str"),
        ("market: {a: 1}\nmarket: {b: 2}", "FILE is not YAML: 'market' is there twice (line 2, column 1)"),
        ("market: {asset: a", "FILE is not YAML: expected ',' or '}'"),
        ("home: 2024-99-99", "FILE is not YAML: it holds something that cannot be read"),
        ("home: !!int x", "FILE is not YAML: it holds something that cannot be read"),
        ("home: a\0b", "FILE is not YAML: it holds something that cannot be read"),
        ("home: " + "[" * 1500, "FILE is not YAML"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, yaml: str, said: str) -> None:
    assert said.replace("FILE", str(tmp_path / "settings.yaml")) in complaint(yaml=yaml, into=tmp_path)


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    for path, said in [(tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (binary, "is not text")]:
        with pytest.raises(SettingsError, match=said) as caught:
            load_settings(config=path, environ={})
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "yaml",
    [
        f"market: {{coingecko: {{api_key: [{SECRET}]}}}}",
        f"market: {{coingecko: {{api_key: {{a: {SECRET}}}}}}}",
        f"market: {{coingecko: {SECRET}}}",
        f"market: {SECRET}",
        f"storage: {{options: {SECRET}}}",
        f"storage: {{options: {{AWS_SECRET_ACCESS_KEY: [{SECRET}]}}}}",
        f"market:\n  coingecko:\n    api_key: '{SECRET}\n",
        f"market:\n  coingecko:\n    api_key: *{SECRET}\n",
        f"market:\n  coingecko:\n    api_key: !{SECRET}\n",
        f"market:\n  coingecko:\n    apikey: {SECRET}\n",
    ],
)
def test_no_complaint_shows_a_secret(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(yaml=yaml, into=tmp_path)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_neither_a_variable_nor_a_flag_shows_a_secret() -> None:
    assert SECRET not in complaint(env={"STORAGE__OPTIONS": f"{{AWS_SECRET_ACCESS_KEY: {SECRET}"})
    for text in (f"market.coingecko.api_key {SECRET}", f"market.coingecko.api_key:{SECRET}", f"a=[{SECRET}"):
        with pytest.raises(SettingsError) as caught:
            parse_assignment(text)
        assert SECRET not in str(caught.value)


def test_settings_never_show_a_secret() -> None:
    settings = load(env={"MARKET__COINGECKO__API_KEY": SECRET, "STORAGE__OPTIONS__AWS_SECRET_ACCESS_KEY": SECRET})
    shown = [repr(settings), str(settings), settings.public_json(), str(settings.masked()), settings.model_dump_json()]
    assert not [text for text in shown if SECRET in text]
    assert '"api_key"' not in settings.public_json()
    assert "**********" in str(settings.masked())
    with pytest.raises(ValidationError) as caught:
        Settings(storage={"options": {"AWS_SECRET_ACCESS_KEY": [SECRET]}})
    assert SECRET not in str(caught.value)


NUMBERS = st.integers(1, 280)


@given(
    window_days=NUMBERS,
    horizon=NUMBERS,
    asset=st.from_regex(r"[a-z0-9-]+", fullmatch=True),
    price_move=st.floats(0.01, 9),
)
def test_public_json_gives_the_settings_back(window_days: int, horizon: int, asset: str, price_move: float) -> None:
    settings = load(
        overrides={
            "training.window_days": window_days,
            "forecast": {"horizon_bars": horizon},
            "market.asset": asset,
            "alerts.price_move_24h": price_move,
            "market.coingecko.api_key": SECRET,
        }
    )
    again = load(overrides=json.loads(settings.public_json()))
    assert again.model_dump(exclude={"market": {"coingecko"}}) == settings.model_dump(exclude={"market": {"coingecko"}})
    assert again.market.coingecko.api_key is None


def test_a_mapping_that_is_wrong_as_a_whole_is_named_by_what_was_written_of_it() -> None:
    with pytest.raises(SettingsError, match=r"'--set kubeflow.secret_env.KEY' .* needs kubeflow.secret"):
        load(overrides={"kubeflow": {"secret_env": {"KEY": "key"}}})


def test_what_is_set_of_a_step_leaves_its_other_defaults() -> None:
    train = load(overrides={"kubeflow.steps.train.cpu_request": "2"}).kubeflow.steps.train
    assert (train.cpu_request, train.memory_request, train.timeout_s) == ("2", "512Mi", 3600)


def test_an_assignment_is_a_name_and_a_value() -> None:
    assert parse_assignment("training.seed=30") == ("training.seed", "30")
    assert parse_assignment(" market.source = file:a=b.csv ") == ("market.source", "file:a=b.csv")
    assert parse_assignment("training.candidates=[random_walk, ridge]")[1] == ["random_walk", "ridge"]
    assert parse_assignment("serving.url=") == ("serving.url", "")
    for text in ("training.seed", "=3", ""):
        with pytest.raises(SettingsError, match="gives no value"):
            parse_assignment(text)


def test_every_setting_has_a_name_that_sets_it() -> None:
    defaults = Settings()
    names = list(setting_names())
    assert "storage.options" in names
    assert "market.coingecko.api_key" in names
    for name in names:
        value: Any = defaults
        for part in name.split("."):
            value = getattr(value, part)
        if value is not None and name != "storage.options":
            assert load(overrides={name: value}) == defaults
