"""What Prometheus is told at `/metrics`, beside KServe's own metrics.

With several workers each writes its counts to files in the folder that `PROMETHEUS_MULTIPROC_DIR` names, and the one
that is asked adds them up. That variable is read when `prometheus_client` is imported: see `serving.workers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from fastapi import Request, Response
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, exposition, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from serving.workers import MULTIPROCESS_FOLDER

if TYPE_CHECKING:
    from serving.asked import Reply
    from serving.predictor import ForecastModel

Protocol = Literal["v1", "v2", "v2_binary", "grpc", "timeseries", "explain", "other"]
Outcome = Literal["ok", "client_error", "unavailable", "server_error"]
OTHER: Protocol = "other"  # probes, metadata, metrics, and every path that does not exist

_SECONDS = Histogram(
    "cryptosentinel_request_duration_seconds",
    "From a request's head to its answer's last byte.",
    ["protocol", "outcome"],
    buckets=(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_IN_FLIGHT = Gauge(
    "cryptosentinel_requests_in_flight",
    "Requests that are being answered.",
    ["protocol"],
    multiprocess_mode="livesum",
)
ROWS = Counter("cryptosentinel_forecast_rows_total", "Rows that were answered.")
ABSTAINED_ROWS = Counter("cryptosentinel_abstained_rows_total", "Rows answered with the flag that nothing is claimed.")
OUTLYING_ROWS = Counter("cryptosentinel_outlying_rows_total", "Rows unlike those that the bundle was trained on.")
SWAPS = Counter("cryptosentinel_bundle_swaps_total", "Bundles put in another's place, by each worker.", ["outcome"])
EXPLAIN_REFUSED = Counter(
    "cryptosentinel_explain_refused_total", "Explanations refused because too many were asked for at once."
)

# Their children by label are kept: looking them up costs more than counting.
_seconds: dict[tuple[Protocol, Outcome], Histogram] = {}
_in_flight: dict[Protocol, Gauge] = {}


def began(protocol: Protocol) -> None:
    """A request is in flight."""
    gauge = _in_flight.get(protocol)
    if gauge is None:
        gauge = _in_flight[protocol] = _IN_FLIGHT.labels(protocol)
    gauge.inc()


def ended(protocol: Protocol, outcome: Outcome, seconds: float) -> None:
    """A request that had begun is answered."""
    _in_flight[protocol].dec()
    histogram = _seconds.get((protocol, outcome))
    if histogram is None:
        histogram = _seconds[protocol, outcome] = _SECONDS.labels(protocol, outcome)
    histogram.observe(seconds)


def outcome_of(status: int) -> Outcome:
    """What an HTTP status says; 0 stands for a client that left before it got one, 501 for what is switched off."""
    if status in {0, 501} or 400 <= status < 500:
        return "client_error"
    if status < 400:
        return "ok"
    return "unavailable" if status == 503 else "server_error"


def count_rows(reply: Reply) -> None:
    """Rows were answered."""
    ROWS.inc(len(reply.abstained))
    for counter, rows in ((ABSTAINED_ROWS, reply.abstained), (OUTLYING_ROWS, reply.answer.inference.outlying)):
        if count := int(np.count_nonzero(rows)):
            counter.inc(count)


def count_row(abstained: bool, outlying: bool) -> None:
    """One row was answered."""
    ROWS.inc()
    if abstained:
        ABSTAINED_ROWS.inc()
    if outlying:
        OUTLYING_ROWS.inc()


class MetricsEndpoint:
    """Answers `/metrics`: this process's counts, or those of all workers added up, and the bundle that is served."""

    def __init__(self, model: ForecastModel) -> None:
        self._model = model

    def __call__(self, request: Request) -> Response:
        """A plain function, so that it runs beside the event loop: reading many workers' files takes milliseconds."""
        encoder, content_type = exposition.choose_encoder(request.headers.get("accept"))
        return Response(content=encoder(self), headers={"content-type": content_type})  # type: ignore[arg-type]

    def collect(self) -> Iterator[Metric]:
        """Called by the encoder."""
        if MULTIPROCESS_FOLDER in os.environ:
            yield from multiprocess.MultiProcessCollector(None).collect()
        else:
            yield from REGISTRY.collect()
        if not self._model.ready:
            return
        served = self._model.served
        yield GaugeMetricFamily("cryptosentinel_bundle_version", "Of the bundle that is served.", served.version)
        if (data_end := served.bundle.manifest.data_end) is not None:
            age_s = (datetime.now(UTC) - data_end).total_seconds()
            yield GaugeMetricFamily(
                "cryptosentinel_bundle_age_seconds", "Since the end of the data that the served bundle has seen.", age_s
            )
