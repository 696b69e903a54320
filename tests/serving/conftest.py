"""One predictor process for all tests of this room, following a real registry."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptosentinel.bundle import Bundle
from cryptosentinel.config import StorageSettings
from cryptosentinel.storage import ModelRegistry, open_storage
from serving import PredictorProcess, ServedPredictor, start_predictor
from serving.state import PredictorState
from tests.serving.builders import make_random_walk, make_trained
from tests.serving.processes import serve_folder, settings_for, wait_for_line

MARKET = "test"


@dataclass
class Running:
    """A predictor, and the registry it follows: version 0 is the random walk, 1 and 2 are trained."""

    process: PredictorProcess
    registry: ModelRegistry
    bundles: dict[int, Bundle]
    home: Path
    client: ServedPredictor

    def promote(self, version: int) -> None:
        champion = self.registry.champion()
        assert champion is not None
        self.registry.promote(version, expected=champion.version)

    def serve(self, version: int) -> Bundle:
        """Promotes a version and waits until it answers."""
        self.promote(version)
        self.client.wait_ready(20, version)
        return self.bundles[version]


@pytest.fixture(scope="package")  # it asks for a new champion all the time: no tests of other rooms beside that
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    bundles: dict[int, Bundle] = {}
    registry = open_storage(StorageSettings(), root=home, market=MARKET).registry
    makers: list[Callable[[Path], Bundle]] = [
        make_random_walk,
        lambda path: make_trained(path, lean=1.0),
        lambda path: make_trained(path, lean=-1.0),
    ]
    for make in makers:
        bundle = make(home / "made" / str(len(bundles)))
        registered = registry.register(bundle.path, metrics={}, verdict="for a test")
        bundles[registered.version] = bundle
    with (
        start_predictor(
            settings_for(home), store_root=home, market=MARKET, log_path=home / "logs" / "predictor.log"
        ) as process,
        ServedPredictor(process.url, "cryptosentinel") as client,
    ):
        yield Running(process, registry, bundles, home, client)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained bundle's folder."""
    return make_trained(tmp_path_factory.mktemp("served") / "bundle").path


@pytest.fixture
def serve(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], PredictorState]]]:
    """Starts a predictor, and gives it with its state once it answers."""
    children: list[subprocess.Popen[str]] = []

    def start(**serving: object) -> tuple[subprocess.Popen[str], PredictorState]:
        child = serve_folder(bundle, tmp_path / "state.json", log_level="debug", **serving)
        children.append(child)
        wait_for_line(child, "grpc")  # the line with its addresses
        return child, PredictorState.model_validate_json((tmp_path / "state.json").read_text())

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()
