"""What should be on Kubeflow Pipelines, as the settings have it: four pipelines, each with a version and a schedule."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptosentinel import __version__
from cryptosentinel.config import Settings
from cryptosentinel.errors import UserInputError
from pipelines.kubeflow.compiling import PIPELINE_NAMES, compile_pipelines
from pipelines.scheduler import shortest_pause_s

# In a pod: the one folder that is written to.
_HOME = "/tmp/cryptosentinel"  # noqa: S108
# What a step does not look at; a change of these is no change of its runs.
_NOT_FOR_STEPS = ("kubeflow", "schedules", "dashboard")
_HASH = 12


@dataclass(frozen=True)
class Wanted:
    """One pipeline as it should be.

    Attributes:
        pipeline: which, e.g. `feature`.
        name: what it is called there.
        package: the compiled file.
        version: its version's name, which ends in the hash of that file.
        cron: when it runs.
        parameters: of a run that is asked for.
        service_account: of its steps; None for Kubeflow's.
    """

    pipeline: str
    name: str
    package: Path
    version: str
    cron: str
    parameters: dict[str, Any]
    service_account: str | None

    @property
    def scheduled_parameters(self) -> dict[str, Any]:
        """Of a run that the schedule starts: where another scheduler starts it too, one of the two works."""
        if "settings" not in self.parameters:
            return self.parameters
        given = json.loads(self.parameters["settings"])
        given["leases"] = given.get("leases", {}) | {"interval_s": shortest_pause_s(self.cron)}
        return self.parameters | {"settings": json.dumps(given, sort_keys=True)}

    @property
    def schedule(self) -> str:
        """The name of its recurring run, which ends in the hash of all that this should be."""
        content = [self.version, self.cron, self.scheduled_parameters, self.service_account]
        return f"{self.name}-{_hash(json.dumps(content, sort_keys=True).encode())}"


@contextmanager
def compiled(settings: Settings) -> Iterator[list[Wanted]]:
    """The four pipelines, compiled into a folder that is there as long as the block.

    Raises:
        UserInputError: the settings do for one machine, but not for a cluster.
    """
    _check(settings)
    with TemporaryDirectory() as folder:
        packages = {one.name: one.path for one in compile_pipelines(Path(folder), settings.kubeflow)}
        yield [
            Wanted(
                pipeline=pipeline,
                name=f"{settings.kubeflow.name}-{pipeline}",
                package=packages[pipeline],
                version=f"{__version__}-{_hash(packages[pipeline].read_bytes())}",
                cron=getattr(settings.schedules, pipeline),
                parameters=parameters(pipeline, settings),
                service_account=settings.kubeflow.service_account,
            )
            for pipeline in PIPELINE_NAMES
        ]


def parameters(pipeline: str, settings: Settings) -> dict[str, Any]:
    """What each run of a pipeline is given."""
    if pipeline == "upkeep":
        return {}
    public = json.loads(settings.public_json())
    given = {name: value for name, value in public.items() if name not in _NOT_FOR_STEPS} | {"home": _HOME}
    if pipeline == "inference":
        # It watches whether the others come in time.
        given["schedules"] = {name: cron for name, cron in public["schedules"].items() if name != "upkeep"}
    if pipeline != "training":
        return {"settings": json.dumps(given, sort_keys=True)}
    from cryptosentinel.forecasting import part_names

    return {"settings": json.dumps(given, sort_keys=True), "parts": part_names(settings.training)}


def is_ours(name: str, prefix: str, pipeline: str | None = None) -> bool:
    """Whether a recurring run of this name is one that we keep, of one pipeline or of any."""
    which = re.escape(pipeline) if pipeline else "|".join(PIPELINE_NAMES)
    return re.fullmatch(rf"{re.escape(prefix)}-({which})-[0-9a-f]{{{_HASH}}}", name) is not None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH]


def _check(settings: Settings) -> None:
    problems = []
    if settings.market.source.partition(":")[0] in {"auto", "file"}:
        problems.append(
            "market.source must name a market that every pod reaches: coingecko, exchange:<id> or simulated:<seed>"
        )
    if "://" not in (settings.storage.uri or ""):
        problems.append("storage.uri must be an object store (s3://, gs://, az://): pods share no folder")
    if settings.serving.url is None:
        problems.append("serving.url must name the predictor, e.g. http://cryptosentinel-predictor.default")
    if problems:
        raise UserInputError(f"For a cluster, {'; '.join(problems)}.", remedy="`cryptosentinel run` needs none of it.")
