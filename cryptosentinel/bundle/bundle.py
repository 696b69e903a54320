"""A model bundle: written once, verified at every load, answering for rows of features."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cryptosentinel.bundle.conversion import INPUT
from cryptosentinel.bundle.inference import Array, Inference, Names, confidences, directions
from cryptosentinel.bundle.intervals import IntervalTable
from cryptosentinel.bundle.manifest import FORMAT_VERSION, MANIFEST, RANDOM_WALK, Manifest, file_digest
from cryptosentinel.errors import BundleDamagedError, BundleError, BundleFormatError, SpecMismatchError

ONNX_FILE, INTERVALS_FILE = "inference.onnx", "intervals.json"
DIRECTION, REGIME = "direction", "regime"
UNKNOWN_REGIME = "unknown"

Mask = NDArray[np.bool_]


class Bundle:
    """A loaded bundle. It holds no lock and no state: threads may share it."""

    def __init__(self, path: Path, manifest: Manifest, intervals: IntervalTable, session: Any | None) -> None:
        self.path = path
        self.manifest = manifest
        self.intervals = intervals
        self._session = session
        self._scale_column = manifest.features.index(manifest.scale_feature)

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Reads and verifies a bundle folder.

        Raises:
            BundleDamagedError: a file is missing, or its digest is not the manifest's, or the manifest is no manifest
                or contradicts itself.
            BundleFormatError: this release does not know the bundle's format version.
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
        try:
            intervals = IntervalTable.model_validate_json((path / INTERVALS_FILE).read_text(encoding="utf-8"))
        except ValidationError as error:
            raise BundleDamagedError(f"Bundle {path}: {INTERVALS_FILE} is no interval table.") from error
        return cls(path, manifest, intervals, _onnx_session(path, manifest) if ONNX_FILE in manifest.files else None)

    def file(self, name: str) -> Path:
        """Where a file of this bundle lies; only what the manifest lists was verified.

        Raises:
            BundleDamagedError: the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise BundleDamagedError(f"Bundle {self.path}: {MANIFEST} lists no {name}.")
        return self.path / name

    def check_spec(self, spec_hash: str) -> None:
        """Refuses features of another spec.

        Raises:
            SpecMismatchError: the hashes differ.
        """
        if spec_hash != self.manifest.spec_hash:
            raise SpecMismatchError(
                f"The bundle was built for features {self.manifest.spec_hash[:12]}, not {spec_hash[:12]}.",
                remedy="Train a bundle for today's features, or serve the release that made this one.",
            )

    def infer(self, features: Array, close: Array) -> Inference:
        """Forecasts for rows of features.

        A row whose model inputs are not all finite (not warm yet, after a gap) gets the random walk's answer, with NaN
        bounds where its scale is unknown as well.

        Args:
            features: shape (n, len(manifest.features)), in that order.
            close: the last price of each row, shape (n,).
        """
        scale = features[:, self._scale_column] * np.sqrt(self.manifest.horizon_bars)
        with np.errstate(over="ignore"):  # what float32 cannot hold is not finite, and is dealt with as such
            rows = features.astype(np.float32)
        warm: Mask = np.asarray(np.isfinite(rows).all(axis=1))
        raw = self._run(rows, warm)
        returns = {name: self._log_return(name, raw, scale, warm) for name in self.manifest.candidates}
        log_return = returns[self.manifest.champion]
        p_up = np.where(warm, raw[DIRECTION][:, 1], 0.5) if DIRECTION in raw else np.full(len(close), 0.5)
        direction = directions(log_return)
        bounds = self.intervals.all_bounds(log_return, scale)
        return Inference(
            predicted_price=close * np.exp(log_return),
            log_return=log_return,
            **{name: close * np.exp(bound) for name, bound in bounds.items()},
            p_up=p_up,
            direction=direction,
            confidence=confidences(direction, p_up),
            regime=self._regime(raw, warm),
            champion=np.where(warm, self.manifest.champion, RANDOM_WALK),
            by_model={name: close * np.exp(values) for name, values in returns.items()},
        )

    def _run(self, rows: NDArray[np.float32], warm: Mask) -> dict[str, NDArray[Any]]:
        if self._session is None:
            return {}
        names = [output.name for output in self._session.get_outputs()]
        answers = self._session.run(names, {INPUT: np.where(warm[:, None], rows, np.float32(0))})
        return dict(zip(names, answers, strict=True))

    def _log_return(self, name: str, raw: dict[str, NDArray[Any]], scale: Array, warm: Mask) -> Array:
        if name == RANDOM_WALK:
            return np.zeros(len(scale))
        answer = raw[name].reshape(-1).astype(np.float64)
        if self.manifest.models[name].target == "standardised":
            answer = answer * scale
        return np.where(warm, answer, 0.0)

    def _regime(self, raw: dict[str, NDArray[Any]], warm: Mask) -> Names:
        if REGIME not in raw:
            return np.full(len(warm), UNKNOWN_REGIME)
        return np.where(warm, np.asarray(self.manifest.regimes)[raw[REGIME].reshape(-1)], UNKNOWN_REGIME)


def write_bundle(path: Path, manifest: Manifest, intervals: IntervalTable, fill: Callable[[Path], None]) -> Manifest:
    """Writes a bundle folder; the manifest comes last, so that a folder without one is no bundle.

    Args:
        path: a folder that does not exist yet, or is empty.
        manifest: all but `files`, which is computed here.
        intervals: the interval table.
        fill: writes the other files into the folder it is given.

    Returns:
        The manifest as written.

    Raises:
        BundleError: there is something in the folder already.
    """
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise BundleError(f"{path} is not empty.", remedy="Write each bundle into a folder of its own.")
    fill(path)
    (path / INTERVALS_FILE).write_text(intervals.model_dump_json(indent=2), encoding="utf-8")
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
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        format_version = content["format_version"]
    except FileNotFoundError:
        raise BundleDamagedError(f"{path} is no bundle: it has no {MANIFEST}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleDamagedError(f"Bundle {path}: {MANIFEST} cannot be read ({error}).") from error
    if format_version != FORMAT_VERSION:
        raise BundleFormatError(
            f"Bundle {path} has format version {format_version}; this release reads {FORMAT_VERSION}.",
            remedy="Use the release that wrote it, or train a new bundle.",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()[:3])
        raise BundleDamagedError(f"Bundle {path}: {MANIFEST} is no manifest ({faults}).") from error


def _contradictions(manifest: Manifest) -> list[str]:
    """What no bundle of ours says of itself. Only listed files are verified, so those that are read must be listed."""
    needed = {INTERVALS_FILE} | {entry.file for entry in manifest.models.values() if entry.file}
    if manifest.models.keys() - {RANDOM_WALK}:
        needed.add(ONNX_FILE)
    faults = [f"it lists no {name}" for name in sorted(needed - manifest.files.keys())]
    outside = [name for name in manifest.files if PurePosixPath(name).is_absolute() or ".." in name.split("/")]
    faults += [f"{name} is outside of the bundle" for name in outside]
    if manifest.champion not in manifest.candidates:
        faults.append(f"the champion {manifest.champion} is none of its models")
    if manifest.scale_feature not in manifest.features:
        faults.append(f"{manifest.scale_feature} is none of its features")
    if REGIME in manifest.models and not manifest.regimes:
        faults.append("its regimes have no names")
    return faults


def _onnx_session(path: Path, manifest: Manifest) -> Any:
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
