"""Tries a Hopsworks project step by step, and leaves nothing behind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from cryptosentinel.config import HopsworksSettings
from cryptosentinel.errors import StorageError
from cryptosentinel.storage.hopsworks.connection import Connection
from cryptosentinel.storage.hopsworks.feature_group import KEY, FeatureGroup

_PROBE = "cryptosentinel_probe"


@dataclass(frozen=True)
class Step:
    """What one step found.

    Attributes:
        name: of the step.
        ok: whether it did what it should.
        detail: what happened, as a sentence.
        remedy: what to do, where it did not.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def check(settings: HopsworksSettings, login: Callable[..., Any] | None = None) -> Iterator[Step]:
    """Logs in, makes a feature group of its own, writes and reads a row in it, removes it, and asks the registry.

    What has failed ends it, but a feature group that was made is removed all the same.

    Args:
        settings: which project.
        login: in the place of `hopsworks.login`.
    """
    connection = Connection(settings, login)
    name = f"{_PROBE}_{uuid.uuid4().hex[:8]}"  # of nobody else
    group = FeatureGroup(connection, name, 1, {"value": "Whether it arrives"}, "A trial; it may be removed")
    now = datetime.now(UTC).replace(microsecond=0)
    row = pd.DataFrame({"asset": ["probe"], "timestamp": pd.to_datetime([now]).as_unit("ms"), "value": [1.5]})

    def read_back() -> str:
        read = group.read("probe", now - timedelta(days=1), now, [*KEY, "value"])
        if read["value"].tolist() != [1.5]:
            raise StorageError(
                f"Of the row that was written, Hopsworks answers {len(read)} rows with {read['value'].tolist()}.",
                remedy="Look at the online ingestion of the project in Hopsworks, and try again.",
            )
        return "It was read back from the online store."

    def log_in() -> str:
        return f"{settings.host} lets the key into the project {connection.ask('log in', lambda p: p.name)}."

    def find_group() -> str:
        connection.ask("open its feature store", lambda project: project.get_feature_store().name)
        return f"There is a feature store; the trial's feature group is {name}."

    def insert() -> str:
        group.bring(row)
        return "A row was inserted."

    def remove() -> str:
        group.delete()
        return f"The feature group {name} is removed."

    def ask_registry() -> str:
        models = connection.ask("list models", lambda p: p.get_model_registry().get_models(settings.model))
        return f"{settings.model} has {len(models)} version{'' if len(models) == 1 else 's'} there."

    ok = True
    for step, trial in (("login", log_in), ("feature store", find_group)):
        if ok:
            ok = yield from _tried(step, trial)
    if not ok:
        return
    for step, trial in (("insert", insert), ("read", read_back)):
        if ok:
            ok = yield from _tried(step, trial)
    # Also after an insert that failed: it may have made the feature group.
    removed = yield from _tried("removal", remove, f"Remove the feature group {name} by hand, in Hopsworks.")
    if ok and removed:
        yield from _tried("registry", ask_registry)


def _tried(name: str, trial: Callable[[], str], remedy: str = "") -> Generator[Step, None, bool]:
    try:
        step = Step(name, True, trial())
    except StorageError as error:
        step = Step(name, False, error.message, f"{error.remedy} {remedy}".strip())
    yield step
    return step.ok
