"""Bundles that say something else than the one they were made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cryptosentinel.bundle import Bundle
from tests.forecasting.builders import make_dataset, stress_rows

CLOSE = 600.0


def with_manifest(bundle: Bundle, path: Path, **changed: Any) -> Bundle:
    """A copy of a bundle with other fields in its manifest."""
    shutil.copytree(bundle.path, path)
    manifest = bundle.manifest.model_copy(update=changed)
    (path / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return Bundle.load(path)


def odd_rows(count: int = 60, seed: int = 0) -> np.ndarray:
    """Rows trained on, rows a hair beside them, and rows far outside."""
    return stress_rows(make_dataset(), count, seed).astype(np.float64)
