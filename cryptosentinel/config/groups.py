"""The settings of what the library does, group by group; those of alerts are in `alerts`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from cryptosentinel.config.group import Group, OrNone

IntervalName = Literal["1m", "5m", "15m", "1h"]
Consequence = Literal["retrain", "widen", "random_walk"]
CandidateName = Literal["random_walk", "ridge", "random_forest", "gradient_boosting", "xgboost"]


class CoinGeckoSettings(Group):
    """How to reach CoinGecko."""

    base_url: str = "https://api.coingecko.com/api/v3"
    api_key: Annotated[SecretStr | None, OrNone] = Field(
        None, description="demo or pro key; without one the public limit applies"
    )
    api_key_header: str = "x-cg-demo-api-key"
    timeout_s: float = Field(10.0, gt=0)
    budget_s: float = Field(60.0, gt=0, description="time for one request with all its retries")
    max_attempts: int = Field(5, ge=1)


class ExchangeSettings(Group):
    """How to reach an exchange through ccxt, as a source or as the backfill behind CoinGecko."""

    backfill_id: str = Field("binance", description="ccxt id of the exchange behind CoinGecko; empty for none")
    symbol: str = "BTC/USDT"
    timeout_s: float = Field(10.0, gt=0)
    max_attempts: int = Field(5, ge=1)


class FileSettings(Group):
    """How to replay a recorded market."""

    replay_bars: int = Field(48, ge=0, description="bars held back at the end and stepped through")


class MarketSettings(Group):
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


class ForecastSettings(Group):
    """What is forecast."""

    horizon_bars: int = Field(6, ge=1, le=288, description="how many bars ahead")
    flat_move: float = Field(0.001, ge=0, description="a smaller relative move of the price counts as flat")
    settle_tolerance_s: int = Field(300, ge=0, description="how far from the target the actual price may lie")
    missed_after_s: int = Field(3600, ge=0, description="how long after the target a missing price is waited for")
    max_data_age_s: int = Field(900, ge=0, description="older features are not forecast from")
    max_model_age_days: float = Field(45.0, gt=0, description="a bundle whose data end longer ago does not forecast")
    calibration_days: float = Field(30.0, gt=0, description="settled forecasts that quantiles are calibrated on")
    adaptation_rate: float = Field(
        0.0002, ge=0, lt=1, description="how fast interval levels follow their own misses; 0: not at all"
    )


class TrainingSettings(Group):
    """How models are trained."""

    window_days: float = Field(90.0, gt=0, le=36_525, description="how much history a training run sees")
    preset: Literal["default", "classic"] = "default"
    candidates: tuple[CandidateName, ...] = get_args(CandidateName)
    folds: int = Field(4, ge=2, le=20, description="walk-forward folds, whose forecasts every choice is made on")
    thinning: int = Field(3, ge=1, description="fit on every so many rows; targets overlap")
    scheme: Literal["expanding", "rolling"] = "expanding"
    embargo_bars: int = Field(12, ge=0, description="bars left out before a fold, beyond the horizon")
    holdout_share: float = Field(0.2, gt=0, lt=1, description="the last share of the window, for evaluation only")
    holdout_days: float = Field(28.0, gt=0, description="the most that the last share may be")
    min_rows: int = Field(500, ge=50, description="fewer training rows: the random walk stays champion")
    seed: int = 0
    threads: int = Field(1, ge=1, description="threads one fit may use")

    @field_validator("candidates", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("candidates")
    @classmethod
    def _has_random_walk(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "random_walk" not in value:
            raise ValueError("must contain random_walk: every candidate is measured against it")
        if len(set(value)) != len(value):
            raise ValueError("names a candidate twice")
        return value


class GateSettings(Group):
    """What a new bundle must show before it serves."""

    alpha: float = Field(0.05, gt=0, lt=0.5, description="chance, in `budget_days`, that luck passes for information")
    budget_days: float = Field(365.0, gt=0, description="how long `alpha` must last")
    look_days: float = Field(7.0, gt=0, description="unseen data between two looks that are paid for")
    refresh_days: float = Field(7.0, gt=0, description="an older champion gives way to an equal")
    min_independent_labels: int = Field(200, ge=1, description="unseen outcomes, those that overlap counted once")
    max_data_age_s: int = Field(86_400, ge=0, description="no promotion on rows that end longer ago")
    max_outlying_share: float = Field(0.25, gt=0, le=1, description="of unseen rows, unlike any trained on")
    suspect_accuracy: float = Field(0.58, gt=0.5, le=1, description="more directions right than this is called a leak")


class ConceptSettings(Group):
    """Whether the champion's forecasts still do what they say, by what became of them."""

    window_days: float = Field(7.0, gt=0, le=45, description="settled forecasts that are looked at")
    false_alarms: float = Field(
        1e-4, gt=0, lt=0.5, description="chance, in `window_days`, that right forecasts are called useless"
    )
    follows: tuple[Consequence, ...] = Field(
        (), description="what does, beside the alert, once a version: retrain, widen (its intervals), random_walk"
    )
    widen_by: float = Field(1.5, gt=1, le=3, description="how many times as wide its intervals become")

    @field_validator("follows", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class DriftSettings(Group):
    """Whether the market still looks like the one the champion was trained on."""

    detector: Literal["auto", "scipy", "tabular"] = Field(
        "auto", description="tabular: alibi-detect, in an environment of its own; auto: that where it is there"
    )
    python: Annotated[str | None, OrNone] = Field(
        None, description="interpreter that has alibi-detect; by default that of `make setup-drift`"
    )
    timeout_s: float = Field(60.0, gt=0, description="how long alibi-detect may take; SciPy answers then")
    memory_mb: int = Field(1024, ge=256, description="how much memory alibi-detect may take; SciPy answers then")
    window_hours: float = Field(3.0, gt=0, description="the short window: for what changes at once")
    window_days: float = Field(3.0, gt=0, description="the long window: for a level that moves slowly")
    false_discovery_rate: float = Field(0.015, gt=0, lt=1, description="of one check of the long window")
    short_false_discovery_rate: float = Field(
        0.007, gt=0, lt=1, description="of the short one, which sees something else 24 times as often"
    )
    least_distance: float = Field(0.1, ge=0, lt=1, description="what moved less has not drifted, however sure")
    threshold: float = Field(0.3, ge=0, le=1, description="share of drifted features, by importance, that is drift")
    concept: ConceptSettings = ConceptSettings()


class ServingSettings(Group):
    """The predictor."""

    model_name: str = Field("cryptosentinel", pattern=r"^[a-z0-9][a-z0-9-]*$")
    host: str = "127.0.0.1"
    http_port: int = Field(8085, ge=0, le=65535, description="0: any free port")
    grpc_port: int = Field(8086, ge=0, le=65535, description="0: any free port")
    url: Annotated[str | None, OrNone] = Field(
        None, description="of a predictor that runs elsewhere, e.g. in the cluster"
    )
    timeout_s: float = Field(10.0, gt=0)
    reload_s: float = Field(2.0, gt=0, description="how often the local predictor asks for a new champion")
    workers: int = Field(1, ge=1, le=16, description="processes that answer REST; gRPC is answered by the first")
    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="of a request; a larger one is refused")
    explainer_url: Annotated[str | None, OrNone] = Field(
        None, description="of the explainer, e.g. http://127.0.0.1:8087; without one, explanations are off"
    )
    explainer_port: int = Field(8087, ge=0, le=65535, description="of the local explainer; 0: any free port")
    explain_timeout_s: float = Field(10.0, gt=0)
    explain_concurrency: int = Field(4, ge=1, description="explanations asked for at once; more are refused with 503")
    log_format: Literal["text", "json"] = "text"
    tracing: bool = Field(False, description="OpenTelemetry spans, to where the OTEL_EXPORTER_OTLP_* variables say")
    repository_api: bool = Field(
        False, description="let whoever reaches the predictor load and unload its bundle over V2; for one worker"
    )

    @field_validator("repository_api")
    @classmethod
    def _reaches_all_workers(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("workers", 1) > 1:
            raise ValueError("must be false with several workers: it would reach one of them")
        return value


class DashboardSettings(Group):
    """The Streamlit dashboard."""

    host: str = "127.0.0.1"
    port: int = Field(8501, ge=0, le=65535, description="0: any free port")
    actions: bool = Field(False, description="whether viewers may run pipelines and acknowledge or mute alerts")
    user_header: Annotated[str | None, OrNone] = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="header in which a proxy in front says who asks; actions then need it, and in a cluster they need a"
        " proxy",
    )


