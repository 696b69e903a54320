"""A Hopsworks project on this machine, with faults, held to the real client's signatures.

Every object that the code is handed is an autospec of the client's own class: a method that the client does not have,
or an argument that it does not take, is an error here too. Behind them is a small, obvious cluster: rows by key, models
by version, and a list of every value that ever arrived.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from unittest.mock import create_autospec

import hopsworks
import hsfs.feature_group
import hsfs.feature_store
import hsfs.feature_view
import hsml.model
import hsml.model_registry
import hsml.python.signature
import pandas as pd
import requests
from hopsworks_common.client.exceptions import FeatureStoreException, RestAPIError
from hopsworks_common.core.dataset_api import DatasetApi
from hopsworks_common.project import Project
from hsfs.constructor.filter import Filter, Logic
from hsfs.constructor.query import Query
from hsfs.training_dataset import TrainingDataset

Fault = Literal[
    "", "down", "busy", "expired", "lost answer", "partial", "silently partial", "twice", "killed", "killed late"
]
# All that an outage may do; an expired key is somebody's to mend.
AWAY: tuple[Fault, ...] = tuple(fault for fault in get_args(Fault) if fault not in {"", "expired"})


class Killed(BaseException):
    """The process ends here."""


def refused(status: int, message: str = "no") -> RestAPIError:
    response = requests.Response()
    response.status_code = status
    response._content = f'{{"errorCode": 1, "usrMsg": "{message}"}}'.encode()
    return RestAPIError("https://hopsworks.test/api", response)


@dataclass
class Group:
    """What a feature group holds, and every row that arrived in it, in order."""

    features: list[Any]
    options: dict[str, Any]
    rows: dict[tuple[str, pd.Timestamp], dict[str, Any]] = field(default_factory=dict)
    arrived: list[dict[str, Any]] = field(default_factory=list)
    writes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Cluster:
    """The project's state.

    Attributes:
        faults: what happens to the next calls, one each; none where it has ended.
        hang: an event that calls wait for after they have done their work; None: they do not.
    """

    faults: Iterator[Fault] = field(default_factory=lambda: iter(()))
    hang: threading.Event | None = None
    groups: dict[tuple[str, int], Group] = field(default_factory=dict)
    models: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    logins: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    schema: bool = True
    late_ingestion: bool = False
    ingesting: list[Callable[[], None]] = field(default_factory=list)

    def fault(self, call: str) -> Fault:
        """The fault of this call; raises it where nothing is done."""
        self.calls.append(call)
        fault = next(self.faults, "")
        if fault == "down":
            raise requests.ConnectionError("connection refused")
        if fault == "busy":
            raise refused(503, "overloaded")
        if fault == "expired":
            raise refused(401, "the key has expired")
        if fault == "killed":
            raise Killed
        return fault

    def end(self, fault: Fault) -> None:
        """What comes of a call after it has done its work."""
        if self.hang is not None:
            self.hang.wait(30)
        if fault == "lost answer":
            raise requests.ReadTimeout("read timed out")
        if fault == "killed late":
            raise Killed


class Double:
    """The client. Making it takes a second: make one, and `begin` a new cluster for each test."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.login = create_autospec(hopsworks.login, side_effect=self._login)
        self._project = create_autospec(Project, instance=True)
        self._store = create_autospec(hsfs.feature_store.FeatureStore, instance=True)
        self._group = create_autospec(hsfs.feature_group.FeatureGroup, instance=True)
        self._query = create_autospec(Query, instance=True)
        self._view = create_autospec(hsfs.feature_view.FeatureView, instance=True)
        self._registry = create_autospec(hsml.model_registry.ModelRegistry, instance=True)
        self._datasets = create_autospec(DatasetApi, instance=True)
        self._python = create_autospec(hsml.python.signature)
        self._project.name = "bitcoin"
        self._project.get_feature_store.return_value = self._store
        self._project.get_model_registry.return_value = self._registry
        self._project.get_dataset_api.return_value = self._datasets
        self._store.get_or_create_feature_group.side_effect = self._get_or_create
        self._store.get_feature_group.side_effect = self._get_group
        self._store.get_or_create_feature_view.side_effect = self._get_view
        self._group.get_feature.side_effect = lambda name: next(f for f in self._here.features if f.name == name)
        self._group.insert.side_effect = self._insert
        self._group.delete.side_effect = self._delete
        self._group.select.side_effect = self._select
        self._query.filter.side_effect = self._filter
        self._query.read.side_effect = self._read
        self._view.get_training_datasets.side_effect = lambda: list(self._sets())
        self._view.create_training_data.side_effect = self._training_data
        self._registry.get_models.side_effect = self._get_models
        self._registry.get_model.side_effect = lambda name, version=None: self._model(name, version)
        self._registry.python = self._python
        self._python.create_model.side_effect = self._create_model
        self._datasets.exists.side_effect = lambda path: path in self.cluster.folders
        self._datasets.remove.side_effect = lambda path: self.cluster.folders.remove(path)  # noqa: PLW0108 - of the cluster by then

    def begin(self) -> Cluster:
        self.cluster = Cluster()
        return self.cluster

    def _login(self, **given: Any) -> Any:
        self.cluster.logins.append(given)
        self.cluster.end(self.cluster.fault("login"))
        return self._project

    def _get_or_create(self, name: str, version: int, **options: Any) -> Any:
        self._key = (name, version)
        held = self.cluster.groups.get(self._key)
        self._here = held or Group(options["features"], options)
        self._group.id = 7 if held else None
        self._group.features = self._here.features
        return self._group

    def _get_group(self, name: str, version: int | None = None) -> Any:
        if (name, version) not in self.cluster.groups:
            return None
        return self._get_or_create(name, version)

    def _insert(self, features: pd.DataFrame, **options: Any) -> tuple[None, None]:
        fault = self.cluster.fault("insert")
        here = self.cluster.groups.setdefault(self._key, self._here)
        here.writes.append(options["write_options"])
        assert list(features) == [feature.name for feature in here.features]
        rows = features.to_dict("records")
        if "partial" in fault:
            rows = rows[: len(rows) // 2]

        def arrive() -> None:
            for row in rows:
                here.arrived.append(row)
                here.rows[row["asset"], row["timestamp"]] = row

        if self.cluster.late_ingestion:
            self.cluster.ingesting.append(arrive)
        else:
            arrive()
        if fault == "partial":
            raise FeatureStoreException("Failed to deliver a row to Kafka")
        self.cluster.end(fault)
        return None, None

    def _delete(self) -> None:
        self.cluster.fault("delete")
        del self.cluster.groups[self._key]

    def _select(self, features: list[str]) -> Any:
        self._selected, self._where = list(features), []
        return self._query

    def _filter(self, f: Filter | Logic) -> Any:
        self._where = list(_conditions(f))
        return self._query

    def _read(self, online: bool = False) -> pd.DataFrame:
        fault = self.cluster.fault("read")
        assert online, "the offline store is hours behind"
        held = [row for row in self._here.rows.values() if all(_holds(row, each) for each in self._where)]
        if fault == "twice":
            held = held + held[::-1]
        self.cluster.end(fault)
        rows = pd.DataFrame(held, columns=self._selected)
        # As a database answers: no time zone.
        stamps = pd.to_datetime(rows["timestamp"], utc=True).dt.tz_localize(None)
        return rows.assign(timestamp=stamps)

    def _get_view(self, name: str, query: Any, version: int, **_: Any) -> Any:
        assert query is self._query
        self._datasets_of = self.cluster.views.setdefault(f"{name}-{version}", {"columns": self._selected, "sets": {}})
        return self._view

    def _sets(self) -> Iterator[Any]:
        for version, description in self._datasets_of["sets"].items():
            dataset = create_autospec(TrainingDataset, instance=True)
            dataset.version, dataset.description = version, description
            yield dataset

    def _training_data(self, *, description: str, **_: Any) -> tuple[int, None]:
        version = len(self._datasets_of["sets"]) + 1
        self._datasets_of["sets"][version] = description
        return version, None

    def _get_models(self, name: str) -> list[Any]:
        fault = self.cluster.fault("list models")
        models = [self._model(name, version) for version in sorted(self.cluster.models)]
        return models * 2 if fault == "twice" else models

    def _model(self, name: str, version: int | None) -> Any:
        held = self.cluster.models.get(version or 1)
        if held is None or held["name"] != name:
            return None
        model = create_autospec(hsml.model.Model, instance=True)
        model.version, model.description = version, held["description"]
        model.get_tag.side_effect = held["tags"].get

        def add_tag(name: str, value: Any) -> None:
            if not self.cluster.schema:
                raise refused(404, "no such tag schema")
            held["tags"][name] = value

        model.add_tag.side_effect = add_tag
        model.delete_tag.side_effect = held["tags"].pop
        return model

    def _create_model(self, name: str, version: int, **given: Any) -> Any:
        model = create_autospec(hsml.model.Model, instance=True)

        def save(model_path: str, *, keep_original_files: bool) -> None:
            folder = f"Models/{name}/{version}"
            fault = self.cluster.fault("save")
            assert folder not in self.cluster.folders, "looks to be corrupt"
            assert keep_original_files
            self.cluster.folders.add(folder)
            if fault == "partial":
                raise Killed  # the client tidies up after any exception, but not after a kill
            files = {path.name: path.read_bytes() for path in Path(model_path).rglob("*") if path.is_file()}
            self.cluster.models[version] = {"name": name, "tags": {}, "files": files, **given}
            self.cluster.end(fault)

        model.save.side_effect = save
        return model


def _conditions(given: Filter | Logic) -> Iterator[Filter]:
    if isinstance(given, Filter):
        yield given
        return
    assert given._type == Logic.AND
    for part in (given._left_f, given._right_f, given._left_l, given._right_l):
        if part is not None:
            yield from _conditions(part)


def _holds(row: dict[str, Any], condition: Filter) -> bool:
    value: Any = row[condition._feature.name]
    other: Any = condition._value
    if condition._feature.type == "timestamp":
        other = pd.Timestamp(other, tz="UTC")
    return {
        Filter.EQ: value == other,
        Filter.GE: condition._condition == Filter.GE and value >= other,
        Filter.LE: condition._condition == Filter.LE and value <= other,
    }[condition._condition]
