"""Component: what was chosen out of fold, and every figure on the last block."""

from typing import List  # noqa: UP035 - Kubeflow knows lists of artifacts by this name

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def evaluate(
    settings: str,
    as_of: str,
    snapshot: str,
    models: dsl.Input[List[dsl.Model]],  # noqa: UP006
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    direction: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.Markdown],
) -> float:
    """Blends, shrinks and calibrates on out-of-fold rows, and measures on rows that no model and no choice has seen.

    Returns how much of the blend is believed, from 0 to 1.
    """
    from pathlib import Path

    from components.step import log_metrics, observe, step, write_text
    from cryptosentinel.bundle import Bundle
    from cryptosentinel.forecasting import Snapshot, incumbent_on, league_table, load_dataset, read_unseen
    from cryptosentinel.forecasting import evaluate as evaluate_parts
    from cryptosentinel.market.bars import utc

    with step("evaluate", settings, as_of) as workspace:
        chosen = workspace.settings
        pinned = Snapshot.model_validate_json(snapshot)
        store, spec = workspace.storage.features, workspace.spec
        rows = load_dataset(store, spec, chosen.market.asset, pinned, chosen.forecast.horizon_bars)
        folders = [Path(model.path) for model in models]
        unseen = read_unseen(folders, rows)
        version = workspace.champion().version
        champion = Bundle.load(workspace.storage.registry.fetch(version, workspace.root / "bundles"))
        result = evaluate_parts(
            folders,
            unseen,
            chosen.forecast,
            data_age_s=(workspace.source.now() - utc(rows.timestamps[-1])).total_seconds(),
            incumbent=incumbent_on(unseen.split()[1].rows, spec.hash, champion, version, chosen.forecast),
        )
        write_text(evaluation, result.model_dump_json(indent=2))
        observe({"unseen": result.data.holdout_rows}, pinned.end)
        log_metrics(metrics, {"shrinkage": result.choices.shrinkage, **result.spread["blend"]})
        log_metrics(metrics, {f"direction_{name}": value for name, value in result.direction.items()})
        direction.log_confusion_matrix(["down", "up"], result.confusion)
        write_text(report, league_table(result.candidates, "shrunk"))
    return result.choices.shrinkage
