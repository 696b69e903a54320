"""What a bundle says about itself, in `manifest.json`."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
# Rows of features that travel with a trained bundle: the drift baseline, and the background of explanations.
REFERENCE_FILE, BACKGROUND_FILE = "reference.parquet", "background.parquet"
# Whose price is forecast: the weighted mean of the candidates, shrunk towards the price, or the price itself.
BLEND: Final = "blend"
RANDOM_WALK: Final = "random_walk"
Champion = Literal["blend", "random_walk"]


class _Record(BaseModel):
    # A metric may be NaN (R2 where nothing moved), which JSON has no word for.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class DataWindow(_Record):
    """The rows a bundle was trained and measured on; with the table versions, they can be read again exactly.

    Attributes:
        start: timestamp of the first training row; `training_end` of the last.
        holdout_start: timestamp of the first row of the last block, which was kept for evaluation.
        end: timestamp of the last row.
        oof_rows: training rows that were also forecast out of fold.
        bars_version: version of the bars table; likewise `features_version`.
    """

    start: datetime
    training_end: datetime
    holdout_start: datetime
    end: datetime
    training_rows: int
    oof_rows: int
    holdout_rows: int
    bars_version: int
    features_version: int


class ModelEntry(_Record):
    """One model of a bundle.

    Attributes:
        file: its native form, for explanations; empty for the random walk, which has no parameters.
        target: `log_return`, or `standardised` where the model answers in units of the scale; `log_volatility` where it
            answers ln of the log return's volatility over the horizon; `direction`, `regime`.
    """

    file: str = ""
    target: Literal["log_return", "standardised", "log_volatility", "direction", "regime"] = "log_return"


class Gate(_Record):
    """The promotion gate's answer, and why.

    Attributes:
        promote: whether the bundle may serve.
        champion: which point forecast it may serve; the random walk's, which claims nothing, where nothing was judged.
        reasons: sentences.
        figures: the statistics that decided.
        look: whether it was a look at the evidence that is paid for.
    """

    promote: bool
    champion: Champion = "random_walk"
    reasons: list[str]
    figures: dict[str, float] = {}
    look: bool = False


class Manifest(_Record):
    """`manifest.json`.

    Attributes:
        features: what the bundle needs of each row, in the order of its input tensor.
        scale_feature: the volatility a bar whose product with sqrt(horizon) scales targets, and is sigma where there is
            no volatility model.
        champion: whose price is the forecast.
        blend: weights of the candidates, without the random walk; they make 1. Empty where there is no blend.
        shrinkage: what the blend's log return is multiplied by, in [0, 1].
        regimes: the regime's name by cluster number; empty where there is no regime model.
        metrics: by candidate, measured on the holdout rows.
        files: sha256 of every other file, by its path inside the bundle.
    """

    format_version: int = FORMAT_VERSION
    created_at: datetime
    asset: str
    currency: str
    market: str
    simulated: bool
    interval: Literal["1m", "5m", "15m", "1h"]
    horizon_bars: int
    spec_hash: str
    features: list[str]
    scale_feature: str
    champion: Champion
    blend: dict[str, float] = {}
    shrinkage: float = 0.0
    models: dict[str, ModelEntry]
    regimes: list[str] = []
    data: DataWindow | None = None
    metrics: dict[str, dict[str, float]] = {}
    gate: Gate
    settings: dict[str, object] = {}
    libraries: dict[str, str] = {}
    files: dict[str, str] = {}

    @property
    def data_end(self) -> datetime | None:
        """When the last row opens that the bundle was trained and measured on; None for version 0."""
        return None if self.data is None else self.data.end

    @property
    def candidates(self) -> list[str]:
        """The models that forecast the return, the random walk among them."""
        return [name for name, entry in self.models.items() if entry.target in {"log_return", "standardised"}]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """The versions that shape a model's answer."""
    versions = {}
    # An image for GPUs has xgboost in the place of xgboost-cpu.
    for name in (
        "cryptosentinel",
        "numpy",
        "onnxruntime",
        "scikit-learn",
        "skl2onnx",
        "ta-lib",
        "xgboost-cpu",
        "xgboost",
    ):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
