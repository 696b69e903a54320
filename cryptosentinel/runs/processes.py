"""Which process wrote something, and whether it is still there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def this_process() -> dict[str, Any]:
    """This process, as `is_alive` knows it again."""
    import psutil

    return {"pid": os.getpid(), "started_at": psutil.Process().create_time()}


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process is; another one that got its number is not taken for it."""
    import psutil

    try:
        found = psutil.Process(int(process["pid"]))
        same = abs(found.create_time() - float(process["started_at"])) < 1
        return same and bool(found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
