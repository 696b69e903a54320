"""A registry with three versions, an InferenceService that serves the champion, and the API of the cluster it is in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tenacity import wait_fixed

from cryptosentinel.config import StorageSettings, load_settings
from cryptosentinel.errors import RolloutError
from cryptosentinel.storage import ModelRegistry, open_storage
from cryptosentinel.workspace import Workspace
from serving.rollout import calls, progress, trial
from tests.builders import make_tiny_bundle
from tests.rollout.kubernetes_api import Api
from tests.rollout.objects import NAME, NAMESPACE
from tests.serving.builders import SPEC, make_random_walk

STORE = "s3://bucket/store"


@dataclass
class World:
    """See the module; version 1 is champion and served.

    Attributes:
        trials: the addresses at which a version was tried.
        wrong: bundles that do not answer as they should, or "all".
        trial_s: how long a trial takes.
    """

    api: Api
    workspace: Workspace
    trials: list[str]
    wrong: set[str]
    trial_s: float = 0.0

    @property
    def registry(self) -> ModelRegistry:
        return self.workspace.storage.registry

    @property
    def champion(self) -> int:
        champion = self.registry.champion()
        assert champion is not None
        return champion.version

    def uri(self, version: int) -> str:
        """As KServe reads it."""
        return STORE + self.registry.get(version).uri.removeprefix(self.workspace.storage.uri)

    def verdict(self, version: int) -> str:
        return self.registry.get(version).verdict


@pytest.fixture
def api() -> Iterator[Api]:
    served = Api()
    yield served
    served.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(progress, "PAUSE_S", 0.03)
    monkeypatch.setattr(progress, "WATCH_S", 1.0)
    monkeypatch.setattr(calls, "TIMEOUT_S", (1.0, 0.4))
    monkeypatch.setattr(calls, "_growing", wait_fixed(0.05))
    monkeypatch.setattr(trial, "PATIENCE_S", 0.0)


def make_workspace(home: Path, **rollout: Any) -> Workspace:
    group = {"inference_service": NAME, "namespace": NAMESPACE, "store_uri": STORE, "timeout_s": 5, "lease_s": 2}
    settings = load_settings(environ={}, overrides={"home": str(home), "rollout": group | rollout})
    storage = open_storage(StorageSettings(), root=home / "test", market="test")
    return Workspace(settings, source=None, spec=SPEC, storage=storage, market="test", notice="")  # type: ignore[arg-type]


@pytest.fixture
def kubeconfig(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
        "clusters": [{"name": "test", "cluster": {"server": api.url}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def world(api: Api, kubeconfig: Path, patient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    workspace = make_workspace(tmp_path)
    registry = workspace.storage.registry
    made = [make_random_walk(tmp_path / "made0")]
    made += [make_tiny_bundle(tmp_path / f"made{n}", SPEC, log_return=n / 1000) for n in (1, 2)]
    for bundle in made:
        registry.register(bundle.path, metrics={}, verdict="for a test")
    registry.promote(1, expected=0)
    made_world = World(api, workspace, [], set())
    api.point_at(made_world.uri(1))

    def hold(self: trial.Trial, url: str, _serving: object) -> None:
        made_world.trials.append(url)
        time.sleep(made_world.trial_s)
        if made_world.wrong & {self._model.uri, "all"}:
            raise RolloutError(f"The trial of version {self._model.version} failed.")

    monkeypatch.setattr(trial.Trial, "hold", hold)
    return made_world
