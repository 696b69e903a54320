"""Component: every part's figures on the holdout rows, and the best candidate."""

from typing import List  # noqa: UP035 - Kubeflow knows lists of artifacts by this name

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def evaluate(
    settings: str,
    as_of: str,
    models: dsl.Input[List[dsl.Model]],  # noqa: UP006
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    direction: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.Markdown],
) -> str:
    """Measures the parts on rows that none of them was fitted on; returns the best candidate's name."""
    from pathlib import Path

    from components.step import log_metrics, step, write_text
    from cryptosentinel.forecasting import evaluate as evaluate_parts
    from cryptosentinel.forecasting import league_table

    with step("evaluate", settings, as_of):
        result = evaluate_parts([Path(model.path) for model in models])
        write_text(evaluation, result.model_dump_json(indent=2))
        log_metrics(metrics, result.candidates[result.best])
        log_metrics(metrics, {f"direction_{name}": value for name, value in result.direction.items()})
        direction.log_confusion_matrix(["down", "up"], result.confusion)
        write_text(report, league_table(result.candidates, result.best))
    return result.best
