"""Puts trained parts and their evaluation together into one bundle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cryptosentinel.bundle import (
    BACKGROUND_FILE,
    BLEND,
    DIRECTION,
    ONNX_FILE,
    RANDOM_WALK,
    REFERENCE_FILE,
    REGIME,
    Bundle,
    Calibration,
    Gate,
    Manifest,
    library_versions,
    load_native,
    merge_onnx,
    write_bundle,
)
from cryptosentinel.config import Settings
from cryptosentinel.errors import BundleError
from cryptosentinel.features import SCALE_FEATURE, FeatureSpec
from cryptosentinel.forecasting.evaluation import Evaluation, league_table, read_parts
from cryptosentinel.forecasting.training import MODEL_ONNX
from cryptosentinel.market.bars import Interval

BACKGROUND_ROWS = 200
# How far the served answer may be from the trained model's: in log return (a tenth of a basis point) or probability.
MAX_DIFFERENCE = 1e-5


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
        evaluation: what `evaluate` measured on them.
        gate: what `judge` said of it.
        spec: the features they were trained on.
        settings: of this run; the training settings go into the manifest.
        simulated: whether the market is invented.
        market: where the bars came from, as the store names it.

    Raises:
        BundleError: the bundle answers something else than the models it was made of.
    """
    parts = read_parts(folders)
    first = parts[evaluation.best][0]
    blends = evaluation.best != RANDOM_WALK
    reference = pd.read_parquet(parts[REGIME][1] / REFERENCE_FILE)
    manifest = Manifest(
        created_at=datetime.now(UTC),
        asset=settings.market.asset,
        currency=settings.market.currency,
        market=market,
        simulated=simulated,
        interval=spec.interval.name,
        horizon_bars=evaluation.horizon_bars,
        spec_hash=spec.hash,
        features=first.names,
        scale_feature=SCALE_FEATURE,
        champion=BLEND if blends else RANDOM_WALK,
        blend={evaluation.best: 1.0} if blends else {},
        shrinkage=1.0 if blends else 0.0,
        models={name: part.model for name, (part, _) in sorted(parts.items())},
        regimes=parts[REGIME][0].regimes,
        data=evaluation.data,
        metrics={
            **evaluation.candidates,
            **({BLEND: evaluation.candidates[evaluation.best]} if blends else {}),
            DIRECTION: evaluation.direction,
        },
        gate=gate,
        settings=settings.training.model_dump(mode="json"),
        libraries=library_versions(),
    )

    def fill(folder: Path) -> None:
        import onnx

        (folder / "models").mkdir()
        graphs = {}
        for name, (part, source) in sorted(parts.items()):
            if part.model.file:
                shutil.copyfile(source / Path(part.model.file).name, folder / part.model.file)
                graphs[name] = onnx.load(source / MODEL_ONNX), part.onnx_output
        (folder / ONNX_FILE).write_bytes(merge_onnx(graphs).SerializeToString())
        reference.to_parquet(folder / REFERENCE_FILE)
        step = max(1, len(reference) // BACKGROUND_ROWS)
        reference.iloc[::step].to_parquet(folder / BACKGROUND_FILE)
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, evaluation), encoding="utf-8")

    write_bundle(path, manifest, fill, quantiles=evaluation.quantiles, calibration=Calibration.identity())
    bundle = Bundle.load(path)
    _hold_against_models(bundle)
    return bundle


def _hold_against_models(bundle: Bundle) -> None:
    """Compares the ONNX answers with the native models' on reference rows."""
    X = pd.read_parquet(bundle.file(REFERENCE_FILE))[bundle.manifest.features].to_numpy(np.float32)
    answer = bundle.infer(X.astype(np.float64), np.ones(len(X)))
    scale = X[:, bundle.manifest.features.index(SCALE_FEATURE)] * np.sqrt(bundle.manifest.horizon_bars)
    for name, entry in bundle.manifest.models.items():
        if not entry.file:
            continue
        native = load_native(bundle.file(entry.file))
        if entry.target == "direction":
            differences = answer.p_up - native.predict_proba(X)[:, 1]
        elif entry.target == "regime":
            # A row between two centres may fall to either side.
            differences = (answer.regime != np.asarray(bundle.manifest.regimes)[native.predict(X)]).mean() * 1e-2
        else:
            forecast = native.predict(X).reshape(-1) * (scale if entry.target == "standardised" else 1.0)
            differences = np.log(answer.by_model[name]) - forecast
        difference = float(np.abs(differences).max())
        if not difference <= MAX_DIFFERENCE:
            raise BundleError(
                f"The bundle's {name} answers up to {difference:.2g} off the trained model.",
                remedy="Check the versions of skl2onnx and onnxruntime against requirements/main.txt.",
            )


def model_card(manifest: Manifest, evaluation: Evaluation) -> str:
    """A bundle's description for people, as Markdown."""
    data, minutes = evaluation.data, manifest.horizon_bars * Interval(manifest.interval).seconds // 60
    banner = "\n> **Simulated market.** These prices are invented; nothing here says anything about a real one.\n"
    d = evaluation.direction
    regimes = ", ".join(f"{name} {share:.0%}" for name, share in evaluation.regimes.items())
    return f"""# {manifest.asset}, {minutes} minutes ahead: {evaluation.best}
{banner if manifest.simulated else ""}
Forecasts the log return of {manifest.asset}/{manifest.currency},
{manifest.horizon_bars} bars of {manifest.interval} ahead.

- Verdict: {"promoted" if manifest.gate.promote else "refused"}: {"; ".join(manifest.gate.reasons)}.
- Data: `{manifest.market}`, {data.start:%Y-%m-%d %H:%M} to {data.end:%Y-%m-%d %H:%M} UTC;
  {data.training_rows:,} rows to fit on, {data.holdout_rows:,} rows from {data.holdout_start:%Y-%m-%d} on to measure on.
- Again: bars table version {data.bars_version}, features table version {data.features_version},
  seed {manifest.settings["seed"]}, preset `{manifest.settings["preset"]}`.

## On rows that no model was fitted on

{league_table(evaluation.candidates, evaluation.best)}

Skill is 1 less the squared error over the random walk's; way is the share of directions that were right.

Direction classifier: {d["accuracy"]:.1%} right, where always saying the more frequent direction gets
{d["base_rate"]:.1%}; precision {d["precision"]:.3f}, recall {d["recall"]:.3f}, F1 {d["f1"]:.3f}.

Intervals: {evaluation.quantiles.method}, scaled by `{manifest.scale_feature}`.
Regimes on the same rows: {regimes}.

## Where it fails

Half an hour ahead, returns are nearly all noise: a skill of a few hundredths of a percent is all that can be hoped for,
and a negative one is common. The rows above overlap (each target spans {manifest.horizon_bars} bars), so they count for
about {data.holdout_rows // manifest.horizon_bars:,} independent outcomes.
"""
