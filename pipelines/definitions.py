"""The feature, training and inference pipelines.

One definition each, compiled for a cluster (`kubeflow`) and run on this machine (`local`). They share two parameters:
`settings` is `Settings.public_json()`, and `as_of` an ISO time that sets the clock of a recorded or simulated market,
empty for the market's own.
"""

from collections.abc import Callable

from kfp import dsl
from kfp.dsl import graph_component, pipeline_task

from components.drift.component import drift
from components.evaluate.component import evaluate
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.predict.component import predict
from components.register.component import register
from components.train.component import train

# What `part_names` says of the usual settings. To ask it here would cost each run on this machine a second of imports.
PARTS = [
    "volatility_trees",
    "volatility_linear",
    "direction",
    "gradient_boosting",
    "random_forest",
    "xgboost",
    "ridge",
    "random_walk",
    "regime",
]
# Training tasks at a time: each takes a core and a few hundred megabytes.
PARALLEL_FITS = 2


# Adds to a task what only a cluster knows of.
Dress = Callable[[pipeline_task.PipelineTask], pipeline_task.PipelineTask]


def define(
    dress: Dress = lambda task: task,
    *,
    parallel_fits: int = PARALLEL_FITS,
    config: dsl.PipelineConfig | None = None,
    kubeflow: str = "",
) -> dict[str, graph_component.GraphComponent]:
    """The pipelines by name.

    Args:
        dress: is given every task, whose name is its step's.
        parallel_fits: training tasks at a time.
        config: of each pipeline's runs.
        kubeflow: how steps reach the Kubeflow that runs them, as JSON; empty on this machine.
    """

    def fresh(task: pipeline_task.PipelineTask) -> pipeline_task.PipelineTask:
        # Without caching: a step's input is the market, which its parameters do not name.
        return dress(task.set_caching_options(False))

    @dsl.pipeline(
        name="cryptosentinel-feature", description="Bars from the market, and their features", pipeline_config=config
    )
    def feature(settings: str = "{}", as_of: str = ""):
        """Ingest, then featurize."""
        ingested = fresh(ingest(settings=settings, as_of=as_of))
        fresh(featurize(settings=settings, as_of=as_of, touched_from=ingested.outputs["touched_from"]))

    @dsl.pipeline(
        name="cryptosentinel-training",
        description="Drift, a field of models, their figures, and the registry",
        pipeline_config=config,
    )
    def training(settings: str = "{}", as_of: str = "", parts: list = PARTS):
        """Drift, then one training task a part, then evaluate, then register; nothing more where rows are too few."""
        checked = fresh(drift(settings=settings, as_of=as_of))
        with dsl.If(checked.outputs["Output"] != "", name="enough-rows"):
            with dsl.ParallelFor(items=parts, name="parts", parallelism=parallel_fits) as part:
                trained = fresh(train(part=part, settings=settings, as_of=as_of, snapshot=checked.outputs["Output"]))
            # Each consumer collects for itself: Kubeflow rewires the object it is given.
            evaluated = fresh(
                evaluate(
                    settings=settings,
                    as_of=as_of,
                    snapshot=checked.outputs["Output"],
                    models=dsl.Collected(trained.outputs["model"]),
                )
            )
            fresh(
                register(
                    settings=settings,
                    as_of=as_of,
                    models=dsl.Collected(trained.outputs["model"]),
                    evaluation=evaluated.outputs["evaluation"],
                )
            )

    @dsl.pipeline(
        name="cryptosentinel-inference",
        description="A forecast through KServe; older ones settled; alerts",
        pipeline_config=config,
    )
    def inference(settings: str = "{}", as_of: str = ""):
        """Predict."""
        fresh(predict(settings=settings, as_of=as_of, kubeflow=kubeflow))

    return {"feature": feature, "training": training, "inference": inference}


# As they run on this machine.
PIPELINES = define()
