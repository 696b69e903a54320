"""The settings of what is deleted once nobody needs it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cryptosentinel.config.group import Group, OrNone

Days = Annotated[float | None, OrNone]


class RetentionSettings(Group):
    """What is kept, and for how long; empty: for ever. What serves, or is still to be told, always stays."""

    bundles: int = Field(48, ge=1, description="newest versions whose bundles stay; of the others the figures do")
    champions: int = Field(5, ge=1, description="newest versions that were champion whose bundles stay, to go back to")
    min_age_days: float = Field(1.0, ge=0.1, description="what is younger stays, whatever the rest says")
    alerts_days: Days = Field(365.0, ge=1, description="alerts since they ended, with what was told of them")
    reports_days: Days = Field(365.0, ge=60, description="reports of the drift check; whole months go")
    forecasts_days: Days = Field(None, ge=60, description="settled forecasts; whole months go")
    bars_days: Days = Field(
        None, ge=60, description="bars and features; whole months go, and never what a training reads"
    )
    runs: int = Field(
        10, ge=2, description="newest runs of each pipeline whose logs and artifacts stay on this machine"
    )
    log_mb: float = Field(
        20.0, ge=1, description="a log of this machine that is larger begins anew; one before it stays"
    )
