"""What a backtest writes down besides its forecasts: what was replayed, and what each training run came to."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, JsonValue

from cryptosentinel.bundle import BLEND
from cryptosentinel.config import IntervalName, TrainingSettings


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Promotion(_Record):
    """What the gate said of one training run.

    Attributes:
        promote: whether the new bundle serves from then on; else the one before it goes on.
        champion: what the new bundle forecasts with, `blend` or `random_walk`.
        look: how many looks at unseen data were paid for until then, this one included.
        reasons: in words, the decisive ones first.
        figures: what it decided on, by name.
    """

    promote: bool
    champion: str
    look: int = 0
    reasons: list[str]
    figures: dict[str, float] = {}


class Training(_Record):
    """One training run of a backtest.

    Attributes:
        fold: its number, from 0; the column `fold` of the forecasts names the run that served them.
        made_at: the end of the newest bar it saw.
        training_rows: rows before the last block.
        oof_rows: of those, the ones forecast out of fold, on which every choice was made.
        last_block_rows: rows kept for the figures that are reported.
        weight: how much of the blend's forecast is worth believing, as estimated, from 0 to 1.
        gate: what became of it.
        candidates: by candidate, its figures on the last block; names as in a bundle's manifest.
        fit_seconds: how long it took; never in a report, which depends on data and seed alone.
    """

    fold: int
    made_at: datetime
    training_rows: int
    oof_rows: int
    last_block_rows: int
    weight: float
    gate: Promotion
    candidates: dict[str, dict[str, float]] = {}
    fit_seconds: float = 0.0

    @property
    def spoken_weight(self) -> float:
        """How much of the blend its bundle forecasts with: none where the gate let only the random walk speak."""
        return self.weight if self.gate.champion == BLEND else 0.0


class BacktestMeta(_Record):
    """What was replayed, and how to do it again.

    Attributes:
        market: the source that bars came from, as it names itself.
        start: of the first forecast; likewise `end`, of the last.
        settings: all settings that matter to the result, without secrets.
        command: what to type to get the same figures.
        libraries: versions by package.
        data_digest: sha256 of the bars, in hex.
    """

    asset: str
    currency: str
    market: str
    simulated: bool
    interval: IntervalName
    horizon_bars: int
    start: datetime
    end: datetime
    settings: dict[str, JsonValue] = {}
    seed: int = 0
    command: str = ""
    libraries: dict[str, str] = {}
    data_digest: str = ""

    @property
    def every_days(self) -> float:
        """From one training run to the next."""
        return float(str(self.settings.get("every_days", "nan")))

    @property
    def window_days(self) -> float:
        """What a training run sees."""
        return TrainingSettings.model_validate(self.settings.get("training", {})).window_days
