"""Old bundles go, versions stay, and what serves is never touched, wherever a pruning is killed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.errors import StorageError, StoreUnavailableError
from cryptosentinel.forecasting import past_verdicts
from cryptosentinel.retention import Thing, prune
from cryptosentinel.storage import RegisteredModel, Storage
from cryptosentinel.storage import registry as registry_module
from cryptosentinel.storage.files import Files
from tests.builders import settings_of
from tests.storage.builders import bundle, contents_as, open_delta

LATER = datetime.now(UTC) + timedelta(days=30)
REFUSED, PROMOTED, PASSED = "refused: x", "promoted: x", "passed: not champion yet; x"


def registered(folder: Path, verdicts: str | list[str], **metrics: float) -> Storage:
    """A store with the random walk and a version a verdict; the last promoted one is champion."""
    storage = open_delta(folder)
    for number, verdict in enumerate(["the random walk", *verdicts]):
        model = storage.registry.register(
            bundle(folder / "made" / str(number), f"content {number}"), metrics=metrics, verdict=verdict
        )
        if verdict == PROMOTED:
            champion = storage.registry.champion()
            storage.registry.promote(model.version, expected=champion.version)
    return storage


def pruned(
    storage: Storage, now: datetime = LATER, in_use: Any = None, dry_run: bool = False, **rules: float
) -> list[Thing]:
    group = {f"retention__{name}": value for name, value in {"bundles": 1, "champions": 1, **rules}.items()}
    return prune(storage, settings_of(**group), now=now, in_use=in_use or {}, dry_run=dry_run)


def gone(storage: Storage) -> list[int]:
    return [model.version for model in storage.registry.versions() if model.pruned_at]


def stays(things: list[Thing]) -> dict[int, str]:
    return {int(thing.name.split()[1]): thing.stays for thing in things if thing.stays}


def test_what_stays_says_why_and_the_rest_goes(tmp_path: Path) -> None:
    storage = registered(tmp_path, [PROMOTED, PROMOTED, REFUSED, PASSED, PROMOTED, REFUSED, REFUSED, REFUSED])
    things = pruned(storage, bundles=2, champions=2, in_use={6: "serves in a/b"})
    assert stays(things) == {
        0: "the random walk, which everything falls back to",
        2: "one of the last 2 champions",
        4: "its registration has not ended",
        5: "the champion",
        6: "serves in a/b",
        7: "one of the 2 newest",
        8: "one of the 2 newest",
    }
    assert gone(storage) == [1, 3]
    assert [thing.name for thing in things if not thing.stays] == ["version 1", "version 3"]


def test_the_champion_stays_whatever_its_figures_are(tmp_path: Path) -> None:
    storage = registered(tmp_path, ["of before", REFUSED, REFUSED], rmse=float("nan"))
    storage.registry.promote(1, expected=0)
    assert stays(pruned(storage))[1] == "the champion"
    assert gone(storage) == [2]


def test_what_is_young_stays(tmp_path: Path) -> None:
    storage = registered(tmp_path, [REFUSED] * 3)
    assert stays(pruned(storage, now=datetime.now(UTC), min_age_days=2))[1] == "younger than 2 days"
    assert gone(storage) == []


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    storage = registered(tmp_path, [REFUSED, PROMOTED, REFUSED, REFUSED])
    before = storage.registry.versions(), storage.registry.sizes()
    would = pruned(storage, dry_run=True)
    assert (storage.registry.versions(), storage.registry.sizes()) == before
    assert pruned(storage) == would
    freed = sum(thing.bytes for thing in would if not thing.stays)
    assert sum(before[1].values()) - sum(storage.registry.sizes().values()) == freed > 0
    assert [thing for thing in pruned(storage) if not thing.stays] == []


@pytest.mark.parametrize("unknown", ["in_use", "awaited"])
def test_where_it_is_not_known_who_needs_a_bundle_none_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: str
) -> None:
    storage = registered(tmp_path, [REFUSED] * 3)

    def away() -> set[int]:
        raise StoreUnavailableError("It is away.")

    if unknown == "awaited":
        monkeypatch.setattr(storage.registry, "awaited", away)
    things = pruned(storage, in_use="the cluster does not answer" if unknown == "in_use" else None)
    assert "not" in stays(things)[1]
    assert gone(storage) == []


def test_who_is_far_away_is_asked_only_where_something_would_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, asked = registered(tmp_path, [REFUSED] * 3), []
    monkeypatch.setattr(storage.registry, "awaited", lambda: asked.append(1) or set())
    pruned(storage, bundles=9)
    assert asked == []
    pruned(storage)
    assert asked == [1]


def test_what_hopsworks_lacks_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = registered(tmp_path, [REFUSED] * 3)
    monkeypatch.setattr(storage.registry, "awaited", lambda: {1})
    pruned(storage)
    assert gone(storage) == [2]


def test_a_pruned_version_keeps_its_history_and_says_that_its_bundle_is_gone(tmp_path: Path) -> None:
    evidence = {"gate_data_end": 1e9, "gate_look": 1.0, "gate_blend": 0.0, "gate_promoted": 0.0, "gate_tested": 1.0}
    storage = registered(tmp_path, [REFUSED] * 3, **evidence)
    before = past_verdicts(storage.registry.versions())
    pruned(storage)
    assert past_verdicts(storage.registry.versions()) == before, "the gate's evidence"
    model = storage.registry.get(1)
    assert (model.verdict, model.metrics) == (REFUSED, evidence)
    for ask in (
        lambda: storage.registry.fetch(1, tmp_path / "into"),
        lambda: storage.registry.promote(1, expected=0),
    ):
        with pytest.raises(StorageError, match=r"version 1 was pruned on 20\d\d") as caught:
            ask()
        assert "backup" in caught.value.remedy
    assert storage.registry.champion().version == 0


def test_a_bundle_that_is_registered_again_is_there_again(tmp_path: Path) -> None:
    storage = registered(tmp_path, [REFUSED] * 3)
    pruned(storage)
    again = storage.registry.register(tmp_path / "made" / "1", metrics={}, verdict="other")
    assert (again.version, again.verdict, again.pruned_at) == (1, REFUSED, None)
    assert storage.registry.get(1) == again
    fetched = storage.registry.fetch(1, tmp_path / "into")
    assert {str(p.relative_to(fetched)) for p in fetched.rglob("*") if p.is_file()} == set(
        contents_as(1, tmp_path / "made" / "1")
    )


def test_the_champion_cannot_be_pruned_by_name(tmp_path: Path) -> None:
    storage = registered(tmp_path, [PROMOTED, REFUSED])
    with pytest.raises(StorageError, match="is the champion"):
        storage.registry.prune([1])
    assert storage.registry.get(1).pruned_at is None
    storage.registry.fetch(1, tmp_path / "into")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after_files", range(5))
def test_a_pruning_that_is_killed_leaves_a_registry_that_reads_and_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_files: int
) -> None:
    storage = registered(tmp_path, [REFUSED, PROMOTED, REFUSED])

    def die(self: Files, folder: str) -> None:
        files = sorted(path for path in (tmp_path / "store" / folder).rglob("*") if path.is_file())
        for path in files[:after_files]:
            path.unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Files, "remove", die)
        with pytest.raises(Killed):
            pruned(storage)
    assert [model.version for model in storage.registry.versions()] == [0, 1, 2, 3]
    for model in storage.registry.versions():
        if model.pruned_at is None:
            storage.registry.fetch(model.version, tmp_path / "into")
    assert gone(storage) == [1]
    finish: Callable[[], object] = storage.registry.maintain if after_files % 2 else lambda: pruned(storage)
    finish()
    assert set(storage.registry.sizes()) == {0, 2, 3}


@pytest.mark.parametrize("moment", ["before it is marked", "once it is marked"])
def test_a_version_that_is_promoted_while_it_is_pruned_stays_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Of two processes at the same moment, one sees the other."""
    storage, other = registered(tmp_path, [REFUSED] * 2), open_delta(tmp_path)
    mark = registry_module.DeltaModelRegistry._mark
    refused: list[StorageError] = []

    def promote_too(self: Any, versions: list[int], pruned_at: str) -> None:
        if moment == "once it is marked":
            mark(self, versions, pruned_at)
        if pruned_at != "NULL" and not refused:
            try:
                other.registry.promote(versions[0], expected=0)
            except StorageError as error:
                refused.append(error)
        if moment != "once it is marked":
            mark(self, versions, pruned_at)

    monkeypatch.setattr(registry_module.DeltaModelRegistry, "_mark", promote_too)
    things = pruned(storage)
    champion = other.registry.champion()
    other.registry.fetch(champion.version, tmp_path / "into")
    if moment == "once it is marked":
        assert (len(refused), champion.version, gone(other)) == (1, 0, [1])
    else:
        assert (refused, champion.version, gone(other)) == ([], 1, [])
        assert stays(things)[1] == "the champion"


