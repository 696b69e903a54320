"""All settings in one object, and how they are read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from cryptosentinel.config import layers
from cryptosentinel.config.alerts import AlertSettings
from cryptosentinel.config.group import Group
from cryptosentinel.config.groups import (
    DashboardSettings,
    DriftSettings,
    ForecastSettings,
    GateSettings,
    LeaseSettings,
    MarketSettings,
    RolloutSettings,
    ScheduleSettings,
    ServingSettings,
    StorageSettings,
    TrainingSettings,
)
from cryptosentinel.config.hopsworks import HopsworksSettings
from cryptosentinel.config.kubeflow import KubeflowSettings
from cryptosentinel.config.monitoring import MonitoringSettings
from cryptosentinel.config.retention import RetentionSettings
from cryptosentinel.errors import SettingsError

ENV_PREFIX = "CRYPTOSENTINEL_"
CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
# The second is read by the tests.
_NOT_SETTINGS = frozenset({CONFIG_VARIABLE, f"{ENV_PREFIX}TEST_DATA"})
# A switch whose name people write as one word.
_ALSO = {f"{ENV_PREFIX}DASHBOARD_ACTIONS": f"{ENV_PREFIX}DASHBOARD__ACTIONS"}


class Settings(Group):
    """All settings. Build it with `load_settings`, which turns what is wrong into a `SettingsError`."""

    home: Path = Field(Path(".cryptosentinel"), description="folder of everything this machine keeps")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    market: MarketSettings = MarketSettings()
    forecast: ForecastSettings = ForecastSettings()
    training: TrainingSettings = TrainingSettings()
    gate: GateSettings = GateSettings()
    drift: DriftSettings = DriftSettings()
    serving: ServingSettings = ServingSettings()
    dashboard: DashboardSettings = DashboardSettings()
    alerts: AlertSettings = AlertSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    leases: LeaseSettings = LeaseSettings()
    rollout: RolloutSettings = RolloutSettings()
    storage: StorageSettings = StorageSettings()
    retention: RetentionSettings = RetentionSettings()
    hopsworks: HopsworksSettings = HopsworksSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    @field_validator("home")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser()

    def public_json(self) -> str:
        """All settings without secrets, as JSON: a pipeline run's `settings` parameter.

        `load_settings(overrides=json.loads(...))` gives the same settings back, but for the secrets, whatever the
        environment says where it is read.
        """
        return json.dumps(_without_secrets(self.model_dump(mode="json")), sort_keys=True)

    def masked(self) -> dict[str, Any]:
        """All settings with secrets masked, for people."""
        return self.model_dump(mode="json")


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Settings:
    """Merges the defaults, the YAML file, the environment and `overrides` (the command line); later wins.

    Args:
        config: a YAML file; by default the one that ``CRYPTOSENTINEL_CONFIG`` names, if any.
        environ: by default this process's environment.
        overrides: dotted names (``{"training.window_days": 30}``) or nested mappings.
        flags: what a person wrote for one of `overrides`, for messages: ``{"market.source": "--source"}``; ``--set
            NAME`` where it is not here.

    Raises:
        SettingsError: settings are unknown or malformed, or the file cannot be read. The message has a line for each,
            and names it as it was written: as a variable, as a key of the file, as a flag.
    """
    environ = {_ALSO.get(name, name): value for name, value in (os.environ if environ is None else environ).items()}
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    written = flags or {}
    return layers.merge(
        Settings,
        [
            *([layers.file_layer(path)] if path else []),
            layers.environment_layer(environ, ENV_PREFIX, _NOT_SETTINGS),
            layers.Layer(overrides or {}, lambda name: written.get(name, f"--set {name}"), "on the command line"),
        ],
    )


def parse_assignment(text: str) -> tuple[str, Any]:
    """Reads ``training.window_days=30`` from the command line; a value in brackets is a list or mapping in YAML.

    Raises:
        SettingsError: there is no ``=``, or what begins with a bracket is not YAML.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name:
        # Only the name: what comes behind it may be a secret.
        shown = (re.match(r"[\w.-]*", name) or [""])[0]
        raise SettingsError(f"'--set {shown}' gives no value.", remedy="Write NAME=VALUE: training.window_days=30.")
    return name, layers.read_text(value, f"'--set {name}'")


def setting_names() -> Iterator[str]:
    """The dotted name of every setting."""
    return (".".join(name) for name in layers.names(Settings))


def _without_secrets(values: Mapping[str, Any], group: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        name: _without_secrets(value, (*group, name)) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if not layers.is_secret(Settings, (*group, name))
    }
