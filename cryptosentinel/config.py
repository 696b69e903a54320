"""Every setting, in one typed object.

Later wins: defaults, then a YAML file (``--config`` or ``CRYPTOSENTINEL_CONFIG``), then environment variables
(``CRYPTOSENTINEL_TRAINING__WINDOW_DAYS=365``), then what the command line says. Unknown or malformed settings are
errors that name the setting. Secrets are read from the environment or the file, and never printed or passed on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cryptosentinel.errors import SettingsError

ENV_PREFIX = "CRYPTOSENTINEL_"
CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
# Read by the tests and the test data loader, not by the program.
_NOT_SETTINGS = {CONFIG_VARIABLE, f"{ENV_PREFIX}TEST_DATA"}

IntervalName = Literal["1m", "5m", "15m", "1h"]
CandidateName = Literal["random_walk", "ridge", "random_forest", "gradient_boosting", "xgboost"]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)


class CoinGeckoSettings(_Group):
    """How to reach CoinGecko."""

    base_url: str = "https://api.coingecko.com/api/v3"
    api_key: SecretStr | None = Field(None, description="demo or pro key; without one the public limit applies")
    api_key_header: str = "x-cg-demo-api-key"
    timeout_s: float = Field(10.0, gt=0)
    budget_s: float = Field(60.0, gt=0, description="time for one request with all its retries")
    max_attempts: int = Field(5, ge=1)


class ExchangeSettings(_Group):
    """How to reach an exchange through ccxt, as a source or as the backfill behind CoinGecko."""

    backfill_id: str = Field("binance", description="ccxt id of the exchange behind CoinGecko; empty for none")
    symbol: str = "BTC/USDT"
    timeout_s: float = Field(10.0, gt=0)
    max_attempts: int = Field(5, ge=1)


class FileSettings(_Group):
    """How to replay a recorded market."""

    replay_bars: int = Field(48, ge=0, description="bars held back at the end and stepped through")


class MarketSettings(_Group):
    """Where bars come from."""

    source: str = Field("auto", description="auto, coingecko, exchange:<id>, file:<path> or simulated[:<seed>]")
    asset: str = Field("bitcoin", pattern=r"^[a-z0-9-]+$", description="CoinGecko's id of the asset")
    currency: str = Field("usd", pattern=r"^[a-z]{3,5}$")
    interval: IntervalName = "5m"
    probe_timeout_s: float = Field(5.0, gt=0, le=10, description="how long `auto` waits to learn what is reachable")
    coingecko: CoinGeckoSettings = CoinGeckoSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    file: FileSettings = FileSettings()

    @field_validator("source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind not in {"auto", "coingecko", "exchange", "file", "simulated"}:
            raise ValueError("must be auto, coingecko, exchange:<id>, file:<path> or simulated[:<seed>]")
        if kind in {"exchange", "file"} and not rest:
            raise ValueError(f"{kind}: must be followed by {'an exchange id' if kind == 'exchange' else 'a path'}")
        if kind == "simulated" and rest and not re.fullmatch(r"\d+", rest):
            raise ValueError("simulated: must be followed by a whole number, the seed")
        return value


class ForecastSettings(_Group):
    """What is forecast."""

    horizon_bars: int = Field(6, ge=1, le=288, description="how many bars ahead")
    flat_move: float = Field(0.001, ge=0, description="a smaller relative move of the price counts as flat")
    settle_tolerance_s: int = Field(300, ge=0, description="how far from the target the actual price may lie")
    missed_after_s: int = Field(3600, ge=0, description="how long after the target a missing price is waited for")
    max_data_age_s: int = Field(900, ge=0, description="older features are not forecast from")


class TrainingSettings(_Group):
    """How models are trained."""

    window_days: float = Field(90.0, gt=0, description="how much history a training run sees")
    preset: Literal["default", "classic"] = "default"
    candidates: tuple[CandidateName, ...] = get_args(CandidateName)
    holdout_share: float = Field(0.2, gt=0, lt=1, description="the last share of the window, for evaluation only")
    min_rows: int = Field(500, ge=50, description="fewer training rows: the random walk stays champion")
    seed: int = 0
    threads: int = Field(2, ge=1, description="threads one fit may use")

    @field_validator("candidates")
    @classmethod
    def _has_random_walk(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "random_walk" not in value:
            raise ValueError("must contain random_walk: every candidate is measured against it")
        if len(set(value)) != len(value):
            raise ValueError("names a candidate twice")
        return value


class ServingSettings(_Group):
    """The predictor."""

    model_name: str = Field("cryptosentinel", pattern=r"^[a-z0-9][a-z0-9-]*$")
    host: str = "127.0.0.1"
    http_port: int = Field(8085, ge=0, le=65535, description="0: any free port")
    grpc_port: int = Field(8086, ge=0, le=65535, description="0: any free port")
    url: str | None = Field(None, description="of a predictor that runs elsewhere, e.g. in the cluster")
    timeout_s: float = Field(10.0, gt=0)
    reload_s: float = Field(2.0, gt=0, description="how often the local predictor asks for a new champion")


class DashboardSettings(_Group):
    """The Streamlit dashboard."""

    host: str = "127.0.0.1"
    port: int = Field(8501, ge=0, le=65535, description="0: any free port")


class AlertSettings(_Group):
    """When to raise an alert."""

    price_move_24h: float = Field(0.05, gt=0)
    volatility: float = Field(0.5, gt=0, description="annualised volatility over 20 bars")
    forecast_deviation: float = Field(0.03, gt=0, description="forecast against price")
    drawdown: float = Field(0.10, gt=0, description="from the highest close of the last 24 hours")


class ScheduleSettings(_Group):
    """Cron expressions with six fields (seconds first), in UTC."""

    feature: str = "0 */5 * * * *"
    training: str = "0 16,46 * * * *"
    inference: str = "0 2-59/5 * * * *"

    @field_validator("feature", "training", "inference")
    @classmethod
    def _six_fields(cls, value: str) -> str:
        if len(value.split()) != 6:
            raise ValueError("must have six fields, seconds first")
        return value


class StorageSettings(_Group):
    """Where tables and bundles live."""

    uri: str | None = Field(None, description="s3://, gs://, az:// or a folder; default: inside `home`")
    options: dict[str, SecretStr] = Field({}, description="object store options, e.g. AWS_ENDPOINT_URL")


class Settings(BaseSettings):
    """All settings. Build it with `load_settings`, which turns what is wrong into a `SettingsError`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    home: Path = Field(Path(".cryptosentinel"), description="folder of everything this machine keeps")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    market: MarketSettings = MarketSettings()
    forecast: ForecastSettings = ForecastSettings()
    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()
    dashboard: DashboardSettings = DashboardSettings()
    alerts: AlertSettings = AlertSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    storage: StorageSettings = StorageSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives: `load_settings` merges file, environment and command line itself."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def public_json(self) -> str:
        """What differs from the defaults, without secrets, as JSON: a pipeline run's `settings` parameter."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(_without_secrets(changed), sort_keys=True)

    def masked(self) -> dict[str, Any]:
        """All settings with secrets masked, for people."""
        return self.model_dump(mode="json")


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merges the defaults, the YAML file, the environment and `overrides` (the command line), later wins.

    Args:
        config: a YAML file; by default the one that ``CRYPTOSENTINEL_CONFIG`` names, if any.
        environ: by default this process's environment.
        overrides: dotted names (``{"training.window_days": 30}``) or nested mappings.

    Raises:
        SettingsError: a setting is unknown or malformed, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    merged: dict[str, Any] = {}
    # Each layer: its values, and how a person wrote the name of a setting in it.
    layers: list[tuple[dict[str, Any], str]] = []
    if path is not None:
        layers.append((_read_yaml(path), str(path)))
    layers.append((_from_environment(environ), "the environment"))
    layers.append((_nested(overrides or {}), "the command line"))
    for values, origin in layers:
        _merge(merged, values)
        try:
            settings = Settings(**merged)
        except ValidationError as error:
            raise SettingsError(_explain(error, origin)) from None
    return settings


def parse_assignment(text: str) -> tuple[str, Any]:
    """Reads ``training.window_days=30`` from the command line; the value is YAML.

    Raises:
        SettingsError: there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"'{text}' is not a setting.", remedy="Write name=value, e.g. training.window_days=30.")
    return name.strip(), _yaml_value(value)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read the settings file {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {path} must hold names and values, not a {type(values).__name__}.")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    dotted = {
        name.removeprefix(ENV_PREFIX).lower().replace("__", "."): _environment_value(name, text)
        for name, text in sorted(environ.items())
        if name.startswith(ENV_PREFIX) and name not in _NOT_SETTINGS
    }
    return _nested(dotted)


