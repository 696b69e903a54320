"""Small files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file anew; times are written in ISO's way.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    scratch.write_text(json.dumps(dict(content), default=str), encoding="utf-8")
    scratch.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A file's content; None where there is none, or nothing that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
