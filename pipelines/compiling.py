"""Compiles the pipelines into the YAML that Kubeflow Pipelines takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MANIFESTS = Path("manifests/pipelines")


@dataclass(frozen=True)
class Compiled:
    """One compiled pipeline, and whether its file changed."""

    name: str
    path: Path
    changed: bool


def compile_pipelines(folder: Path) -> list[Compiled]:
    """Compiles every pipeline into `<folder>/<name>.yaml`; the same definition gives the same bytes."""
    from kfp import compiler

    from pipelines.definitions import PIPELINES

    folder.mkdir(parents=True, exist_ok=True)
    compiled = []
    for name, pipeline in PIPELINES.items():
        path = folder / f"{name}.yaml"
        before = path.read_bytes() if path.exists() else None
        compiler.Compiler().compile(pipeline, str(path))
        compiled.append(Compiled(name, path, before != path.read_bytes()))
    return compiled