def _environment_value(name: str, text: str) -> Any:
    try:
        return _yaml_value(text)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _yaml_value(text: str) -> Any:
    # A leading @, % or the like is text to a person, though not to YAML; lists and mappings must parse.
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        if text[:1] in "[{":
            raise SettingsError(f"'{text}' is not a list or mapping.") from None
        return text


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        *groups, leaf = name.split(".")
        for group in reversed([*groups, leaf]):
            value = {group: value}  # noqa: PLW2901
        _merge(result, value)
    return result


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _explain(error: ValidationError, origin: str) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
        if problem["type"] == "extra_forbidden":
            lines.append(f"Unknown setting '{name}' in {origin}.{_did_you_mean(name)}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            secret = _is_secret(name)
            given = "" if secret else f" (given: {problem['input']!r})"
            lines.append(f"Setting '{name}' in {origin}: {message[:1].lower()}{message[1:]}{given}.")
    return "\n".join(lines)


def _did_you_mean(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(setting_names()), n=1)
    return f" Did you mean '{close[0]}'?" if close else " `cryptosentinel settings` lists all of them."


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from setting_names(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _is_secret(name: str) -> bool:
    return name.endswith("api_key") or name.startswith("storage.options")


def _without_secrets(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if _is_secret(path):
            continue
        kept[name] = _without_secrets(value, f"{path}.") if isinstance(value, Mapping) else value
    return kept
