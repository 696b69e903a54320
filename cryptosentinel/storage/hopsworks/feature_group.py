"""A feature group of a Hopsworks project: what it holds of some rows, and inserting the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from cryptosentinel.errors import StorageError, StoreUnavailableError
from cryptosentinel.storage.hopsworks.connection import Connection

KEY = ["asset", "timestamp"]
# What an online store gives back may differ from what it was given in the last bit.
_TOLERANCE = 1e-12
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class TrainingData:
    """A training dataset in Hopsworks.

    Attributes:
        view: the feature view, `hsfs.feature_view.FeatureView`.
        version: of the dataset.
    """

    view: Any
    version: int


class FeatureGroup:
    """One feature group, which is made with its first rows.

    Args:
        connection: to the project.
        name: its name.
        version: its version.
        descriptions: of the features, by name.
        about: the feature group's own description.
    """

    def __init__(
        self, connection: Connection, name: str, version: int, descriptions: Mapping[str, str], about: str
    ) -> None:
        self._connection = connection
        self._name, self._version = name, version
        self._descriptions, self._about = descriptions, about

    def bring(self, rows: pd.DataFrame) -> int:
        """Inserts those rows that are not there, or are there with other values; answers how many.

        Whatever happened to an insert before (it timed out and was written all the same, it was written in part, it
        was never sent), the feature group is asked first, and again afterwards.

        Raises:
            StoreUnavailableError: Hopsworks is away, or has not taken all of them yet.
            StorageError: it refuses them.
        """
        offered = _offered(rows)
        new = self._missing(offered)
        if new.empty:
            return 0
        options = {
            "wait_for_job": False,
            "wait_for_online_ingestion": True,
            "online_ingestion_options": {"timeout": max(1, int(self._connection.settings.timeout_s / 2))},
            # A Spark job for each insert would be 288 a day: one is scheduled instead.
            "start_offline_materialization": False,
        }
        self._connection.ask(
            "take rows", lambda project: self._open(project, list(rows.columns)).insert(new, write_options=options)
        )
        if len(missing := self._missing(new)):
            raise StoreUnavailableError(
                f"Hopsworks shows {len(new) - len(missing)} of {len(new)} rows that it was given.",
                remedy="The others wait, and are given to it again unless they appear.",
            )
        return len(new)

    def read(self, asset: str, start: datetime, end: datetime, columns: list[str]) -> pd.DataFrame:
        """The rows of the online store with ``start <= timestamp <= end``, by time, each key once."""

        def question(project: Any) -> pd.DataFrame:
            group = self._open(project, columns)
            if group.id is None:
                return pd.DataFrame(columns=columns)
            stamp = group.get_feature("timestamp")
            window = (group.get_feature("asset") == asset) & (stamp >= start) & (stamp <= end)
            return group.select(columns).filter(window).read(online=True)

        answer = self._connection.ask("say what it holds", question)
        if lacking := [name for name in columns if name not in answer.columns]:
            raise StorageError(f"Hopsworks answered rows of {self._name} without {', '.join(lacking)}.")
        if answer.empty:
            return answer
        answer["timestamp"] = pd.to_datetime(answer["timestamp"], utc=True).dt.as_unit("ms")
        return _tidy(answer)

    def training_data(self, start: datetime, end: datetime, columns: list[str]) -> TrainingData:
        """The training dataset of a window, made where there is none; Hopsworks fills it in a job of its own.

        Raises:
            StoreUnavailableError: Hopsworks is away.
            StorageError: it refuses.
        """
        about = f"{start.isoformat()} to {end.isoformat()}"

        def question(project: Any) -> TrainingData:
            store = project.get_feature_store()
            group = store.get_feature_group(self._name, version=self._version)
            if group is None:
                raise StorageError(f"Hopsworks has no feature group {self._name}, version {self._version}, yet.")
            view = store.get_or_create_feature_view(
                name=self._name, version=self._version, query=group.select(columns), description=self._about
            )
            for dataset in view.get_training_datasets():
                if dataset.description == about:
                    return TrainingData(view, int(dataset.version))
            version, _ = view.create_training_data(
                start_time=start,
                end_time=end,
                description=about,
                data_format="parquet",
                write_options={"wait_for_job": False},
            )
            return TrainingData(view, int(version))

        return self._connection.ask("make a training dataset", question)

    def delete(self) -> None:
        """Removes it with all that is in it."""

        def question(project: Any) -> None:
            group = project.get_feature_store().get_feature_group(self._name, version=self._version)
            if group is not None:
                group.delete()

        self._connection.ask(f"remove the feature group {self._name}", question)

    def _open(self, project: Any, columns: list[str]) -> Any:
        from hsfs.feature import Feature

        if wrong := [name for name in columns if not _NAME.fullmatch(name)]:
            raise StorageError(
                f"Hopsworks takes no feature named {', '.join(wrong)}: lower-case letters, digits and _, at most 63."
            )
        kinds = {"asset": "string", "timestamp": "timestamp"}
        about = {"asset": "Which asset", "timestamp": "When the bar opens, UTC", **self._descriptions}
        group = project.get_feature_store().get_or_create_feature_group(
            name=self._name,
            version=self._version,
            description=self._about,
            primary_key=KEY,
            event_time="timestamp",
            online_enabled=True,
            # Rows go through Kafka; Delta would need Hopsworks' own build of delta-rs in the place of the released one.
            stream=True,
            time_travel_format="HUDI",
            statistics_config=False,
            offline_backfill_every_hr=self._connection.settings.offline_every_hours,
            features=[
                Feature(name, type=kinds.get(name, "double"), description=about.get(name), primary=name in KEY)
                for name in columns
            ],
        )
        held = {feature.name for feature in group.features}
        if group.id is not None and (others := held ^ set(columns)):
            raise StorageError(
                f"The feature group {self._name}, version {self._version}, has other features: it differs in"
                f" {', '.join(sorted(others)[:5])}{' and more' if len(others) > 5 else ''}.",
                remedy="Raise hopsworks.feature_group_version: the rows go to that version, the earlier ones too.",
            )
        return group

    def _missing(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those rows that are not there as they are offered."""
        columns = [str(name) for name in rows.columns]
        figures = [name for name in columns if name not in KEY]
        stamps, assets, offered = _milliseconds(rows), rows["asset"].to_numpy(), rows[figures].to_numpy(np.float64)
        same = np.zeros(len(rows), dtype=bool)
        for asset in dict.fromkeys(assets):
            own = np.flatnonzero(assets == asset)
            start, end = (stamp.astype(datetime).replace(tzinfo=UTC) for stamp in stamps[own[[0, -1]]])
            held = self.read(str(asset), start, end, columns)
            if held.empty:
                continue
            there = _milliseconds(held)
            at = np.searchsorted(there, stamps[own]).clip(max=len(there) - 1)
            kept = held[figures].to_numpy(np.float64)[at]
            equal = np.isclose(offered[own], kept, rtol=_TOLERANCE, atol=0, equal_nan=True).all(axis=1)
            same[own] = equal & (there[at] == stamps[own])
        return rows[~same]


def _milliseconds(rows: pd.DataFrame) -> np.ndarray:
    stamps: np.ndarray = rows["timestamp"].to_numpy("datetime64[ms]")
    return stamps


def _offered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as Hopsworks takes them: by time, each key once, with nanoseconds and without infinities."""
    rows = _tidy(rows)
    figures = [name for name in rows.columns if name not in KEY]
    if np.isinf(rows[figures].to_numpy(np.float64)).any():  # its online store, a MySQL Cluster, knows no infinity
        rows = rows.assign(**rows[figures].replace([np.inf, -np.inf], np.nan))
    return rows.assign(timestamp=rows["timestamp"].dt.as_unit("ns"))


def _tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """By time, each key once: the one that came last."""
    stamps = pd.Index(rows["timestamp"])
    if stamps.is_monotonic_increasing and stamps.is_unique:
        return rows
    return rows.drop_duplicates(KEY, keep="last").sort_values(["timestamp", "asset"], ignore_index=True)
