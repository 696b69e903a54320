"""A finished bundle into the registry, and through the gate."""

from __future__ import annotations

from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import StoreConflictError
from cryptosentinel.storage import ModelRegistry, RegisteredModel


def register_bundle(registry: ModelRegistry, bundle: Bundle) -> tuple[RegisteredModel, bool]:
    """Registers a bundle and, if its gate says so, makes it champion.

    A refused bundle is registered all the same, with the verdict: what was tried should be known.

    Returns:
        The registered version, and whether it is champion now. Where somebody else promoted a version meanwhile, theirs
        stays.
    """
    manifest = bundle.manifest
    before = registry.champion()
    registered = registry.register(
        bundle.path,
        metrics=manifest.metrics[manifest.champion],
        verdict=("promoted: " if manifest.gate.promote else "refused: ") + "; ".join(manifest.gate.reasons),
    )
    if not manifest.gate.promote:
        return registered, False
    try:
        registry.promote(registered.version, expected=before.version if before else None)
    except StoreConflictError:
        return registered, False
    return registered, True
