"""Compiles the pipelines into the YAML that Kubeflow Pipelines takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptosentinel.errors import UserInputError

MANIFESTS = Path("manifests/pipelines")


@dataclass(frozen=True)
class Compiled:
    """One compiled pipeline, and whether its file changed."""

    name: str
    path: Path
    changed: bool


def compile_pipelines(folder: Path) -> list[Compiled]:
    """Compiles every pipeline into `<folder>/<name>.yaml`; the same definition gives the same bytes.

    Raises:
        UserInputError: the folder cannot be written.
    """
    from kfp import compiler

    from pipelines.definitions import PIPELINES

    compiled = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, pipeline in PIPELINES.items():
            path = folder / f"{name}.yaml"
            before = path.read_bytes() if path.exists() else None
            compiler.Compiler().compile(pipeline, str(path))
            compiled.append(Compiled(name, path, before != path.read_bytes()))
    except OSError as error:
        raise UserInputError(
            f"The pipelines cannot be written to {folder}: {error.strerror or error}.",
            remedy="Name a folder that can be written with --output.",
        ) from error
    return compiled
