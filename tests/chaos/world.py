"""A platform in a folder or a bucket, with a market that one can have lie, and a clock that one sets.

Its steps are the pipelines' own components, in this process or in others (`processes`). Put in their place are the
clocks, the pauses between two attempts, and, but for where the predictor is what fails, KServe: the champion answers in
the step's own process. Everything else is as it runs: HTTP to the source and to who is told, files and objects.
"""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from components.featurize.component import featurize
from components.ingest.component import ingest
from components.predict.component import predict
from cryptosentinel.alerting import deliver
from cryptosentinel.bundle import RANDOM_WALK, Bundle, DataWindow
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.forecasting import register_bundle
from cryptosentinel.forecasting.evaluation import SHRUNK
from cryptosentinel.market.coingecko import CoinGeckoSource
from cryptosentinel.predicting import Answer, BundlePredictor, Rows
from cryptosentinel.workspace import Workspace, open_workspace
from tests.alerting.builders import Receiver
from tests.builders import make_tiny_bundle
from tests.chaos.gecko import Gecko
from tests.chaos.invariants import Evidence, Violation, violations

BAR = timedelta(minutes=5)
# A tick of the feature pipeline, half a minute after a bar is complete.
START = datetime(2025, 1, 6, 12, 0, 30, tzinfo=UTC)
INFERENCE = timedelta(minutes=2)
SETTINGS = {
    "market.source": "coingecko",
    "market.exchange.backfill_id": "",
    "market.coingecko.timeout_s": 0.5,
    "market.coingecko.budget_s": 2.0,
    "market.coingecko.max_attempts": 2,
    "training.window_days": 1,
    "forecast.horizon_bars": 1,  # so that forecasts are settled five minutes later,
    "forecast.settle_tolerance_s": 60,  # and not at the price that they began with
    "alerts.volatility": 0.05,  # so that there is always something to tell
    "alerts.stale_bars_s": 500,
    "alerts.cool_down_s": 0,
    "alerts.retry_s": 1,
    "alerts.retry_max_s": 60,
    "leases.interval_s": 300,  # as schedules have it
    "leases.lost_after_s": 10.0,  # no step here takes so long that it has to renew
}
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
COMPONENTS = {"ingest": ingest, "featurize": featurize, "predict": predict}


@dataclass(frozen=True)
class Place:
    """All that a process needs to run a step; `options` are the object store's, `more` other settings."""

    home: str
    source: str
    hook: str = "http://127.0.0.1:9/nobody"
    uri: str = ""
    options: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def secrets(self) -> dict[str, str]:
        """Which steps have from the environment."""
        options = {f"CRYPTOSENTINEL_STORAGE__OPTIONS__{name}": value for name, value in self.options.items()}
        return options | {"CRYPTOSENTINEL_ALERTS__WEBHOOK_URL": self.hook}

    @property
    def settings(self) -> Settings:
        given = SETTINGS | {"home": self.home, "market.coingecko.base_url": self.source, "storage.uri": self.uri}
        return load_settings(environ=self.secrets, overrides=given | self.more)


