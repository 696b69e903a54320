"""What a training does once it has registered: what is not kept any longer is deleted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptosentinel.errors import StorageError
from cryptosentinel.retention import prune
from cryptosentinel.workspace import Workspace

# Bundles that a training deletes at a time: a quarter of a day's.
BATCH = 12

_log = logging.getLogger(__name__)


def clear_up(workspace: Workspace, in_use: Mapping[int, str] | str) -> dict[str, float]:
    """Prunes the store; returns how much went.

    A failure is logged, and no more: the training has done its work, and the next one prunes as well.

    Args:
        workspace: whose store, and whose settings say what is kept.
        in_use: as in `retention.prune`.
    """
    try:
        things = prune(workspace.storage, workspace.settings, now=datetime.now(UTC), in_use=in_use, batch=BATCH)
    except StorageError as error:
        _log.warning("not everything was pruned; the next training goes on: %s", error)
        return {}
    gone = [thing for thing in things if not thing.stays]
    for thing in gone:
        _log.info("pruned kind=%s name=%r bytes=%d", thing.kind, thing.name, thing.bytes)
    return {"pruned": len(gone), "pruned_bytes": sum(thing.bytes for thing in gone)}
