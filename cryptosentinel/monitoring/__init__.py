"""How the platform itself is doing: the newest runs, the metrics that steps send, and all of it at a glance."""

from cryptosentinel.monitoring.metrics import METRICS, Metric, Sample
from cryptosentinel.monitoring.sending import send
from cryptosentinel.monitoring.watching import RunWatch

__all__ = ["METRICS", "Metric", "RunWatch", "Sample", "send"]
