"""The settings of alerts: when one is raised, and who is told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from cryptosentinel.config.group import Group, OrNone

OptionalSecret = Annotated[SecretStr | None, OrNone]


class EmailSettings(Group):
    """How alerts go out by e-mail: to each recipient a message of its own."""

    to: tuple[str, ...] = Field((), description="recipients; none: no e-mail is sent")
    host: Annotated[str | None, OrNone] = Field(None, description="the mail server")
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Annotated[str | None, OrNone] = None
    password: OptionalSecret = None
    sender: str = "cryptosentinel@localhost"

    @field_validator("to", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("to", "sender")
    @classmethod
    def _addresses(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for address in (value,) if isinstance(value, str) else value:
            if address.count("@") != 1 or any(letter.isspace() for letter in address):
                raise ValueError("must be e-mail addresses: name@example.org")
        return value

    @field_validator("host")
    @classmethod
    def _needed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("to") and value is None:
            raise ValueError("must name the mail server, as there are recipients")
        return value


class AlertSettings(Group):
    """When to raise an alert, and who is told."""

    price_move_24h: float = Field(0.05, gt=0)
    volatility: float = Field(0.5, gt=0, description="annualised volatility over 20 bars")
    forecast_deviation: float = Field(0.03, gt=0, description="forecast against price")
    drawdown: float = Field(0.10, gt=0, description="from the highest close of the last 24 hours")
    coverage_loss: float = Field(0.10, gt=0, lt=0.8, description="how far the 80% intervals hold less than 80%")
    coverage_days: float = Field(7.0, gt=0, description="settled forecasts that coverage is counted on")
    stale_bars_s: float = Field(900.0, gt=0, description="age of the newest bar's close")
    feature_lag_s: float = Field(900.0, gt=0, description="how far features are behind the bars")
    forecast_late_s: float = Field(1800.0, gt=0, description="age of the newest forecast")
    training_late_s: float = Field(7200.0, gt=0, description="since a training last registered a version")
    failed_runs: int = Field(2, ge=1, description="of one step in a row, each try counted; more raise an alert")
    missed_runs: int = Field(3, ge=1, description="times of a schedule at which its pipeline did not begin, in a row")
    feature_store_lag_s: float = Field(3600.0, gt=0, description="how long features wait for Hopsworks to take them")
    clears_at: float = Field(
        0.9, gt=0, le=1, description="an alert ends once its figure is within this share of its limit"
    )
    cool_down_s: float = Field(
        3600.0, ge=0, description="after it ended, it is not raised again for so long, but as a worse one"
    )

    webhook_url: OptionalSecret = Field(None, description="takes a POST with JSON for each event")
    webhook_token: OptionalSecret = Field(None, description="sent to it as a bearer token")
    slack_url: OptionalSecret = Field(None, description="an incoming webhook of Slack")
    teams_url: OptionalSecret = Field(None, description="a Teams workflow that posts what a webhook receives")
    alertmanager_url: Annotated[str | None, OrNone] = Field(None, description="e.g. http://alertmanager:9093")
    alertmanager_token: OptionalSecret = None
    alertmanager_hold_s: float = Field(
        3600.0, ge=60, description="how long Alertmanager holds an alert that is not renewed; each inference step does"
    )
    email: EmailSettings = EmailSettings()
    timeout_s: float = Field(10.0, gt=0, le=60, description="for one attempt to tell somebody")
    retry_s: float = Field(60.0, gt=0, description="until the second attempt; each next one waits twice as long")
    retry_max_s: float = Field(900.0, gt=0, description="the longest wait between two attempts")

    @field_validator("webhook_url", "slack_url", "teams_url", "alertmanager_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        if given is not None and not given.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @field_validator("webhook_token", "alertmanager_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        # The HTTP library's own complaint would show it.
        if value is not None and not all("!" <= letter <= "~" for letter in value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces")
        return value