@dataclass
class Artifact:
    """What Kubeflow hands a component to write to."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value


@dataclass(frozen=True)
class Result:
    """What came of a step.

    Attributes:
        returned: what its component returned; None where it failed.
        problem: what a person reads of its failure.
        foreseen: whether that is an error of ours, with a remedy.
        asked: how often a predictor was asked.
    """

    step: str
    returned: Any = None
    problem: str = ""
    foreseen: bool = True
    asked: int = 0


class _Counting:
    def __init__(self, predictor: BundlePredictor) -> None:
        self.predictor, self.asked = predictor, 0

    def infer(self, rows: Rows) -> Answer:
        self.asked += 1
        return self.predictor.infer(rows)


@contextmanager
def standing_in(place: Place, clock: Callable[[], datetime]) -> Iterator[list[_Counting]]:
    """Sets the clocks, and has the champion answer in this process unless the settings name a predictor."""
    champions: list[_Counting] = []

    def champion(_serving: object) -> Any:
        workspace = open_workspace(place.settings)
        version = workspace.champion().version
        champions.append(_Counting(BundlePredictor(Bundle.load(workspace.champion_bundle()), version)))
        return nullcontext(champions[-1])

    source = partial(CoinGeckoSource, clock=clock, sleep=lambda _: None)
    with ExitStack() as stack:
        stack.enter_context(patch("cryptosentinel.market.opening.CoinGeckoSource", source))
        stack.enter_context(patch("cryptosentinel.predicting.step.deliver", partial(deliver, clock=clock)))
        stack.enter_context(patch.dict(os.environ, place.secrets))
        # Nothing here is encrypted, and to read all authorities' certificates takes 0.1 s for each client.
        stack.enter_context(patch("httpx._transports.default.create_ssl_context", lambda **_: NO_AUTHORITIES))
        if place.settings.serving.url is None:
            stack.enter_context(patch("serving.client.predictor_for", champion))
        yield champions


def run_step(name: str, place: Place, now: datetime, **given: Any) -> Result:
    """One component, at a time."""
    function = COMPONENTS[name].python_func
    outputs = [name for name, kind in function.__annotations__.items() if kind is not str and name != "return"]
    with TemporaryDirectory() as folder, standing_in(place, lambda: now) as champions:
        artifacts = {output: Artifact(f"{folder}/{output}") for output in outputs}
        try:
            returned = function(settings=place.settings.public_json(), as_of="", **given, **artifacts)
        except Exception as error:
            foreseen = isinstance(error, CryptoSentinelError)
            return Result(name, problem=str(error) or repr(error), foreseen=foreseen)
        return Result(name, returned, asked=sum(champion.asked for champion in champions))


def feature(place: Place, now: datetime) -> list[Result]:
    """The feature pipeline."""
    first = run_step("ingest", place, now)
    if first.problem:
        return [first]
    return [first, run_step("featurize", place, now, touched_from=first.returned[0])]


def inference(place: Place, now: datetime) -> list[Result]:
    """The inference pipeline."""
    return [run_step("predict", place, now)]


def register(place: Place, now: datetime) -> list[Result]:
    """The end of the training pipeline: a bundle, another one at each time, that passed the gate."""
    window = dict.fromkeys(("start", "training_end", "holdout_start", "end"), now)
    rows = dict.fromkeys(("training_rows", "oof_rows", "holdout_rows", "bars_version", "features_version"), 1)
    with TemporaryDirectory() as folder, standing_in(place, lambda: now):
        workspace = open_workspace(place.settings)
        log_return = (now - START).total_seconds() / 1e7
        bundle = make_tiny_bundle(Path(folder) / "bundle", workspace.spec, log_return=log_return, horizon_bars=1)
        gate = bundle.manifest.gate.model_copy(update={"figures": {"blend_may_speak": 1.0, "look_tested": 0.0}})
        seen = {"data": DataWindow(**window, **rows), "metrics": {SHRUNK: {}, RANDOM_WALK: {}}, "gate": gate}
        bundle.manifest = bundle.manifest.model_copy(update=seen)
        workspace.champion()
        registered, promoted = register_bundle(workspace.storage.registry, bundle)
    return [Result("register", [registered.version, promoted])]


def tick(place: Place, now: datetime) -> list[Result]:
    """What happens in five minutes."""
    return feature(place, now) + inference(place, now + INFERENCE)


@dataclass
class World:
    """A place, its market, its clock, and what came of its steps."""

    place: Place
    gecko: Gecko
    receiver: Receiver
    now: datetime
    results: list[Result] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)

    def clock(self) -> datetime:
        return self.now

    def go_on(self, ticks: int, *, bars: int = 1) -> list[Result]:
        """So many ticks, so many bars apart."""
        new = []
        for _ in range(ticks):
            self.now += bars * BAR
            new += self.run(feature)
            self.now += INFERENCE
            new += self.run(inference)
            self.now -= INFERENCE
        return new

    def run(self, pipeline: Callable[[Place, datetime], list[Result]]) -> list[Result]:
        """A pipeline now."""
        new = pipeline(self.place, self.now)
        self.results += new
        return new

    def well(self) -> None:
        """The source tells the truth, who is told answers, and everything runs: once to heal, once to tell of it."""
        self.gecko.fault = self.gecko.lie = None
        self.receiver.answer = 200
        self.go_on(2)

    def open_alerts(self) -> set[str]:
        return set(self.workspace.storage.log.read_alerts("bitcoin", open_only=True)["kind"])

    @property
    def workspace(self) -> Workspace:
        with standing_in(self.place, self.clock):
            return open_workspace(self.place.settings)

    def evidence(self) -> Evidence:
        now = self.now + INFERENCE
        return Evidence(self.workspace, self.gecko.truth(), self.receiver.requests, now, self.unsure)

    def violations(self) -> list[Violation]:
        unforeseen = [result for result in self.results if not result.foreseen]
        crashed = [Violation("failures_are_explained", f"{each.step}: {each.problem}") for each in unforeseen]
        return crashed + violations(self.evidence())

    def alerts(self) -> set[str]:
        """The kinds of all alerts so far."""
        return set(self.workspace.storage.log.read_alerts("bitcoin")["kind"])

    def problems(self, results: list[Result]) -> str:
        return "\n".join(f"{result.step}: {result.problem}" for result in results if result.problem)


def at_another(place: Place, home: Path, **more: Any) -> Place:
    """The same place, copied."""
    shutil.copytree(place.home, home)
    return replace(place, home=str(home), **more)
