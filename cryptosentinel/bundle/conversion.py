"""Models on disk without pickle: native files (skops, XGBoost's UBJSON) and one ONNX graph for a row's inference."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from cryptosentinel.errors import BundleDamagedError

# What skl2onnx 1.20 and onnxmltools 1.16 both speak.
OPSETS = {"": 18, "ai.onnx.ml": 3}
INPUT = "features"
# What our models hold beyond what skops trusts by itself. Never a whole package: there are functions in scikit-learn's
# modules that run programs.
TRUSTED = ["sklearn.tree._tree.Tree", "numpy.dtype"]


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

        objective = json.loads(xgboost.Booster(model_file=path).save_config())["learner"]["objective"]["name"]
        model = xgboost.XGBClassifier() if objective.startswith("binary:") else xgboost.XGBRegressor()
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

    if type(estimator).__module__.startswith("xgboost"):
        _register_xgboost()
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    model = convert_sklearn(
        estimator,
        initial_types=[(INPUT, FloatTensorType([None, feature_count]))],
        target_opset=OPSETS,
        options=options,
    )
    if type(estimator).__name__ == "XGBClassifier":
        _begin_at_base_score(model, estimator)
    _sum_each_row_by_itself(model.graph)
    return model


def _begin_at_base_score(model: Any, estimator: Any) -> None:
    """Trees add to the base score's logit; onnxmltools takes the score itself where the first tree has no split."""
    config = json.loads(estimator.get_booster().save_config())
    (score,) = json.loads(config["learner"]["learner_model_param"]["base_score"])
    (trees,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
    for attribute in trees.attribute:
        if attribute.name == "base_values":  # there is none where the score is one half
            attribute.floats[:] = [math.log(score / (1.0 - score))]


def _sum_each_row_by_itself(graph: Any) -> None:
    """Linear models as a product and a sum, in place of ONNX Runtime's operator.

    That one multiplies matrices, and so adds up a row alone in another order than among others: with other last bits.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "LinearRegressor":
            nodes.append(node)
            continue
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        (answer,) = node.output
        constants = {
            "weights": np.array([given["coefficients"]], dtype=np.float32),
            "intercept": np.array(given.get("intercepts", [0.0]), dtype=np.float32),
            "axes": np.array([1]),
        }
        names = {name: f"{answer}/{name}" for name in (*constants, "products", "sum")}
        graph.initializer.extend(numpy_helper.from_array(array, names[name]) for name, array in constants.items())
        nodes += [
            helper.make_node("Mul", [node.input[0], names["weights"]], [names["products"]]),
            helper.make_node("ReduceSum", [names["products"], names["axes"]], [names["sum"]], keepdims=1),
            helper.make_node("Add", [names["sum"], names["intercept"]], [answer]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _register_xgboost() -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )
    from xgboost import XGBClassifier, XGBRegressor

    update_registered_converter(
        XGBRegressor, "XGBoostXGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost
    )
    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
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
