"""What a predictor says about the bundle it serves, at `/v2/models/<name>/bundle`."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from cryptosentinel.bundle import PROBABILITIES, Manifest


class ModelInfo(BaseModel):
    """A served bundle. A newer server may say more: what this release does not know is left out.

    Attributes:
        model_name: the model's name in URLs.
        bundle_version: its version in the registry; -1 where it was never registered.
        digest: sha256 of its manifest, which names every file's; empty where the server is of an earlier release.
        features: what the input tensor `features` holds, in order.
        scale_feature: the input that may be sent in its place.
        candidates: the models whose prices are answered as `price_<candidate>`.
        probabilities: of the columns of the output tensor `quantiles`.
        data_end: when the last row opens that it was trained and measured on; None for version 0, which has seen none.
        max_rows: how many rows one request may hold.
        warm_up_bars: how many raw bars without a gap a row needs; None where the server cannot featurize bars for this
            bundle.
        max_bars: how many bars one request may hold.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    model_name: str
    bundle_version: int
    digest: str = ""
    champion: str
    asset: str
    currency: str
    market: str
    simulated: bool
    interval: str
    horizon_bars: int
    spec_hash: str
    features: list[str]
    scale_feature: str
    candidates: list[str]
    probabilities: list[float]
    data_end: datetime | None
    created_at: datetime
    max_rows: int
    warm_up_bars: int | None = None
    max_bars: int = 0

    @classmethod
    def of(
        cls, manifest: Manifest, *, model_name: str, bundle_version: int, digest: str, **limits: int | None
    ) -> ModelInfo:
        """What there is to say about a bundle; `limits` are `max_rows`, `max_bars` and `warm_up_bars`."""
        own = {"model_name", "bundle_version", "digest", "candidates", "probabilities", "data_end", *limits}
        return cls(
            model_name=model_name,
            bundle_version=bundle_version,
            digest=digest,
            candidates=manifest.candidates,
            probabilities=list(PROBABILITIES),
            data_end=manifest.data_end,
            **limits,
            **{name: getattr(manifest, name) for name in cls.model_fields if name not in own},
        )
