"""KServe's data plane behind REST and gRPC, with what is wrong in a request's bytes told as the client's fault."""

from __future__ import annotations

from typing import Any

from serving._kserve import DataPlane, InvalidInput, Model, ModelRepository
from serving.admission import Admission


class ForecastDataPlane(DataPlane):
    """KServe's, with the bundle's version in the metadata, and no header of a request in an answer."""

    def __init__(self, models: ModelRepository, model: Model, admission: Admission) -> None:
        super().__init__(models)
        self._model = model
        self._admission = admission

    async def ready(self) -> bool:
        """What probes ask: KServe's own answer is always yes."""
        return bool(self._model.ready and not self._admission.draining)

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """Asked by probes, and with the second argument true before each request: those are answered to the last."""
        ready = await super().model_ready(model_name, disable_predictor_health_check)
        return bool(ready and (disable_predictor_health_check or not self._admission.draining))

    def metadata(self) -> dict[str, Any]:
        """The server's metadata."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The model's metadata."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        model = self.get_model_from_registry(model_name)
        return {**metadata, "platform": "cryptosentinel", "versions": [str(model.served.version)]}

    def decode(self, body: Any, headers: Any, *args: Any, **kwargs: Any) -> Any:
        """From bytes to what models are given.

        Raises:
            InvalidInput: they cannot be read.
        """
        try:
            return super().decode(body, headers, *args, **kwargs)
        except Exception as error:
            # KServe's own words, where it has any, say what is wrong, but not what to send.
            fault = str(error) if isinstance(error, InvalidInput) else ascii(error)
            sentence = f"The request is not of the V1 or V2 form: {fault.rstrip('.')}. /openapi.json tells the forms."
            raise InvalidInput(sentence) from error


def first_of(errors: Any) -> str:
    """The first of pydantic's errors, without what was sent."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "InferenceRequest"})
    # Names come from the request, and may be no text that can be sent.
    return ascii(f"{where or 'the body'}: {first['msg']}")[1:-1][:200]
