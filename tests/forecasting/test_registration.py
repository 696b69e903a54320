"""What is recorded of a bundle that another one overtook on its way through the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.forecasting import register_bundle
from cryptosentinel.storage import DeltaModelRegistry
from tests.storage.builders import bundle as some_bundle


def test_a_bundle_that_was_overtaken_is_not_recorded_as_promoted(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = DeltaModelRegistry(str(tmp_path / "store"))
    registry.register(some_bundle(tmp_path / "walk", "walk"), metrics={}, verdict="the random walk")
    theirs = registry.register(some_bundle(tmp_path / "theirs", "theirs"), metrics={}, verdict="promoted: theirs")
    promote = registry.promote

    def after_somebody_else(version: int, *, expected: int | None) -> None:
        promote(theirs.version, expected=expected)
        promote(version, expected=expected)

    monkeypatch.setattr(registry, "promote", after_somebody_else)
    registered, promoted = register_bundle(registry, bundle)
    assert not promoted
    assert registry.champion() == theirs
    assert registered == registry.get(registered.version)
    assert registered.verdict.startswith("overtaken: another version was promoted meanwhile, and stays; ")
    assert registered.verdict.endswith("; ".join(bundle.manifest.gate.reasons))
