"""What an explanation is: plain numbers that survive JSON."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import Champion

Unit = Literal["log_return", "log_odds", "log_volatility"]
# The targets that are neither the blend nor a candidate: the log return that is served, the probability of a rise, and
# the volatility.
FORECAST: Final = "forecast"
DIRECTION_TARGET: Final = "p_up"
SPREAD_TARGET: Final = "sigma"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Attribution(_Record):
    """One answer taken apart, feature by feature: `value` is `base` and the sum of `contributions`.

    Attributes:
        unit: of `base`, `value` and `contributions`.
        base: the answer without the row: what the model says on average.
        value: the answer for the row.
        contributions: what each feature's value adds, the largest in size first.
        price_base: `base` in the quote currency; None where the answer is no return. With the sum of
            `price_contributions` it is the forecast price less the close.
        price_contributions: `contributions` in the quote currency, in their order.
    """

    unit: Unit
    base: float
    value: float
    contributions: dict[str, float]
    price_base: float | None = None
    price_contributions: dict[str, float] | None = None


class LocalModel(_Record):
    """A linear model fitted to a bundle's answers around a row (LIME).

    Attributes:
        unit: `log_return`, or `probability`: of a rise, calibrated.
        weights: by how much the answer changes where a feature is one standard deviation (of the background rows)
            higher; the ten features that matter most, the largest in size first.
        intercept: of the linear model, in standardised features.
        value: what the linear model answers for the row; `answer` is the bundle's own.
        r_squared: the share of the answers' variance around the row that the linear model has, weighted by nearness.
            Where it is low, the weights say little.
    """

    unit: Literal["log_return", "probability"]
    weights: dict[str, float]
    intercept: float
    value: float
    answer: float
    r_squared: float


class Explanation(_Record):
    """Why a bundle answers for a row what it answers.

    Attributes:
        bundle_digest: sha256 of the manifest of the bundle that was asked.
        asset: what the bundle is of, as the next five.
        champion: whose price is forecast for this row; `shrinkage` is what the blend is multiplied by.
        close: of the row, in the quote currency, as all prices.
        predicted_price: what the bundle answers for the row, as all that follows (see `bundle.Inference`).
        widening: what sigma was multiplied by beyond `targets["sigma"]`, since the row is outlying; else 1.
        features: the row.
        targets: by name: `forecast`, the log return that is served; `blend`, unshrunk, where there is one; each trained
            candidate; `p_up`, the classifier's answer before calibration; `sigma`, the logarithm of the volatility
            before widening, where that is above zero.
        lime: the blend's log return (`blend`) and the probability of a rise (`p_up`) as linear models around the row;
            empty where nothing was learnt, None where they were not asked for.
    """

    bundle_digest: str
    asset: str
    currency: str
    interval: str
    horizon_bars: int
    champion: Champion
    shrinkage: float
    close: float
    predicted_price: float
    log_return: float
    sigma: float
    lower_80: float
    upper_80: float
    lower_95: float
    upper_95: float
    p_up: float
    direction: str
    confidence: float
    regime: str
    dissimilarity: float
    outlying: bool
    widening: float
    features: dict[str, float]
    targets: dict[str, Attribution]
    lime: dict[str, LocalModel] | None = None


class Importances(_Record):
    """How much each feature matters to a bundle.

    Attributes:
        rows: how many background rows that was measured on; 0 where nothing was learnt.
        units: of each target.
        targets: by target (see `Explanation`) and feature, the mean size of its contribution; the largest first.
    """

    rows: int
    units: dict[str, Unit]
    targets: dict[str, dict[str, float]]
