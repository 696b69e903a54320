"""How the platform itself is doing: the newest runs, the metrics that steps send, and all of it at a glance.

`RunWatch` watches one run of a step, `read_status` looks at everything, `show` draws it. A step imports no more of it
than it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cryptosentinel.monitoring.metrics import METRICS, Metric, Sample
from cryptosentinel.monitoring.sending import send
from cryptosentinel.monitoring.watching import RunWatch

if TYPE_CHECKING:
    from cryptosentinel.monitoring.showing import show
    from cryptosentinel.monitoring.status import Problem, Status, read_status

__all__ = ["METRICS", "Metric", "Problem", "RunWatch", "Sample", "Status", "read_status", "send", "show"]

_AT_A_GLANCE = {"Problem": "status", "Status": "status", "read_status": "status", "show": "showing"}


def __getattr__(name: str) -> Any:
    if name in _AT_A_GLANCE:
        return getattr(import_module(f"{__name__}.{_AT_A_GLANCE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
