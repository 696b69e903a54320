"""The model registry whose bundles go on to Hopsworks' registry."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cryptosentinel.errors import StorageError
from cryptosentinel.storage.hopsworks.connection import Connection
from cryptosentinel.storage.hopsworks.feature_group import KEY, FeatureGroup
from cryptosentinel.storage.hopsworks.features import Delivery
from cryptosentinel.storage.hopsworks.turns import Renew
from cryptosentinel.storage.protocols import ModelRegistry, RegisteredModel

logger = logging.getLogger(__name__)

CHAMPION_TAG = "champion"
# What a forecast says of the price; the bundle's own card says more.
_OUTPUTS = ("predicted_price", "lower_95", "lower_80", "upper_80", "upper_95", "p_up")
_EXAMPLES = ("background.parquet", "reference.parquet")


class HopsworksModelRegistry:
    """The model registry (`protocols.ModelRegistry`) that keeps Hopsworks' registry level with itself.

    The embedded registry decides: its champion moves by compare-and-swap, which Hopsworks does not have. Whenever it
    changes, what Hopsworks lacks is given to it, so that an outage is made up for by the next change. Version N is
    N + 1 there, since it counts from 1; the champion carries the tag `champion`.

    Args:
        embedded: the registry of record.
        connection: to the project.
        group: the feature group that training datasets are taken of.
        turn: the right to deliver, as `turns.turn`.
    """

    def __init__(
        self,
        embedded: ModelRegistry,
        connection: Connection,
        group: FeatureGroup,
        turn: Callable[[], AbstractContextManager[Renew | None]],
    ) -> None:
        self._embedded = embedded
        self._connection = connection
        self._group = group
        self._turn = turn

    def register(self, bundle: Path, *, metrics: Mapping[str, float], verdict: str) -> RegisteredModel:
        """Copies a bundle in under a new version, here and, if it can be reached, in Hopsworks."""
        registered = self._embedded.register(bundle, metrics=metrics, verdict=verdict)
        self.deliver()
        return registered

    def amend(self, version: int, *, verdict: str) -> RegisteredModel:
        """Records another verdict; Hopsworks keeps the one that a version was given to it with."""
        return self._embedded.amend(version, verdict=verdict)

    def versions(self) -> list[RegisteredModel]:
        """All versions, oldest first."""
        return self._embedded.versions()

    def get(self, version: int) -> RegisteredModel:
        """One version."""
        return self._embedded.get(version)

    def newest(self) -> RegisteredModel | None:
        """The version that was registered last."""
        return self._embedded.newest()

    def champion(self) -> RegisteredModel | None:
        """The version the alias points at."""
        return self._embedded.champion()

    def revision(self) -> str:
        """Another text after every change."""
        return self._embedded.revision()

    def promote(self, version: int, *, expected: int | None) -> None:
        """Moves the alias, by compare-and-swap, and then the tag in Hopsworks."""
        self._embedded.promote(version, expected=expected)
        self.deliver()

    def fetch(self, version: int, into: Path) -> Path:
        """Copies a version's bundle into a folder of this machine."""
        return self._embedded.fetch(version, into)

    def sizes(self) -> dict[int, int]:
        """The bytes of each bundle that is there, by version."""
        return self._embedded.sizes()

    def awaited(self) -> set[int]:
        """Versions that Hopsworks lacks."""
        held = self._held()
        return {model.version for model in self._there() if model.version + 1 not in held}

    def prune(self, versions: Collection[int]) -> None:
        """Deletes the bundles of versions here; Hopsworks keeps its own."""
        self._embedded.prune(versions)

    def maintain(self) -> None:
        """Removes what killed registrations and prunings left behind."""
        self._embedded.maintain()

    def deliver(self) -> Delivery:
        """Gives Hopsworks the versions that it lacks, oldest first, and the champion its tag."""
        delivered, waiting, problem = 0, 0, ""
        try:
            with self._turn() as renew:
                if renew is None:
                    return Delivery(0, 0)
                versions = self._embedded.versions()
                held = self._held()
                lacking = [model for model in self._there() if model.version + 1 not in held]
                waiting = len(lacking)
                self._refuse_another_bundle(versions, held)
                for model in lacking:
                    if not renew():
                        break
                    self._save(model)
                    delivered, waiting = delivered + 1, waiting - 1
                if champion := self._embedded.champion():
                    self._tag(champion.version + 1)
        except StorageError as error:
            problem = str(error)
            logger.warning("hopsworks: the registry is behind versions=%d problem=%s", waiting, problem)
        return Delivery(delivered, waiting, problem)

    def _there(self) -> list[RegisteredModel]:
        """The versions whose bundles can be given."""
        return [model for model in self._embedded.versions() if model.pruned_at is None]

    def _held(self) -> dict[int, Any]:
        name = self._connection.settings.model
        models = self._connection.ask("list models", lambda project: project.get_model_registry().get_models(name))
        return {int(model.version): model for model in models}

    def _refuse_another_bundle(self, versions: list[RegisteredModel], held: Mapping[int, Any]) -> None:
        for model in versions:
            there = held.get(model.version + 1)
            if there is not None and model.digest not in (there.description or ""):
                raise StorageError(
                    f"Version {model.version + 1} of {self._connection.settings.model} in Hopsworks is another bundle"
                    f" than our version {model.version}.",
                    remedy="Give each market a project, or a name in hopsworks.model, of its own.",
                )

    def _save(self, model: RegisteredModel) -> None:
        settings = self._connection.settings
        with tempfile.TemporaryDirectory() as folder:
            bundle = self._embedded.fetch(model.version, Path(folder))
            manifest = json.loads((bundle / "manifest.json").read_bytes())
            training = self._training_data(manifest)
            inputs = manifest.get("features", [])

            def question(project: Any) -> None:
                from hsml.model_schema import ModelSchema
                from hsml.schema import Schema

                remains = f"Models/{settings.model}/{model.version + 1}"
                datasets = project.get_dataset_api()
                if datasets.exists(remains):  # of a save that was killed: there is no such version
                    datasets.remove(remains)
                schema = ModelSchema(
                    input_schema=Schema([{"name": name, "type": "double"} for name in inputs]),
                    output_schema=Schema([{"name": name, "type": "double"} for name in _OUTPUTS]),
                )
                project.get_model_registry().python.create_model(
                    settings.model,
                    version=model.version + 1,
                    metrics={name: value for name, value in model.metrics.items() if math.isfinite(value)},
                    description=f"{model.verdict} (version {model.version}, sha256 {model.digest})",
                    input_example=_example(bundle, inputs),
                    model_schema=schema if inputs else None,
                    feature_view=training.view if training else None,
                    training_dataset_version=training.version if training else None,
                ).save(str(bundle), keep_original_files=True)

            self._connection.ask("take a bundle", question, timeout_s=settings.upload_timeout_s)

    def _training_data(self, manifest: Mapping[str, Any]) -> Any:
        """Of bundles that may serve: one for each that is tried would be a Spark job every half hour."""
        window, passed = manifest.get("data"), manifest.get("gate", {}).get("promote")
        if not window or not passed:
            return None
        start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
        return self._group.training_data(start, end, [*KEY, *manifest["features"]])

    def _tag(self, version: int) -> None:
        """Moves the tag: first to the new champion, so that there always is one."""

        def question(project: Any) -> None:
            registry, name = project.get_model_registry(), self._connection.settings.model
            champion = registry.get_model(name, version)
            if champion is None or champion.get_tag(CHAMPION_TAG) is not None:
                return
            champion.add_tag(CHAMPION_TAG, version)
            for model in registry.get_models(name):
                if model.version != version and model.get_tag(CHAMPION_TAG) is not None:
                    model.delete_tag(CHAMPION_TAG)

        try:
            self._connection.ask(f"move the tag {CHAMPION_TAG}", question)
        except StorageError as error:
            raise type(error)(
                error.message,
                remedy=f"{error.remedy} Tags need a schema: an administrator of Hopsworks makes one, named"
                f' {CHAMPION_TAG}, with {{"type": "integer"}}.',
            ) from error


def _example(bundle: Path, features: list[str]) -> pd.DataFrame | None:
    for name in _EXAMPLES:
        if features and (bundle / name).is_file():
            rows = pd.read_parquet(bundle / name, columns=features)
            return rows.head(1)
    return None
