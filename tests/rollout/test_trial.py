"""The trial and a whole promotion, with a real predictor as what the pods run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from cryptosentinel.config import StorageSettings
from cryptosentinel.errors import BundleDamagedError, RolledBackError, RolloutError
from cryptosentinel.storage import ModelRegistry, open_storage
from serving import PredictorProcess, start_predictor
from serving.rollout import trial
from serving.rollout.promotion import roll_out
from tests.builders import make_tiny_bundle
from tests.rollout.conftest import make_workspace
from tests.rollout.kubernetes_api import Api
from tests.rollout.objects import NAME
from tests.serving.builders import SPEC, make_random_walk, make_rows
from tests.serving.processes import settings_for


@dataclass
class Pods:
    """A predictor that follows a registry of its own, in the place of pods: what is champion there is in the pods."""

    process: PredictorProcess
    registry: ModelRegistry
    made: list[Path]

    def run(self, version: int) -> None:
        champion = self.registry.champion()
        assert champion is not None
        self.registry.promote(version, expected=champion.version)


def reference() -> pd.DataFrame:
    """Rows that a bundle was trained on."""
    return pd.DataFrame(make_rows(20).features, columns=SPEC.model_names)


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    home = tmp_path_factory.mktemp("pods")
    made = [
        make_random_walk(home / "made0").path,
        make_tiny_bundle(home / "made1", SPEC, log_return=0.001, reference=reference()).path,
        make_tiny_bundle(home / "made2", SPEC, log_return=0.002).path,
    ]
    registry = open_storage(StorageSettings(), root=home, market="test").registry
    for path in made:
        registry.register(path, metrics={}, verdict="for a test")
    with start_predictor(
        settings_for(home, reload_s=0.1), store_root=home, market="test", log_path=home / "predictor.log"
    ) as process:
        yield Pods(process, registry, made)


@pytest.mark.parametrize("version", [0, 1, 2], ids=["random walk", "with rows", "without"])
def test_a_predictor_that_serves_the_version_passes(
    pods: Pods, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.run(version)
    serving = settings_for(tmp_path).serving
    trial.Trial(pods.registry.get(version), pods.made[version]).hold(pods.process.url, serving)
    other = (version + 1) % 3
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    with pytest.raises(RolloutError, match=rf"trial of version {other} at .* it serves version {version} \(bundle "):
        trial.Trial(pods.registry.get(other), pods.made[other]).hold(pods.process.url, serving)


def test_it_asks_for_rows_that_the_bundle_was_trained_on(pods: Pods) -> None:
    warm, cold = trial.Trial(pods.registry.get(1), pods.made[1]).questions
    assert (warm.features == reference().to_numpy()[: trial.ROWS]).all()
    assert cold.features is None
    assert (cold.volatility == warm.volatility).all()


def test_one_that_answers_something_else_under_its_name_does_not(
    pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.run(2)
    monkeypatch.setattr(trial, "PATIENCE_S", 10.0)
    serving = settings_for(tmp_path).serving
    trial.Trial(pods.registry.get(2), pods.made[2]).hold(pods.process.url, serving)
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    for change, named in (({"log_return": 0.00203}, "predicted_price"), ({"log_return": 0.002, "p_up": 0.55}, "p_up")):
        like = make_tiny_bundle(tmp_path / named, SPEC, **change)
        question = trial.Trial(replace(pods.registry.get(2), uri="elsewhere"), like.path)
        with pytest.raises(RolloutError, match=f"its {named} (are|is) up to .* off what the bundle itself answers"):
            question.hold(pods.process.url, serving)


def test_one_that_is_away_or_a_bundle_that_is_damaged_does_not(
    pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)
    serving = settings_for(tmp_path, timeout_s=0.3).serving
    question = trial.Trial(pods.registry.get(2), pods.made[2])
    with pytest.raises(RolloutError, match=r"trial of version 2 at http://127\.0\.0\.1:9 failed"):
        question.hold("http://127.0.0.1:9", serving)
    with pytest.raises(BundleDamagedError):
        trial.Trial(pods.registry.get(2), tmp_path)


def test_a_promotion_as_a_whole(
    pods: Pods, api: Api, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registry, API, rollout and a predictor that takes up what the pods are told to."""
    monkeypatch.setattr(trial, "PATIENCE_S", 10.0)
    workspace = make_workspace(tmp_path, url=pods.process.url, timeout_s=10)
    registry = workspace.storage.registry
    for path in pods.made:
        registry.register(path, metrics={}, verdict="for a test")
    uris = {f"s3://bucket/store/bundles/{Path(registry.get(n).uri).name}": n for n in range(3)}
    pods.run(0)
    api.point_at(next(iter(uris)))
    api.on_serving = lambda _name, uri: pods.run(uris[uri or ""])
    assert roll_out(workspace, 1).outcome == "rolled out"
    assert registry.champion() == registry.get(1)

    # Pods that say they are ready, and go on with the bundle they had.
    monkeypatch.setattr(trial, "PATIENCE_S", 0.5)
    api.on_serving = lambda _name, _uri: None
    with pytest.raises(RolledBackError, match=r"it serves version 1 \(bundle .* It serves version 1 again"):
        roll_out(workspace, 2)
    assert registry.champion() == registry.get(1)
    assert uris[api.storage_uri or ""] == 1
    assert list(api.deployments) == [f"{NAME}-predictor"]
