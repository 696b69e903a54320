"""Component: the bundle into the registry, and through the gate."""

from typing import List, NamedTuple  # noqa: UP035 - Kubeflow knows lists of artifacts by this name

from kfp import dsl

from components.image import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def register(
    settings: str,
    as_of: str,
    models: dsl.Input[List[dsl.Model]],  # noqa: UP006
    evaluation: dsl.Input[dsl.Artifact],
    card: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Outputs", [("version", int), ("promoted", bool)]):
    """Assembles the bundle and registers it; if the gate lets it, it comes to serve, and the champion alias moves.

    What is not to be kept any longer is deleted, so that a store does not grow by what each training adds.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from components.step import log_metrics, observe, step, tell, write_text
    from components.upkeep import clear_up
    from cryptosentinel.forecasting import (
        Evaluation,
        assemble_bundle,
        judge,
        next_look,
        past_verdicts,
        register_bundle,
    )
    from serving.rollout import in_use, promoter

    with step("register", settings, as_of) as workspace, TemporaryDirectory() as folder:
        measured = Evaluation.model_validate_json(Path(evaluation.path).read_text(encoding="utf-8"))
        registry, rules = workspace.storage.registry, workspace.settings.gate
        look = next_look(past_verdicts(registry.versions()), measured.data.end, rules)
        gate = judge(measured.evidence, look, rules)
        bundle = assemble_bundle(
            Path(folder) / "bundle",
            folders=[Path(model.path) for model in models],
            evaluation=measured,
            gate=gate,
            spec=workspace.spec,
            settings=workspace.settings,
            market=workspace.market,
            simulated=workspace.source.simulated,
        )
        workspace.champion()  # version 0 first, on a store that has never seen one
        registered, promoted = register_bundle(registry, bundle, promoter(workspace))
        write_text(card, (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8"))
        observe({}, measured.data.end + workspace.spec.interval.delta, version=registered.version, promoted=promoted)
        log_metrics(metrics, {"version": registered.version, "promoted": float(promoted)})
        log_metrics(metrics, {f"gate_{name}": value for name, value in gate.figures.items()})
        tell("register", f"version {registered.version} {registered.verdict}")
        log_metrics(metrics, clear_up(workspace, in_use(workspace)))
    return (registered.version, promoted)
