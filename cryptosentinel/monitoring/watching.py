"""One run of a step as it is noted in the store, and told to whoever gathers metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptosentinel.config import Settings
from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.market import source_slug
from cryptosentinel.monitoring.metrics import Sample
from cryptosentinel.monitoring.sending import send
from cryptosentinel.storage import RunLog, StepRun, open_run_log
from cryptosentinel.workspace import Workspace, market_name

_log = logging.getLogger(__name__)


class RunWatch:
    """Watches a step from its begin to its end. Whatever fails in it is a line in the log, and no failure of the step.

    Args:
        step: which.
        part: of those that run beside each other.
        settings: of the run.
    """

    def __init__(self, step: str, part: str, settings: Settings) -> None:
        self._settings = settings
        self._run = StepRun(step=step, part=part, began_at=datetime.now(UTC))
        self._workspace: Workspace | None = None
        self._log: RunLog | None = None
        self._before: StepRun | None = None
        self._is_left_out = False
        self._rows: dict[str, int] = {}
        self._newest: datetime | None = None
        self._figures: dict[str, float] = {}

    def began(self, workspace: Workspace) -> None:
        """The step has its stores: notes that it runs."""
        self._workspace = workspace
        try:
            self._log = open_run_log(workspace.settings.storage, workspace.storage.uri)
            run = self._run
            self._before, self._run = self._log.begin(run.step, run.part, now=run.began_at)
        except CryptoSentinelError as error:
            _log.warning("the run was not noted step=%s problem=%s", self._run.name, error)

    def found(self, rows: Mapping[str, int], newest: datetime | None, figures: Mapping[str, float]) -> None:
        """What the step has to tell of its work; once more adds to it."""
        self._rows |= rows
        self._newest = newest or self._newest
        self._figures |= figures

    def left_out(self) -> None:
        """Another process does the work, and tells of it."""
        self._is_left_out = True
        try:
            if self._log is not None:
                self._log.forget(self._run, self._before)
        except CryptoSentinelError as error:
            _log.warning("the run before was not noted again step=%s problem=%s", self._run.name, error)

    def ended(self, error: Exception | None = None) -> None:
        """The step has ended: notes what came of it, and sends the metrics."""
        if self._is_left_out and error is None:
            return
        now = datetime.now(UTC)
        if error is None:
            run = self._run.succeeds(now, rows=self._rows, newest=self._newest, figures=self._figures)
        else:
            run = self._run.fails(now, type(error).__name__, getattr(error, "message", "") or str(error))
        try:
            if self._log is not None:
                self._log.write(run)
        except CryptoSentinelError as problem:
            _log.warning("the run was not noted step=%s problem=%s", run.name, problem)
        chosen = self._settings.monitoring
        if chosen.pushgateway_url is not None or chosen.otlp_url is not None:
            group = {"market": self._market(), "step": run.step} | ({"part": run.part} if run.part else {})
            send(self._samples(run), group, chosen)

    def _samples(self, run: StepRun) -> list[Sample]:
        from cryptosentinel.monitoring.figures import of_run, of_step

        if self._workspace is None:
            return list(of_run(run, now=datetime.now(UTC)))
        now = self._workspace.source.now()
        samples = list(of_run(run, now=now))
        try:
            samples += of_step(run, self._workspace, now=now)
        except Exception as error:  # noqa: BLE001 (the step has done its work, and how it ended is told all the same)
            _log.warning("figures of the step are not known step=%s problem=%s", run.name, error)
        return samples

    def _market(self) -> str:
        if self._workspace is not None:
            return self._workspace.market
        market = self._settings.market
        return market_name("auto" if market.source == "auto" else source_slug(market.source), market)
