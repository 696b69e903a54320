"""A bundle as a folder: written once, its manifest last; believed only as far as it was verified."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.conversion import INPUT
from cryptosentinel.bundle.domain import Domain
from cryptosentinel.bundle.manifest import BLEND, FORMAT_VERSION, MANIFEST, RANDOM_WALK, Manifest, file_digest
from cryptosentinel.bundle.quantiles import QuantileTable
from cryptosentinel.errors import BundleDamagedError, BundleError, BundleFormatError

ONNX_FILE, TABLES_FILE = "inference.onnx", "tables.json"
QUANTILES_FILE, CALIBRATION_FILE, DOMAIN_FILE = "quantiles.json", "calibration.json", "domain.json"
DIRECTION, REGIME = "direction", "regime"
_WEIGHT_TOLERANCE = 1e-9

Table = TypeVar("Table", bound=BaseModel)


def write_bundle(
    path: Path,
    manifest: Manifest,
    fill: Callable[[Path], None],
    *,
    quantiles: QuantileTable,
    calibration: Calibration,
    domain: Domain | None = None,
) -> Manifest:
    """Writes a bundle folder; the manifest comes last, so that a folder without one is no bundle.

    Args:
        path: a folder that does not exist yet, or is empty.
        manifest: all but `files`, which is computed here.
        fill: writes the other files into the folder it is given.
        quantiles: see `Bundle`, as for the next two.
        calibration: of the classifier.
        domain: of the training rows.

    Returns:
        The manifest as written.

    Raises:
        BundleError: there is something in the folder already.
    """
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise BundleError(f"{path} is not empty.", remedy="Write each bundle into a folder of its own.")
    fill(path)
    for name, table in ((QUANTILES_FILE, quantiles), (CALIBRATION_FILE, calibration), (DOMAIN_FILE, domain)):
        if table is not None:
            (path / name).write_text(table.model_dump_json(indent=2), encoding="utf-8")
    files = {str(f.relative_to(path)): file_digest(f) for f in sorted(path.rglob("*")) if f.is_file()}
    manifest = manifest.model_copy(update={"files": files})
    (path / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Reads a bundle's manifest without verifying the other files.

    Raises:
        BundleDamagedError: it is missing or no manifest.
        BundleFormatError: its format version is unknown.
    """
    content = _read_content(path)
    if content["format_version"] != FORMAT_VERSION:
        raise BundleFormatError(
            f"Bundle {path} has format version {content['format_version']}; this release reads {FORMAT_VERSION}.",
            remedy="Use the release that wrote it, or train a new bundle: `cryptosentinel up`.",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()[:3])
        raise BundleDamagedError(f"Bundle {path}: {MANIFEST} is no manifest ({faults}).") from error


def is_outdated(path: Path) -> bool:
    """Whether an earlier release wrote a bundle, in a format that this one does not read any more.

    Raises:
        BundleDamagedError: it has no manifest that says.
    """
    version = _read_content(path)["format_version"]
    return isinstance(version, int) and version < FORMAT_VERSION


def _read_content(path: Path) -> dict[str, Any]:
    """What a manifest says, of whatever format version."""
    try:
        content: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        content["format_version"]
    except FileNotFoundError:
        raise BundleDamagedError(f"{path} is no bundle: it has no {MANIFEST}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleDamagedError(f"Bundle {path}: {MANIFEST} cannot be read ({error}).") from error
    return content


def read_verified(path: Path) -> Manifest:
    """A bundle's manifest, once every file that it lists is known to be the one that was written.

    Raises:
        BundleDamagedError: a file is missing or differs, or the manifest is none or contradicts itself.
        BundleFormatError: its format version is unknown.
    """
    manifest = read_manifest(path)
    if faults := _contradictions(manifest):
        raise BundleDamagedError(f"Bundle {path}: {MANIFEST} contradicts itself: {'; '.join(faults)}.")
    for name, digest in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise BundleDamagedError(
                f"Bundle {path}: {name} is missing.",
                remedy="If it is a copy from the registry, delete that folder: it is fetched again.",
            )
        if file_digest(file) != digest:
            raise BundleDamagedError(
                f"Bundle {path}: {name} differs from the digest in its manifest.",
                remedy="If it is a copy from the registry, delete that folder: it is fetched again.",
            )
    return manifest


def _contradictions(manifest: Manifest) -> list[str]:
    """What no bundle of ours says of itself. Only listed files are verified, so those that are read must be listed."""
    needed = {QUANTILES_FILE, CALIBRATION_FILE} | {entry.file for entry in manifest.models.values() if entry.file}
    if manifest.models.keys() - {RANDOM_WALK}:
        needed.add(ONNX_FILE)
    faults = [f"it lists no {name}" for name in sorted(needed - manifest.files.keys())]
    outside = [name for name in manifest.files if PurePosixPath(name).is_absolute() or ".." in name.split("/")]
    faults += [f"{name} is outside of the bundle" for name in outside]
    faults += _blend_faults(manifest)
    if manifest.scale_feature not in manifest.features:
        faults.append(f"{manifest.scale_feature} is none of its features")
    if REGIME in manifest.models and not manifest.regimes:
        faults.append("its regimes have no names")
    return faults


def _blend_faults(manifest: Manifest) -> list[str]:
    weights, faults = manifest.blend, []
    if manifest.champion == BLEND and not weights:
        faults.append("its champion is a blend of nothing")
    if strangers := weights.keys() - set(manifest.candidates) | weights.keys() & {RANDOM_WALK}:
        faults.append(f"it blends {', '.join(sorted(strangers))}, which is none of its trained candidates")
    if weights and not (min(weights.values()) >= 0 and abs(sum(weights.values()) - 1) < _WEIGHT_TOLERANCE):
        faults.append(f"the weights of its blend are {weights}, which do not make one")
    if not 0 <= manifest.shrinkage <= 1:
        faults.append(f"its shrinkage {manifest.shrinkage:g} is not between 0 and 1")
    if BLEND in manifest.models:
        faults.append(f"a model is called {BLEND}")
    return faults


def read_table(path: Path, name: str, kind: type[Table]) -> Table:
    """One of the bundle's small JSON files.

    Raises:
        BundleDamagedError: it is none of that kind.
    """
    try:
        return kind.model_validate_json((path / name).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise BundleDamagedError(f"Bundle {path}: {name} is no {kind.__name__}.") from error


def onnx_session(path: Path, manifest: Manifest) -> Any:
    """Opens the bundle's graph.

    Raises:
        BundleDamagedError: it cannot be run, or does not take and answer what the manifest says.
    """
    # It reports its use to its maker otherwise, and keeps a file for that among the temporary ones.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One row is a few microseconds: more threads only get in each other's way.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path / ONNX_FILE, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleDamagedError(f"Bundle {path}: {ONNX_FILE} cannot be run ({error}).") from error
    inputs = {entry.name: entry.shape[-1] for entry in session.get_inputs()}
    if inputs != {INPUT: len(manifest.features)}:
        raise BundleDamagedError(f"Bundle {path}: {ONNX_FILE} takes {inputs}, not {len(manifest.features)} features.")
    if missing := manifest.models.keys() - {RANDOM_WALK} - {output.name for output in session.get_outputs()}:
        raise BundleDamagedError(f"Bundle {path}: {ONNX_FILE} does not answer for {', '.join(sorted(missing))}.")
    return session
