"""A bundle is whole or refused; nothing in it is believed unverified."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryptosentinel.bundle import (
    Bundle,
    Calibration,
    Gate,
    QuantileTable,
    read_manifest,
    write_bundle,
    write_random_walk,
)
from cryptosentinel.bundle.manifest import file_digest, library_versions
from cryptosentinel.errors import BundleDamagedError, BundleError, BundleFormatError, SpecMismatchError
from tests.features.builders import SPEC

TABLES: Any = {"quantiles": QuantileTable.normal(), "calibration": Calibration.identity()}


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(bundle.path, tmp_path / "copy")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a manifest."""
    content = json.loads((path / "manifest.json").read_text())
    change(content)
    (path / "manifest.json").write_text(json.dumps(content))


def resign(path: Path, name: str) -> None:
    """Makes the manifest agree with a changed file, as who forges a bundle would."""
    edit(path, lambda content: content["files"].update({name: file_digest(path / name)}))


def test_what_was_written_is_read(bundle: Bundle) -> None:
    again = Bundle.load(bundle.path)
    assert again.manifest == bundle.manifest == read_manifest(bundle.path)
    for name in ("quantiles", "calibration", "domain"):
        assert getattr(again, name) == getattr(bundle, name)
    assert bundle.domain is not None


def test_every_file_is_listed_with_its_digest(bundle: Bundle) -> None:
    files = {path.relative_to(bundle.path).as_posix() for path in bundle.path.rglob("*") if path.is_file()}
    assert bundle.manifest.files.keys() == files - {"manifest.json"}


def test_a_damaged_file_is_refused_whichever_it_is(copy: Path) -> None:
    for name in read_manifest(copy).files:
        file = copy / name
        content = file.read_bytes()
        middle = len(content) // 2
        for damage in (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], content[:middle], b""):
            file.write_bytes(damage)
            with pytest.raises(BundleDamagedError, match=rf"{name} differs from the digest.*delete that folder"):
                Bundle.load(copy)
        file.unlink()
        with pytest.raises(BundleDamagedError, match=rf"{name} is missing.*delete that folder"):
            Bundle.load(copy)
        file.write_bytes(content)
    Bundle.load(copy)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"manifest\.json cannot be read"),
        ("{", r"manifest\.json cannot be read"),
        ("[]", r"manifest\.json cannot be read"),
        ('"text"', r"manifest\.json cannot be read"),
        ("{}", r"manifest\.json cannot be read .*format_version"),
        ('{"format_version": 2}', r"manifest\.json is no manifest \(created_at: field required"),
    ],
)
def test_a_manifest_that_is_none_is_refused(text: str, sentence: str, copy: Path) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleDamagedError, match=sentence):
        Bundle.load(copy)


def test_a_manifest_of_bytes_that_are_no_text_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleDamagedError, match="cannot be read"):
        Bundle.load(copy)


