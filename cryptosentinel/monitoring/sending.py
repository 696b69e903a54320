"""Metrics on their way: to a Prometheus Pushgateway, and to an OpenTelemetry collector.

A step waits for neither longer than `monitoring.timeout_s`, whatever hangs there (a name server, too), and its outcome
does not depend on them: what goes wrong is a line in its log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from threading import Thread
from typing import TYPE_CHECKING, Any

from cryptosentinel import __version__
from cryptosentinel.config import MonitoringSettings
from cryptosentinel.monitoring.metrics import METRICS, Sample

if TYPE_CHECKING:
    from prometheus_client.metrics_core import GaugeMetricFamily

_log = logging.getLogger(__name__)

_METRICS = {metric.name: metric for metric in METRICS}


def send(samples: Iterable[Sample], group: Mapping[str, str], settings: MonitoringSettings) -> None:
    """Sends samples to where the settings say; raises nothing.

    Args:
        samples: of metrics of the table.
        group: labels of all of them that say whose they are: market, step, part. What a later run sends under the same
            replaces them, name by name; it holds nothing that is new with each run, since a gateway forgets nothing.
        settings: where to.
    """
    given, labels = list(samples), {**settings.labels, **group}
    ways: dict[str, Callable[[], None]] = {}
    if settings.pushgateway_url is not None:
        ways[settings.pushgateway_url] = lambda: _to_gateway(given, labels, settings)
    if settings.otlp_url is not None:
        ways[settings.otlp_url] = lambda: _to_collector(given, labels, settings)
    ends, attempts = time.monotonic() + settings.timeout_s, [_Attempt(url, way) for url, way in ways.items()]
    for attempt in attempts:
        attempt.join(max(ends - time.monotonic(), 0.0))
        if attempt.is_alive():
            attempt.problem = f"no answer within {settings.timeout_s:g} s"
        if attempt.problem:
            _log.warning("metrics were not sent to=%s problem=%s", attempt.url, attempt.problem)


class _Attempt(Thread):
    """One way, in a thread that nobody waits for when it hangs."""

    def __init__(self, url: str, way: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.url, self.problem = url, ""
        self._way = way
        self.start()

    def run(self) -> None:
        try:
            self._way()
        except Exception as error:  # noqa: BLE001 (whatever it is, the step has done its work)
            self.problem = " ".join(str(error).split()) or type(error).__name__


class _Families:
    """Samples as `prometheus_client` collects them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = sorted(samples, key=lambda sample: sample.name)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for name, same in groupby(self._samples, key=lambda sample: sample.name):
            metric = _METRICS[name]
            family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            for sample in same:
                family.add_metric([sample.labels[label] for label in metric.labels], sample.value)
            yield family


def _to_gateway(samples: Sequence[Sample], group: Mapping[str, str], settings: MonitoringSettings) -> None:
    from prometheus_client.exposition import basic_auth_handler, default_handler, pushadd_to_gateway

    user, password = settings.pushgateway_user, settings.pushgateway_password

    def authenticated(**request: Any) -> Callable[[], None]:
        return basic_auth_handler(**request, username=user, password=password.get_secret_value() if password else "")

    # Added, not put: what a failed run does not send stays as the last good one left it.
    pushadd_to_gateway(
        str(settings.pushgateway_url),
        settings.job,
        _Families(samples),
        grouping_key=dict(group),
        timeout=settings.timeout_s,
        handler=authenticated if user is not None else default_handler,
    )


def _to_collector(samples: Sequence[Sample], group: Mapping[str, str], settings: MonitoringSettings) -> None:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import (
        Gauge,
        Metric,
        MetricExportResult,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    now = time.time_ns()

    def metric(name: str, same: Iterable[Sample]) -> Metric:
        points = [NumberDataPoint({**group, **sample.labels}, 0, now, sample.value) for sample in same]
        # Prometheus puts a unit behind a name that does not end in it.
        return Metric(name, _METRICS[name].help, "s" if name.endswith("_seconds") else "", Gauge(points))

    ordered = sorted(samples, key=lambda sample: sample.name)
    metrics = [metric(name, same) for name, same in groupby(ordered, key=lambda sample: sample.name)]
    # An id of the market's, since the default is a new one for each process, and a series each would come of it.
    resource = Resource.create({"service.name": settings.job, "service.instance.id": group["market"]})
    scope = ScopeMetrics(InstrumentationScope("cryptosentinel", __version__), metrics, "")
    exporter = OTLPMetricExporter(f"{settings.otlp_url}/v1/metrics", timeout=settings.timeout_s)
    with _said_by("opentelemetry") as said:
        done = exporter.export(MetricsData([ResourceMetrics(resource, [scope], "")]))
    if done is not MetricExportResult.SUCCESS:
        raise ConnectionError(said[0] if said else "the collector did not take them")


@contextmanager
def _said_by(name: str) -> Iterator[list[str]]:
    """What a library logs, in the place of its log: it says why it failed nowhere else, and with every try."""
    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, heard = logging.getLogger(name), Heard()
    logger.addHandler(heard)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = True
        logger.removeHandler(heard)