class ScheduleSettings(Group):
    """Cron expressions with six fields (seconds first), in UTC."""

    feature: str = "0 */5 * * * *"
    training: str = "0 16,46 * * * *"
    inference: str = "0 2-59/5 * * * *"
    upkeep: str = Field("0 34 * * * *", description="what Kubeflow no longer needs is deleted; for clusters")

    @field_validator("feature", "training", "inference", "upkeep")
    @classmethod
    def _six_fields(cls, value: str) -> str:
        if len(value.split()) != 6:
            raise ValueError("must have six fields, seconds first")
        return value


class RolloutSettings(Group):
    """How a promoted version comes to serve in the cluster, through KServe."""

    inference_service: Annotated[str | None, OrNone] = Field(
        None, pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", description="the InferenceService that serves the champion"
    )
    namespace: Annotated[str | None, OrNone] = Field(
        None, description="where it is; by default the namespace of this pod, or of the kubeconfig's context"
    )
    url: Annotated[str | None, OrNone] = Field(
        None, description="of the predictor, for the trial; by default its Service's, which only pods can reach"
    )
    timeout_s: float = Field(300.0, gt=0, description="how long new pods may take until all of them serve")
    lease_s: int = Field(30, ge=1, description="a promotion that shows no sign of life for so long has ended")
    canary_percent: Annotated[int | None, OrNone] = Field(
        None, ge=0, le=99, description="try a version in a pod of its own first, with this share of the traffic"
    )
    canary_s: float = Field(60.0, ge=0, description="how long that pod serves before the others follow")
    store_uri: Annotated[str | None, OrNone] = Field(
        None, description="`storage.uri` as KServe writes it, where that differs: https://... for Azure"
    )


class LeaseSettings(Group):
    """Of several schedulers' runs of one interval, one works."""

    interval_s: float = Field(0.0, ge=0, description="length of the intervals; 0: no leases. Schedules set their own")
    lost_after_s: float = Field(20.0, gt=0, description="a holder that shows no sign of life for so long has ended")


class StorageSettings(Group):
    """Where tables and bundles live."""

    backend: Literal["embedded", "hopsworks"] = Field(
        "embedded", description="hopsworks: features and bundles go to a Hopsworks project as well"
    )
    uri: Annotated[str | None, OrNone] = Field(None, description="s3://, gs://, az:// or a folder; else inside `home`")
    options: dict[str, SecretStr] = Field({}, description="object store options, e.g. AWS_ENDPOINT_URL")
    retention_days: float = Field(7.0, gt=0, description="how long old versions of the tables stay readable")

    @field_validator("options", mode="before")
    @classmethod
    def _as_the_store_wants_them(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # The names are those of environment variables, and ours come in lower case from there.
        return {str(name).upper(): str(v).lower() if isinstance(v, bool) else v for name, v in value.items()}
