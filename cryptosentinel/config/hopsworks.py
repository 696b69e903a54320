"""The settings of Hopsworks: which project, and what it is given there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from cryptosentinel.config.group import Group, OrNone


class HopsworksSettings(Group):
    """How to reach a Hopsworks project; used where `storage.backend` is hopsworks."""

    host: Annotated[str | None, OrNone] = Field(None, description="of Hopsworks, e.g. eu-west.cloud.hopsworks.ai")
    port: int = Field(443, ge=1, le=65535)
    project: Annotated[str | None, OrNone] = None
    api_key: Annotated[SecretStr | None, OrNone] = Field(
        None, description="with the scopes project, featurestore, kafka, job, dataset.*, modelregistry"
    )
    engine: Literal["python", "spark", "spark-no-metastore", "spark-delta"] = "python"
    verify_hostname: bool = Field(True, description="whether its certificate must be for `host`")
    feature_group: str = Field("crypto_features", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    feature_group_version: int = Field(1, ge=1, description="raise it when the features change")
    offline_every_hours: int = Field(1, ge=1, le=24, description="how often rows go on to its offline store")
    model: str = Field("cryptosentinel", pattern=r"^[A-Za-z0-9_]+$", description="the bundles' name in its registry")
    timeout_s: float = Field(60.0, gt=0, description="for one call; rows that were not taken by then wait")
    upload_timeout_s: float = Field(600.0, gt=0, description="for one bundle")
