"""Puts trained parts, what was chosen and what was measured together into one bundle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptosentinel.bundle import (
    BACKGROUND_FILE,
    DIRECTION,
    DOMAIN_FILE,
    ONNX_FILE,
    REFERENCE_FILE,
    REGIME,
    TABLES_FILE,
    Bundle,
    Domain,
    Gate,
    Inference,
    Manifest,
    compile_tables,
    library_versions,
    load_native,
    merge_onnx,
    write_bundle,
)
from cryptosentinel.bundle.inference import Array
from cryptosentinel.config import Settings
from cryptosentinel.errors import BundleError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting.card import model_card
from cryptosentinel.forecasting.evaluation import Evaluation
from cryptosentinel.forecasting.training import MODEL_ONNX
from cryptosentinel.forecasting.unseen import read_parts

BACKGROUND_ROWS = 200
# How far the served answer may be from the trained model's: in log return (a tenth of a basis point), in probability,
# or in the logarithm of volatility.
MAX_DIFFERENCE = 1e-5
# Which of the reference rows are asked alone as well.
ALONE_EVERY = 25


def assemble_bundle(
    path: Path,
    *,
    folders: Sequence[Path],
    evaluation: Evaluation,
    gate: Gate,
    spec: FeatureSpec,
    settings: Settings,
    market: str,
    simulated: bool,
) -> Bundle:
    """Writes a bundle, loads it again, and holds its answers against the trained models'.

    Args:
        path: a new or empty folder.
        folders: what `train_part` wrote, one folder a part.
        evaluation: what `evaluate` chose and measured.
        gate: what `judge` said of it.
        spec: the features they were trained on.
        settings: of this run; the training settings go into the manifest.
        simulated: whether the market is invented.
        market: where the bars came from, as the store names it.

    Raises:
        BundleError: the bundle answers something else than the models it was made of.
    """
    parts = read_parts(folders)
    regime, regime_folder = parts[REGIME]
    choices = evaluation.choices
    manifest = Manifest(
        created_at=datetime.now(UTC),
        asset=settings.market.asset,
        currency=settings.market.currency,
        market=market,
        simulated=simulated,
        interval=spec.interval.name,
        horizon_bars=evaluation.horizon_bars,
        spec_hash=spec.hash,
        features=regime.names,
        scale_feature=SCALE_FEATURE,
        champion=gate.champion,
        blend=choices.blend,
        shrinkage=choices.shrinkage,
        models={name: part.model for name, (part, _) in sorted(parts.items())},
        regimes=regime.regimes,
        data=evaluation.data,
        metrics={**evaluation.candidates, DIRECTION: evaluation.direction, "spread": evaluation.spread[gate.champion]},
        gate=gate,
        settings=settings.training.model_dump(mode="json"),
        libraries=library_versions(),
    )

    def fill(folder: Path) -> None:
        import onnx

        (folder / "models").mkdir()
        graphs, models = {}, {}
        for name, (part, source) in sorted(parts.items()):
            if part.model.file:
                shutil.copyfile(source / Path(part.model.file).name, folder / part.model.file)
                graph = onnx.load(source / MODEL_ONNX)
                graphs[name] = graph, part.onnx_output
                models[name] = load_native(folder / part.model.file), graph
        if (tables := compile_tables(models)) is not None:
            (folder / TABLES_FILE).write_text(tables.model_dump_json(), encoding="utf-8")
        (folder / ONNX_FILE).write_bytes(merge_onnx(graphs).SerializeToString())
        reference = pd.read_parquet(regime_folder / REFERENCE_FILE)
        reference.to_parquet(folder / REFERENCE_FILE)
        step = max(1, len(reference) // BACKGROUND_ROWS)
        reference.iloc[::step].to_parquet(folder / BACKGROUND_FILE)
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, evaluation), encoding="utf-8")

    write_bundle(
        path,
        manifest,
        fill,
        quantiles=choices.quantiles[gate.champion],
        calibration=choices.calibration,
        domain=Domain.model_validate_json((regime_folder / DOMAIN_FILE).read_text(encoding="utf-8")),
    )
    bundle = Bundle.load(path)
    X = pd.read_parquet(bundle.file(REFERENCE_FILE))[manifest.features].to_numpy(np.float32)
    rows, prices = X.astype(np.float64), np.ones(len(X))
    answer = bundle.infer(rows, prices)
    for one in (answer, bundle.by_graph_alone().infer(rows, prices)):
        _hold_against_models(bundle, X, one)
    _hold_against_rows_alone(bundle, rows, answer)
    return bundle


def _hold_against_models(bundle: Bundle, X: NDArray[np.float32], answer: Inference) -> None:
    """Compares answers with the native models' on the reference rows."""
    manifest = bundle.manifest
    scale = X[:, manifest.features.index(SCALE_FEATURE)] * np.sqrt(manifest.horizon_bars)
    volatilities = []
    for name, entry in manifest.models.items():
        if not entry.file:
            continue
        native = load_native(bundle.file(entry.file))
        if entry.target == "log_volatility":
            volatilities.append(np.asarray(native.predict(X), dtype=np.float64).reshape(-1))
            continue
        if entry.target == "direction":
            # The calibration is steep in places: what a score a hair lower and a hair higher would give bounds it.
            score = native.predict_proba(X)[:, 1].astype(np.float64)
            low, high = (bundle.calibration.apply(score + off) for off in (-MAX_DIFFERENCE, MAX_DIFFERENCE))
            differences = np.maximum(np.maximum(low - answer.p_up, answer.p_up - high), 0.0)
        elif entry.target == "regime":
            # A row between two centres may fall to either side.
            differences = (answer.regime != np.asarray(manifest.regimes)[native.predict(X)]).mean() * 1e-2
        else:
            forecast = native.predict(X).reshape(-1) * (scale if entry.target == "standardised" else 1.0)
            differences = np.log(answer.by_model[name]) - forecast
        _refuse_if_off(name, differences)
    if volatilities:
        known = ~answer.outlying  # those are widened
        _refuse_if_off("volatility", (np.log(answer.sigma) - np.mean(volatilities, axis=0))[known])


def _hold_against_rows_alone(bundle: Bundle, rows: Array, answer: Inference) -> None:
    """Compares answers with those that rows get without company."""
    for at in range(0, len(rows), ALONE_EVERY):
        alone = bundle.infer_row(rows[at].tolist(), 1.0)
        of_row = (*alone.prices, alone.sigma, alone.p_up)
        in_company = (*(prices[at] for prices in answer.by_model.values()), answer.sigma[at], answer.p_up[at])
        if of_row != in_company:
            raise BundleError(
                f"A row alone gets another answer from the bundle than among others: {of_row}, not {in_company}.",
                remedy="Check the versions of numpy and onnxruntime against requirements/main.txt.",
            )


def _refuse_if_off(name: str, differences: np.ndarray) -> None:
    difference = float(np.abs(differences).max(initial=0.0))
    if not difference <= MAX_DIFFERENCE:
        raise BundleError(
            f"The bundle's {name} answers up to {difference:.2g} off the trained model.",
            remedy="Check the versions of skl2onnx and onnxruntime against requirements/main.txt.",
        )
