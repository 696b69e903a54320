"""The settings of monitoring: where each step of a pipeline sends its metrics."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from cryptosentinel.config.group import Group, OrNone

# Those that our own metrics and Prometheus give.
_TAKEN = frozenset({"job", "instance", "market", "step", "part", "kind", "level", "severity", "model"})


class MonitoringSettings(Group):
    """Where each step sends its metrics when it has ended: nowhere, unless one of the two addresses is set."""

    pushgateway_url: Annotated[str | None, OrNone] = Field(
        None, description="of a Prometheus Pushgateway, e.g. http://pushgateway.monitoring:9091"
    )
    pushgateway_user: Annotated[str | None, OrNone] = Field(None, description="for basic authentication there")
    pushgateway_password: Annotated[SecretStr | None, OrNone] = None
    otlp_url: Annotated[str | None, OrNone] = Field(
        None, description="of an OpenTelemetry collector that takes OTLP over HTTP, e.g. http://collector:4318"
    )
    job: str = Field("cryptosentinel", min_length=1, description="the label `job`, and OpenTelemetry's service.name")
    labels: dict[str, str] = Field({}, description="labels of every series, e.g. namespace")
    timeout_s: float = Field(3.0, gt=0, le=30, description="the longest that a step waits for either")

    @field_validator("pushgateway_url", "otlp_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")) or not urlsplit(value).hostname:
            raise ValueError("must begin with http:// or https://, and name a host")
        if "@" in urlsplit(value).netloc:  # this setting is no secret: every run shows it
            raise ValueError("must not hold a password: the gateway's is monitoring.pushgateway_password")
        return value.rstrip("/")

    @field_validator("pushgateway_password")
    @classmethod
    def _is_somebodys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("pushgateway_user") is None:
            raise ValueError("needs monitoring.pushgateway_user: whose password it is")
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return {name: str(text) for name, text in value.items()} if isinstance(value, dict) else value

    @field_validator("labels")
    @classmethod
    def _can_be_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
                raise ValueError("must be names that Prometheus takes: letters, digits and underscores")
            if name in _TAKEN:
                raise ValueError(f"must be other names than those that are taken: {', '.join(sorted(_TAKEN))}")
        return value
