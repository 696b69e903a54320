"""Every setting, in one typed object.

Later wins: defaults, then a YAML file (``--config`` or ``CRYPTOSENTINEL_CONFIG``), then environment variables
(``CRYPTOSENTINEL_TRAINING__WINDOW_DAYS=365``), then what the command line says. Unknown or malformed settings are
errors that name the setting. Secrets are read from the environment or the file, and never printed or passed on.
"""

from cryptosentinel.config.alerts import AlertSettings, EmailSettings
from cryptosentinel.config.groups import (
    CandidateName,
    CoinGeckoSettings,
    ConceptSettings,
    DashboardSettings,
    DriftSettings,
    ExchangeSettings,
    FileSettings,
    ForecastSettings,
    GateSettings,
    IntervalName,
    MarketSettings,
    RolloutSettings,
    ScheduleSettings,
    ServingSettings,
    StorageSettings,
    TrainingSettings,
)
from cryptosentinel.config.hopsworks import HopsworksSettings
from cryptosentinel.config.kubeflow import KubeflowSettings, StepSettings, TolerationSettings
from cryptosentinel.config.monitoring import MonitoringSettings
from cryptosentinel.config.retention import RetentionSettings
from cryptosentinel.config.settings import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    Settings,
    load_settings,
    parse_assignment,
    setting_names,
)

__all__ = [
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "AlertSettings",
    "CandidateName",
    "CoinGeckoSettings",
    "ConceptSettings",
    "DashboardSettings",
    "DriftSettings",
    "EmailSettings",
    "ExchangeSettings",
    "FileSettings",
    "ForecastSettings",
    "GateSettings",
    "HopsworksSettings",
    "IntervalName",
    "KubeflowSettings",
    "MarketSettings",
    "MonitoringSettings",
    "RetentionSettings",
    "RolloutSettings",
    "ScheduleSettings",
    "ServingSettings",
    "Settings",
    "StepSettings",
    "StorageSettings",
    "TolerationSettings",
    "TrainingSettings",
    "load_settings",
    "parse_assignment",
    "setting_names",
]
