"""What MLServer runs: a bundle's ONNX graph, as many threads as ours has. Imported in MLServer's own environment.

It answers what each model in the graph says, and makes nothing of it: no price, no quantiles, no checks of values.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    """One graph whose only input is `features`."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        graph = self.settings.parameters.uri
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        features = next(entry for entry in payload.inputs if entry.name == "features")
        rows = NumpyCodec.decode_input(features).astype(np.float32)
        answers = self._session.run(self._outputs, {"features": rows})
        outputs = [NumpyCodec.encode_output(*answer) for answer in zip(self._outputs, answers, strict=True)]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
