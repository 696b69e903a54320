"""The servers that ours is held against, each a process with KServe's own `ModelServer`.

    python benchmarks/side_by_side/baselines.py empty|carrier|naive --bundle DIR --http-port N --grpc-port N

`empty` answers every request with one number; `carrier` with all that a bundle's answer holds, computing nothing.
`naive` serves a bundle's models with their `predict` methods. All are as quiet as ours: one process, no access log, no
latency log.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

NAME = "cryptosentinel"
DATATYPES = {"f": "FP64", "b": "BOOL", "U": "BYTES"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("empty", "carrier", "naive"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    given = parser.parse_args()
    sys.argv = sys.argv[:1]  # kserve reads them as well
    import logging

    from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
    from kserve.logging import configure_logging

    def respond(request: InferRequest, answers: dict[str, np.ndarray]) -> InferResponse:
        outputs = [
            InferOutput(name, list(values.shape), DATATYPES[values.dtype.kind], values.ravel().tolist())
            for name, values in answers.items()
        ]
        return InferResponse(
            request.id or "", NAME, outputs, use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )  # fmt: skip

    class Constant(Model):
        def __init__(self, answers: dict[str, np.ndarray]) -> None:
            super().__init__(NAME)
            self.answers = answers
            rows = {name: values[0].tolist() for name, values in answers.items()}
            self.prediction = rows if len(rows) > 1 else next(iter(rows.values()))

        async def predict(self, payload: Any, *_: Any) -> Any:
            if isinstance(payload, InferRequest):
                return respond(payload, self.answers)
            return {"predictions": [self.prediction]}

    class Naive(Model):
        def load(self) -> bool:
            from naive import NaiveModels

            self.models = NaiveModels(given.bundle)
            self.ready = True
            return True

        async def predict(self, payload: Any, *_: Any) -> Any:
            if isinstance(payload, InferRequest):
                sent = {entry.name: entry.as_numpy() for entry in payload.inputs}
                return respond(payload, self.models.forecast(sent["features"], sent["close"]))
            rows = payload["instances"]
            features = np.array([[row["features"][name] for name in self.models.manifest.features] for row in rows])
            answers = self.models.forecast(features, np.array([row["close"] for row in rows]))
            return {"predictions": [{k: v[i].tolist() for k, v in answers.items()} for i in range(len(rows))]}

    made = {"empty": lambda: Constant({"answer": np.zeros(1)}), "carrier": lambda: Constant(of_bundle(given.bundle))}
    model = made.get(given.which, lambda: Naive(NAME))()
    model.load()
    model.ready = True
    server = ModelServer(
        http_port=given.http_port, grpc_port=given.grpc_port, workers=1, enable_latency_logging=False
    )  # fmt: skip
    configure_logging()
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([model])


def of_bundle(path: Path) -> dict[str, np.ndarray]:
    """One row of each tensor that a bundle's answer holds."""
    from cryptosentinel.bundle import Bundle
    from serving.tensors import output_tensors

    values = {
        "FP64": np.zeros,
        "BOOL": lambda shape: np.zeros(shape, bool),
        "BYTES": lambda shape: np.full(shape, "up"),
    }
    tensors = output_tensors(Bundle.load(path).manifest)
    return {name: values[datatype]((1, *shape[1:])) for name, datatype, shape in tensors}


if __name__ == "__main__":
    main()
