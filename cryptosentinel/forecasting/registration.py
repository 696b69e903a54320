"""A finished bundle into the registry, and through the gate."""

from __future__ import annotations

from cryptosentinel.bundle import RANDOM_WALK, Bundle
from cryptosentinel.errors import StoreConflictError
from cryptosentinel.forecasting.evaluation import SHRUNK
from cryptosentinel.forecasting.looks import verdict_metrics
from cryptosentinel.storage import ModelRegistry, RegisteredModel


def register_bundle(registry: ModelRegistry, bundle: Bundle) -> tuple[RegisteredModel, bool]:
    """Registers a bundle and, if its gate says so, makes it champion.

    A refused bundle is registered all the same, with the verdict: what was tried should be known, and the next look is
    paid for by how many there were.

    Returns:
        The registered version, and whether it is champion now. Where somebody else promoted a version meanwhile, theirs
        stays, and the verdict says so.
    """
    manifest = bundle.manifest
    before = registry.champion()
    assert manifest.data is not None, "only version 0 has no data, and it is not registered here"
    served = manifest.metrics[RANDOM_WALK if manifest.champion == RANDOM_WALK else SHRUNK]
    metrics = {**served, **verdict_metrics(manifest.gate, manifest.data.end)}
    reasons = "; ".join(manifest.gate.reasons)
    verdict = f"{'promoted' if manifest.gate.promote else 'refused'}: {reasons}"
    registered = registry.register(bundle.path, metrics=metrics, verdict=verdict)
    if not manifest.gate.promote:
        return registered, False
    try:
        registry.promote(registered.version, expected=before.version if before else None)
    except StoreConflictError:
        verdict = f"overtaken: another version was promoted meanwhile, and stays; {reasons}"
        return registry.amend(registered.version, verdict=verdict), False
    return registered, True
