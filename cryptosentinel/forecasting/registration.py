"""A finished bundle into the registry, and through the gate.

What came of a version is in its verdict's first word: `refused` by the gate; `passed` the gate and not champion yet;
then `promoted`, `overtaken`, `rolled back` or `interrupted`; `fell back` where a champion was called useless and the
random walk took its place (`predicting.fall_back`). A process may be killed between any two of these steps:
the next registration settles what it left behind.
"""

from __future__ import annotations

from typing import Protocol

from cryptosentinel.bundle import RANDOM_WALK, Bundle
from cryptosentinel.errors import RolledBackError, RolloutError, StoreConflictError
from cryptosentinel.forecasting.evaluation import SHRUNK
from cryptosentinel.forecasting.looks import verdict_metrics
from cryptosentinel.storage import ModelRegistry, RegisteredModel

_PASSED = "passed: not champion yet; "
_PROMOTED = "promoted: "


class Promote(Protocol):
    """Makes a version champion: `ModelRegistry.promote`, or one that brings it to serve in the cluster first."""

    def __call__(self, version: int, *, expected: int | None) -> None:
        """Makes `version` champion in the place of `expected`.

        Raises:
            StoreConflictError: another version is champion by now, and stays.
            RolledBackError: it was tried and did not serve; the champion stays.
            RolloutError: it could not be tried.
        """


def register_bundle(
    registry: ModelRegistry, bundle: Bundle, promote: Promote | None = None
) -> tuple[RegisteredModel, bool]:
    """Registers a bundle and, if its gate says so, makes it champion.

    A refused bundle is registered all the same, with the verdict: what was tried should be known, and the next look is
    paid for by how many there were.

    Args:
        registry: the registry.
        bundle: a bundle that has seen data.
        promote: how it becomes champion; by default `registry.promote`.

    Returns:
        The registered version, and whether it is champion now. Where somebody else promoted a version meanwhile, theirs
        stays, and where this one did not serve, the one before it; the verdict says so.

    Raises:
        RolloutError: it passed, and could not be tried; the verdict says so.
    """
    manifest = bundle.manifest
    settle_verdicts(registry)
    before = registry.champion()
    assert manifest.data is not None, "only version 0 has no data, and it is not registered here"
    served = manifest.metrics[RANDOM_WALK if manifest.champion == RANDOM_WALK else SHRUNK]
    metrics = {**served, **verdict_metrics(manifest.gate, manifest.data.end)}
    reasons = "; ".join(manifest.gate.reasons)
    verdict = f"{_PASSED if manifest.gate.promote else 'refused: '}{reasons}"
    registered = registry.register(bundle.path, metrics=metrics, verdict=verdict)
    if not manifest.gate.promote:
        return registered, False

    def now(verdict: str) -> RegisteredModel:
        return registry.amend(registered.version, verdict=f"{verdict}; {reasons}")

    try:
        (promote or registry.promote)(registered.version, expected=before.version if before else None)
    except StoreConflictError:
        return now("overtaken: another version was promoted meanwhile, and stays"), False
    except RolledBackError as error:
        return now(f"rolled back: {_clause(error)}"), False
    except RolloutError as error:
        now(f"not tried: {_clause(error)}")
        raise
    return registry.amend(registered.version, verdict=f"{_PROMOTED}{reasons}"), True


def settle_verdicts(registry: ModelRegistry) -> None:
    """Corrects the verdicts of versions whose registration was killed before it could say what came of them.

    One that another process is promoting right now is called interrupted until that process records the outcome.
    """
    champion = registry.champion()
    for model in registry.versions():
        if model.verdict.startswith(_PASSED):
            serves = champion is not None and model.version == champion.version
            came = _PROMOTED if serves else "interrupted: the process ended before it was champion; "
            registry.amend(model.version, verdict=came + model.verdict.removeprefix(_PASSED))


def is_pending(model: RegisteredModel) -> bool:
    """Whether a version passed the gate and it is not known yet what came of it."""
    return model.verdict.startswith(_PASSED)


def was_champion(model: RegisteredModel) -> bool:
    """Whether a version is or was champion by the gate's word."""
    return model.verdict.startswith(_PROMOTED)


def _clause(error: RolloutError) -> str:
    return error.message.rstrip(".")
