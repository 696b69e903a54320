"""Runs in alibi-detect's own environment, as a script: pairs of samples in Parquet, the detector's answer as JSON.

Takes a folder with `N-reference.parquet` and `N-current.parquet`, how many pairs there are, and the megabytes that its
data may take. It imports nothing of this library, which that environment lacks.
"""

import json
import resource
import sys
import types
import warnings
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def tabular_drift() -> Any:
    """The one detector without its package's front doors, which import every other: seconds, and numba with them."""
    spec = find_spec("alibi_detect")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("alibi-detect is not installed there: run `make setup-drift`")
    for name in ("alibi_detect", "alibi_detect.cd", "alibi_detect.utils"):
        package = types.ModuleType(name)
        inside = name.split(".")[1:]
        package.__path__ = [str(Path(folder, *inside)) for folder in spec.submodule_search_locations]
        sys.modules[name] = package
    return import_module("alibi_detect.cd.tabular").TabularDrift


def main(folder: str, pairs: int, memory_mb: int) -> None:
    """Prints one line of JSON."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
    warnings.filterwarnings("ignore", "No `categories_per_feature`")
    detector = tabular_drift()
    import pandas as pd

    tables = []
    for number in range(pairs):
        reference, current = (
            pd.read_parquet(Path(folder, f"{number}-{name}.parquet")).to_numpy() for name in ("reference", "current")
        )
        found = detector(reference, correction="fdr").predict(current)["data"]
        tables.append({"statistic": found["distance"].tolist(), "p_value": found["p_val"].tolist()})
    print(json.dumps({"version": version("alibi-detect"), "tables": tables}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