def test_a_folder_without_a_manifest_is_no_bundle(copy: Path, tmp_path: Path) -> None:
    (copy / "manifest.json").unlink()
    for path in (copy, tmp_path / "nowhere"):
        with pytest.raises(BundleDamagedError, match=r"is no bundle: it has no manifest\.json"):
            Bundle.load(path)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_an_unknown_format_version_is_refused_before_anything_else_is_read(version: object, copy: Path) -> None:
    (copy / "manifest.json").write_text(json.dumps({"format_version": version, "of": "another time"}))
    with pytest.raises(BundleFormatError, match=rf"format version {version}; this release reads 2.*Use the release"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(champion="oracle"), r"is no manifest \(champion: input should be 'blend' or 'random_walk'"),
        (lambda m: m.update(blend={}), "its champion is a blend of nothing"),
        (lambda m: m.update(blend={"oracle": 1.0}), "it blends oracle, which is none"),
        (lambda m: m.update(blend={"direction": 1.0}), "it blends direction, which is none"),
        (lambda m: m.update(blend={"random_walk": 0.5, "ridge": 0.5}), "it blends random_walk, which is none"),
        (lambda m: m.update(blend={"ridge": 0.5}), "which do not make one"),
        (lambda m: m.update(blend={"ridge": 1.5, "random_forest": -0.5}), "which do not make one"),
        (lambda m: m.update(blend={"ridge": "NaN"}), "which do not make one"),
        (lambda m: m.update(shrinkage=1.01), r"its shrinkage 1\.01 is not between 0 and 1"),
        (lambda m: m.update(shrinkage="NaN"), "its shrinkage nan is not between 0 and 1"),
        (lambda m: m["models"].update(blend={"file": ""}), "a model is called blend"),
        (lambda m: m.update(scale_feature="moon_phase"), "moon_phase is none of its features"),
        (lambda m: m.update(regimes=[]), "its regimes have no names"),
        (lambda m: m["files"].pop("quantiles.json"), r"it lists no quantiles\.json"),
        (lambda m: m["files"].pop("calibration.json"), r"it lists no calibration\.json"),
        (lambda m: m["files"].pop("inference.onnx"), r"it lists no inference\.onnx"),
        (lambda m: m["files"].pop("models/ridge.skops"), r"it lists no models/ridge\.skops"),
        (lambda m: m["models"]["ridge"].update(file="../evil.skops"), r"it lists no \.\./evil\.skops"),
        (lambda m: m["models"]["ridge"].update(file="/tmp/evil.skops"), r"it lists no /tmp/evil\.skops"),
        (lambda m: m["files"].update({"../evil.skops": "0"}), r"\.\./evil\.skops is outside of the bundle"),
        (lambda m: m["files"].update({"models/../../evil": "0"}), "evil is outside of the bundle"),
        (lambda m: m["files"].update({"/etc/passwd": "0"}), "/etc/passwd is outside of the bundle"),
        (lambda m: m["features"].pop(), r"inference\.onnx takes .* not \d+ features"),
        (lambda m: m["models"].update(oracle={"file": ""}), r"inference\.onnx does not answer for oracle"),
        (lambda m: m["models"]["ridge"].update(target="price"), r"is no manifest \(models\.ridge\.target"),
        (lambda m: m.update(surprise=1), r"is no manifest \(surprise: extra inputs"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_its_files_is_refused(
    change: Callable[[dict[str, Any]], object], sentence: str, copy: Path
) -> None:
    edit(copy, change)
    with pytest.raises(BundleDamagedError, match=sentence):
        Bundle.load(copy)


def test_a_graph_that_cannot_be_run_is_refused_though_its_digest_is_right(copy: Path) -> None:
    file = copy / "inference.onnx"
    file.write_bytes(file.read_bytes()[:1_000])
    resign(copy, "inference.onnx")
    with pytest.raises(BundleDamagedError, match=r"inference\.onnx cannot be run"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("name", "kind"), [("quantiles", "QuantileTable"), ("calibration", "Calibration"), ("domain", "Domain")]
)
@pytest.mark.parametrize("content", [b'{"method": "guess"}', b"{}", b"no table", b"\xff\xfe"])
def test_a_table_that_is_none_is_refused_though_its_digest_is_right(
    name: str, kind: str, content: bytes, copy: Path
) -> None:
    (copy / f"{name}.json").write_bytes(content)
    resign(copy, f"{name}.json")
    with pytest.raises(BundleDamagedError, match=rf"{name}\.json is no {kind}"):
        Bundle.load(copy)


def test_a_domain_of_other_features_is_refused(copy: Path) -> None:
    content = json.loads((copy / "domain.json").read_text())
    number = len(content["means"])
    for column in (content["means"], content["deviations"], *content["prototypes"]):
        column.pop()
    (copy / "domain.json").write_text(json.dumps(content))
    resign(copy, "domain.json")
    with pytest.raises(BundleDamagedError, match=rf"domain\.json is of {number - 1} features, not {number}"):
        Bundle.load(copy)


def test_a_bundle_without_a_domain_is_one_too(copy: Path) -> None:
    edit(copy, lambda m: m["files"].pop("domain.json"))
    assert Bundle.load(copy).domain is None


def test_figures_of_the_gate_that_are_none_survive_being_written() -> None:
    gate = Gate(promote=False, reasons=["no evidence"], figures={"t": float("nan"), "p": float("inf")})
    again = Gate.model_validate_json(gate.model_dump_json())
    assert (again.champion, again.look) == ("random_walk", False)
    assert math.isnan(again.figures["t"])
    assert again.figures["p"] == math.inf


def test_files_that_the_manifest_does_not_list_are_neither_minded_nor_handed_out(copy: Path) -> None:
    (copy / "registered.json").write_text("{}")
    bundle = Bundle.load(copy)
    assert bundle.file("models/ridge.skops").is_file()
    with pytest.raises(BundleDamagedError, match=r"lists no registered\.json"):
        bundle.file("registered.json")


def test_features_of_another_spec_are_refused(bundle: Bundle) -> None:
    bundle.check_spec(SPEC.hash)
    with pytest.raises(SpecMismatchError, match=f"built for features {SPEC.hash[:12]}, not 000000000000"):
        bundle.check_spec("0" * 64)


def test_a_bundle_is_not_written_over_another_or_into_somebody_s_folder(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    for path in (tmp_path, bundle.path):
        with pytest.raises(BundleError, match="is not empty"):
            write_bundle(path, bundle.manifest, lambda folder: None, **TABLES)
    Bundle.load(bundle.path)


def test_a_bundle_that_was_killed_half_way_is_no_bundle(bundle: Bundle, tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        (folder / "inference.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "half", bundle.manifest, killed, **TABLES)
    with pytest.raises(BundleDamagedError, match="is no bundle"):
        Bundle.load(tmp_path / "half")


def test_libraries_that_are_not_installed_are_not_listed() -> None:
    versions = library_versions()
    assert {"cryptosentinel", "numpy", "onnxruntime", "scikit-learn"} <= versions.keys()
    assert versions.keys() & {"xgboost-cpu", "xgboost"}


def write_walk(path: Path) -> None:
    write_random_walk(path, SPEC, asset="bitcoin", currency="usd", market="test", simulated=False, horizon_bars=6)


def test_version_0_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_walk(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["MODEL_CARD.md", "calibration.json", "manifest.json", "quantiles.json"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_version_0_says_that_it_has_learnt_nothing(tmp_path: Path) -> None:
    write_walk(tmp_path / "walk")
    walk = Bundle.load(tmp_path / "walk")
    assert walk.manifest.candidates == [walk.manifest.champion] == ["random_walk"]
    assert "has learnt nothing" in walk.file("MODEL_CARD.md").read_text()
