"""Models on disk without pickle: native files (skops, XGBoost's UBJSON) and one ONNX graph for a row's inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptosentinel.errors import BundleDamagedError

# What skl2onnx 1.20 and onnxmltools 1.16 both speak.
OPSETS = {"": 18, "ai.onnx.ml": 3}
INPUT = "features"
# What our models hold beyond what skops trusts by itself. Never a whole package: there are functions in scikit-learn's
# modules that run programs.
TRUSTED = ["sklearn.tree._tree.Tree"]


def save_native(estimator: Any, folder: Path, name: str) -> Path:
    """Writes an estimator as `<name>.ubj` (XGBoost) or `<name>.skops` (scikit-learn)."""
    if type(estimator).__module__.startswith("xgboost"):
        path = folder / f"{name}.ubj"
        estimator.save_model(path)
        return path
    import skops.io

    path = folder / f"{name}.skops"
    skops.io.dump(estimator, path)
    return path


def load_native(path: Path) -> Any:
    """Reads what `save_native` wrote.

    Raises:
        BundleDamagedError: the file holds types that no model of ours has.
    """
    if path.suffix == ".ubj":
        import xgboost

        model = xgboost.XGBRegressor()
        model.load_model(path)
        return model
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(path, trusted=TRUSTED)
    except UntrustedTypesFoundException as error:
        raise BundleDamagedError(f"{path.name} holds types that no model of ours has ({error}).") from error


def to_onnx(estimator: Any, feature_count: int) -> Any:
    """Converts a fitted estimator that takes float32 rows of `feature_count` values."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    _register_xgboost()
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    return convert_sklearn(
        estimator,
        initial_types=[(INPUT, FloatTensorType([None, feature_count]))],
        target_opset=OPSETS,
        options=options,
    )


def _register_xgboost() -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
    from xgboost import XGBRegressor

    update_registered_converter(
        XGBRegressor, "XGBoostXGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost
    )


def merge_onnx(models: dict[str, tuple[Any, str]]) -> Any:
    """Joins models that take the same rows into one graph, so that a row costs one call.

    Args:
        models: by output name, a model and which of its outputs to keep.

    Returns:
        A model with the input `features` (float32, [rows, features]) and one output a model.
    """
    import onnx
    from onnx import compose, helper

    nodes: list[Any] = []
    initializers: list[Any] = []
    outputs: list[Any] = []
    for name, (model, kept) in models.items():
        graph = compose.add_prefix_graph(model.graph, f"{name}/", rename_inputs=False)
        (output,) = (value for value in graph.output if value.name == f"{name}/{kept}")
        nodes += [*graph.node, helper.make_node("Identity", [output.name], [name])]
        initializers += graph.initializer
        output.name = name
        outputs.append(output)
    graph = helper.make_graph(nodes, "cryptosentinel", graph.input, outputs, initializers)
    opsets = [helper.make_opsetid(domain, number) for domain, number in OPSETS.items()]
    merged = helper.make_model(graph, opset_imports=opsets, producer_name="cryptosentinel")
    merged.ir_version = 9  # the one that opset 18 came with; newer onnx packages would write a newer one
    onnx.checker.check_model(merged)
    return merged