def test_an_alias_that_moves_to_a_version_while_its_files_go_moves_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other = registered(tmp_path, [PROMOTED, REFUSED, REFUSED]), open_delta(tmp_path)
    promote = registry_module.DeltaModelRegistry._promote

    def prune_first(self: Any, version: int, expected: int | None) -> None:
        monkeypatch.setattr(registry_module.DeltaModelRegistry, "_promote", promote)
        pruned(other)  # it has looked at the alias by now
        promote(self, version, expected)

    monkeypatch.setattr(registry_module.DeltaModelRegistry, "_promote", prune_first)
    with pytest.raises(StorageError, match="was pruned"):
        storage.registry.promote(2, expected=1)
    assert storage.registry.champion().version == 1


VERDICTS = st.lists(st.sampled_from([REFUSED, PROMOTED, PASSED, "overtaken: x"]), max_size=7)


@settings(max_examples=8)
@given(verdicts=VERDICTS, bundles=st.integers(1, 4), champions=st.integers(1, 3), served=st.integers(0, 7))
def test_whatever_was_registered_the_champion_serves_and_no_more_stays_than_asked_for(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[str], bundles: int, champions: int, served: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    storage = registered(folder, verdicts)
    before = storage.registry.versions()
    pruned(storage, bundles=bundles, champions=champions, in_use={served: "serves"})
    after = storage.registry.versions()
    assert [(m.version, m.verdict, m.metrics) for m in after] == [(m.version, m.verdict, m.metrics) for m in before]
    left = [model.version for model in after if model.pruned_at is None]
    assert {0, storage.registry.champion().version, served} & {m.version for m in after} <= set(left)
    assert len(left) <= 3 + bundles + champions + verdicts.count(PASSED)
    assert set(storage.registry.sizes()) == set(left)


def simulated(storage: Storage, folder: Path, trainings: int, now: datetime) -> list[int]:
    """Trainings half an hour apart, one in six promoted; the bytes of all bundles after each."""
    sizes = []
    for number in range(trainings):
        moment = now + number * timedelta(minutes=30)
        registry = storage.registry.at(moment)
        verdict = REFUSED if number % 6 else PROMOTED
        model: RegisteredModel = registry.register(
            bundle(folder / "made", f"{number:06d}"), metrics={}, verdict=verdict
        )
        if verdict == PROMOTED:
            registry.promote(model.version, expected=registry.champion().version)
        pruned(storage, now=moment, bundles=5, champions=2, min_age_days=0.1)
        sizes.append(sum(storage.registry.sizes().values()))
    return sizes


def test_a_registry_grows_to_what_is_kept_and_no_further(tmp_path: Path) -> None:
    storage = registered(tmp_path, [])
    sizes = simulated(storage, tmp_path, 18, datetime.now(UTC))
    one = sizes[1] - sizes[0]
    assert 5 * one < max(sizes) <= (1 + 5 + 2) * one
    assert len(storage.registry.versions()) == 19
