"""V2's model repository API, where `serving.repository_api` switches it on: loading and unloading the one model.

To load is to look at the registry (or folder) now and not at the next look, and to serve again after an unload. To
unload is to turn unready: what was accepted is answered, what comes then is refused with 503, and a new champion
changes nothing, until it is loaded. The process goes on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from serving._kserve import InvalidInput, Model, ModelNotFound, ModelNotReady, ModelRepository, ModelRepositoryExtension
from serving.asked import shown
from serving.bundles import Source
from serving.logs import fields

log = logging.getLogger("serving")

LOAD_TIMEOUT_S = 60.0


class NotLoadedError(ModelNotReady):
    """There is nothing that could be loaded. Of KServe's kind, for its 503."""

    def __init__(self) -> None:
        super().__init__("")
        self.error_msg = "The bundle cannot be loaded; the predictor's log says why, and what was served before stays."


class RepositoryExtension(ModelRepositoryExtension):
    """Loads and unloads one model; its index is KServe's."""

    def __init__(self, models: ModelRepository, model: Model, source: Source) -> None:
        super().__init__(models)
        self._model = model
        self._source = source

    async def load(self, model_name: str) -> dict[str, Any]:
        """Called for a request; KServe's gRPC reads the answer.

        Raises:
            ModelNotFound: there is no such model.
            NotLoadedError: its bundle cannot be fetched, in time or at all, or is damaged.
        """
        self._check(model_name)
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                await self._source.load()
        except Exception as error:
            log.error("load_failed", extra=fields(error=f"{type(error).__name__}: {error}"))  # noqa: TRY400
            raise NotLoadedError from error
        log.info("loaded", extra=fields(bundle_version=self._model.served.version))
        return {"name": model_name, "load": True}

    async def unload(self, model_name: str) -> dict[str, Any]:
        """Called for a request.

        Raises:
            ModelNotFound: there is no such model.
        """
        self._check(model_name)
        self._source.unload()
        log.warning("unloaded")
        return {"name": model_name, "unload": True}

    def _check(self, model_name: str) -> None:
        if model_name != self._model.name:
            raise ModelNotFound(model_name)


class NoRepositoryExtension(ModelRepositoryExtension):
    """Whoever can ask for a forecast must not be able to end them."""

    async def load(self, model_name: str) -> None:
        """Refused."""
        raise InvalidInput(f"{shown(model_name)} cannot be loaded over the network: promote a version in the registry.")

    async def unload(self, model_name: str) -> None:
        """Refused."""
        raise InvalidInput(f"{shown(model_name)} cannot be unloaded over the network: stop the process.")
