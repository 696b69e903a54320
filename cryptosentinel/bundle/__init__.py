"""The model bundle: what is registered, served and explained."""

from cryptosentinel.bundle.bundle import DIRECTION, ONNX_FILE, REGIME, Bundle, read_manifest, write_bundle
from cryptosentinel.bundle.conversion import load_native, merge_onnx, save_native, to_onnx
from cryptosentinel.bundle.inference import DOWN, FLAT, UP, Inference
from cryptosentinel.bundle.intervals import IntervalTable
from cryptosentinel.bundle.manifest import (
    BACKGROUND_FILE,
    RANDOM_WALK,
    REFERENCE_FILE,
    DataWindow,
    Gate,
    Manifest,
    ModelEntry,
    library_versions,
)
from cryptosentinel.bundle.random_walk import write_random_walk

__all__ = [
    "BACKGROUND_FILE",
    "DIRECTION",
    "DOWN",
    "FLAT",
    "ONNX_FILE",
    "RANDOM_WALK",
    "REFERENCE_FILE",
    "REGIME",
    "UP",
    "Bundle",
    "DataWindow",
    "Gate",
    "Inference",
    "IntervalTable",
    "Manifest",
    "ModelEntry",
    "library_versions",
    "load_native",
    "merge_onnx",
    "read_manifest",
    "save_native",
    "to_onnx",
    "write_bundle",
    "write_random_walk",
]
