"""The feature, training and inference pipelines.

One definition each, compiled for a cluster (`compiling`) and run on this machine (`local`). They share two parameters:
`settings` is `Settings.public_json()`, and `as_of` an ISO time that sets the clock of a recorded or simulated market,
empty for the market's own.
"""

from kfp import dsl
from kfp.dsl import pipeline_task

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


def _fresh(task: pipeline_task.PipelineTask) -> pipeline_task.PipelineTask:
    """Without caching: a step's input is the market, which its parameters do not name."""
    return task.set_caching_options(False)


@dsl.pipeline(name="cryptosentinel-feature", description="Bars from the market, and their features")
def feature(settings: str = "{}", as_of: str = ""):
    """Ingest, then featurize."""
    ingested = _fresh(ingest(settings=settings, as_of=as_of))
    _fresh(featurize(settings=settings, as_of=as_of, touched_from=ingested.outputs["touched_from"]))


@dsl.pipeline(name="cryptosentinel-training", description="Drift, a field of models, their figures, and the registry")
def training(
    settings: str = "{}",
    as_of: str = "",
    parts: list = PARTS,
):
    """Drift, then one training task a part, then evaluate, then register; nothing more where rows are too few."""
    checked = _fresh(drift(settings=settings, as_of=as_of))
    with dsl.If(checked.outputs["Output"] != "", name="enough-rows"):
        with dsl.ParallelFor(items=parts, name="parts", parallelism=PARALLEL_FITS) as part:
            trained = _fresh(train(part=part, settings=settings, as_of=as_of, snapshot=checked.outputs["Output"]))
        # Each consumer collects for itself: Kubeflow rewires the object it is given.
        evaluated = _fresh(
            evaluate(
                settings=settings,
                as_of=as_of,
                snapshot=checked.outputs["Output"],
                models=dsl.Collected(trained.outputs["model"]),
            )
        )
        _fresh(
            register(
                settings=settings,
                as_of=as_of,
                models=dsl.Collected(trained.outputs["model"]),
                evaluation=evaluated.outputs["evaluation"],
            )
        )


@dsl.pipeline(name="cryptosentinel-inference", description="A forecast through KServe; older ones settled; alerts")
def inference(settings: str = "{}", as_of: str = ""):
    """Predict."""
    _fresh(predict(settings=settings, as_of=as_of))


PIPELINES = {"feature": feature, "training": training, "inference": inference}
