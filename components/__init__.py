"""The seven Kubeflow components, one folder each.

A component is thin: it reads artifacts and parameters, calls the library, and writes artifacts and metrics. It carries
its own source into the pod, so everything it needs is imported inside the function; the library is in the image.

Parameters they share: `settings` is `Settings.public_json()` (what differs from the defaults, no secrets), and `as_of`
an ISO time that sets the clock of a recorded or simulated market; empty for the market's own clock.
"""

from components.drift.component import drift
from components.evaluate.component import evaluate
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.predict.component import predict
from components.register.component import register
from components.train.component import train

__all__ = ["drift", "evaluate", "featurize", "ingest", "predict", "register", "train"]
