"""What is recorded of a bundle, whatever came between it and being champion."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import RolledBackError, RolloutError
from cryptosentinel.forecasting import register_bundle, settle_verdicts
from cryptosentinel.storage import DeltaModelRegistry
from tests.storage.builders import bundle as some_bundle


@pytest.fixture
def registry(tmp_path: Path) -> DeltaModelRegistry:
    registry = DeltaModelRegistry(str(tmp_path / "store"))
    registry.register(some_bundle(tmp_path / "walk", "walk"), metrics={}, verdict="the random walk")
    return registry


def reasons(bundle: Bundle) -> str:
    return "; ".join(bundle.manifest.gate.reasons)


def verdicts(registry: DeltaModelRegistry) -> list[str]:
    return [model.verdict for model in registry.versions()][1:]


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_one_that_was_killed_before_it_was_champion_is_not_recorded_as_promoted(
    registry: DeltaModelRegistry, bundle: Bundle
) -> None:
    with pytest.raises(KeyboardInterrupt):
        register_bundle(registry, bundle, killed)
    assert verdicts(registry) == [f"passed: not champion yet; {reasons(bundle)}"]
    settle_verdicts(registry)
    assert verdicts(registry) == [f"interrupted: the process ended before it was champion; {reasons(bundle)}"]
    settle_verdicts(registry)
    assert len(verdicts(registry)) == 1
    registered, promoted = register_bundle(registry, bundle)
    assert (registered.version, promoted, verdicts(registry)) == (1, True, [f"promoted: {reasons(bundle)}"])


def test_one_that_was_killed_after_it_was_champion_is_recorded_as_promoted_by_the_next(
    registry: DeltaModelRegistry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registry, "amend", killed)
        with pytest.raises(KeyboardInterrupt):
            register_bundle(registry, bundle)
    champion = registry.champion()
    assert champion is not None
    assert (champion.version, champion.verdict) == (1, f"passed: not champion yet; {reasons(bundle)}")
    assert register_bundle(registry, bundle)[1]
    assert verdicts(registry) == [f"promoted: {reasons(bundle)}"]


def test_what_another_process_left_behind_is_settled_by_the_next_registration(
    registry: DeltaModelRegistry, bundle: Bundle, tmp_path: Path
) -> None:
    registry.register(some_bundle(tmp_path / "one", "one"), metrics={}, verdict="passed: not champion yet; good")
    registry.register(some_bundle(tmp_path / "two", "two"), metrics={}, verdict="passed: not champion yet; better")
    registry.promote(2, expected=0)
    register_bundle(registry, bundle)
    assert verdicts(registry)[:2] == [
        "interrupted: the process ended before it was champion; good",
        "promoted: better",
    ]


def test_one_that_did_not_serve_is_recorded_as_rolled_back_with_why(
    registry: DeltaModelRegistry, bundle: Bundle
) -> None:
    def fails(version: int, *, expected: int | None) -> None:
        assert (version, expected) == (1, 0)
        raise RolledBackError("Its pod never became ready.", remedy="Look at its log.")

    registered, promoted = register_bundle(registry, bundle, fails)
    assert not promoted
    assert registered.verdict == f"rolled back: Its pod never became ready; {reasons(bundle)}"
    assert registry.champion() == registry.get(0)


def test_one_that_could_not_be_tried_says_so_and_fails(registry: DeltaModelRegistry, bundle: Bundle) -> None:
    def fails(_version: int, **_: object) -> None:
        raise RolloutError("The Kubernetes API does not answer.")

    with pytest.raises(RolloutError):
        register_bundle(registry, bundle, fails)
    assert verdicts(registry) == [f"not tried: The Kubernetes API does not answer; {reasons(bundle)}"]
    assert registry.champion() == registry.get(0)


def test_a_bundle_that_was_overtaken_is_not_recorded_as_promoted(
    registry: DeltaModelRegistry, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
