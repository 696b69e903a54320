"""Component: one part of a bundle: a candidate, the direction classifier, the volatility, or the regimes."""

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def train(
    part: str,
    settings: str,
    as_of: str,
    snapshot: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
):
    """Fits one part fold by fold, then on all rows before the last block; it forecasts what each fit has not seen."""
    from pathlib import Path

    from components.step import log_metrics, observe, step
    from cryptosentinel.forecasting import Snapshot, load_dataset, train_part

    with step("train", settings, as_of, part) as workspace:
        pinned = Snapshot.model_validate_json(snapshot)
        rows = load_dataset(
            workspace.storage.features,
            workspace.spec,
            workspace.settings.market.asset,
            pinned,
            workspace.settings.forecast.horizon_bars,
        )
        trained = train_part(part, rows, pinned, workspace.settings.training, Path(model.path))
        model.metadata.update(part=part, preset=workspace.settings.training.preset, spec_hash=workspace.spec.hash)
        observe({"trained": trained.data.training_rows}, pinned.end)
        log_metrics(metrics, {"training_rows": trained.data.training_rows, "fit_seconds": trained.fit_seconds})
