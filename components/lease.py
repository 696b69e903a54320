"""Steps that several schedulers may start: one of them works, the others say so and end well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from components.step import leave_out, tell
from cryptosentinel.storage import Lease
from cryptosentinel.workspace import Workspace


@contextmanager
def leased(name: str, workspace: Workspace, key: str = "") -> Iterator[Lease]:
    """A lease of the step for the interval that it is in by its source's clock; always ours where none are wanted.

    Args:
        name: the step's.
        workspace: its settings say how long intervals are.
        key: in the place of the interval: what there is to be worked on.
    """
    rules = workspace.settings.leases
    if not rules.interval_s:
        yield Lease("")
        return
    with workspace.storage.leases.take(
        name, key or _interval(workspace.source.now(), rules.interval_s), lost_after_s=rules.lost_after_s
    ) as lease:
        if lease.elsewhere:
            leave_out()
            tell(name, f"nothing to do: {lease.elsewhere}")
        yield lease


def _interval(now: datetime, length_s: float) -> str:
    """When it began, and how long it is: schedules of different cadence share no intervals."""
    begin = datetime.fromtimestamp(now.timestamp() // length_s * length_s, tz=UTC)
    return f"{begin.isoformat()}/{length_s:g}s"
