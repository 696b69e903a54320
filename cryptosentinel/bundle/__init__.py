"""The model bundle: what is registered, served and explained."""

from cryptosentinel.bundle.bundle import Bundle
from cryptosentinel.bundle.calibration import Calibration
from cryptosentinel.bundle.compiling import compile_tables
from cryptosentinel.bundle.conversion import load_native, merge_onnx, save_native, to_onnx
from cryptosentinel.bundle.domain import CLIP, Domain
from cryptosentinel.bundle.files import (
    DIRECTION,
    DOMAIN_FILE,
    ONNX_FILE,
    REGIME,
    TABLES_FILE,
    is_outdated,
    read_manifest,
    write_bundle,
)
from cryptosentinel.bundle.inference import DOWN, FLAT, UNKNOWN_REGIME, UP, Inference, confidences, directions
from cryptosentinel.bundle.manifest import (
    BACKGROUND_FILE,
    BLEND,
    MANIFEST,
    RANDOM_WALK,
    REFERENCE_FILE,
    Champion,
    DataWindow,
    Gate,
    Manifest,
    ModelEntry,
    file_digest,
    library_versions,
)
from cryptosentinel.bundle.one_row import RowForecast
from cryptosentinel.bundle.quantiles import BOUNDS, LEVELS, PROBABILITIES, QuantileTable
from cryptosentinel.bundle.random_walk import write_random_walk

__all__ = [
    "BACKGROUND_FILE",
    "BLEND",
    "BOUNDS",
    "CLIP",
    "DIRECTION",
    "DOMAIN_FILE",
    "DOWN",
    "FLAT",
    "LEVELS",
    "MANIFEST",
    "ONNX_FILE",
    "PROBABILITIES",
    "RANDOM_WALK",
    "REFERENCE_FILE",
    "REGIME",
    "TABLES_FILE",
    "UNKNOWN_REGIME",
    "UP",
    "Bundle",
    "Calibration",
    "Champion",
    "DataWindow",
    "Domain",
    "Gate",
    "Inference",
    "Manifest",
    "ModelEntry",
    "QuantileTable",
    "RowForecast",
    "compile_tables",
    "confidences",
    "directions",
    "file_digest",
    "is_outdated",
    "library_versions",
    "load_native",
    "merge_onnx",
    "read_manifest",
    "save_native",
    "to_onnx",
    "write_bundle",
    "write_random_walk",
]
