"""Which bundle is served: one folder's, or the registry's champion, followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from cryptosentinel.bundle import MANIFEST, Bundle, file_digest
from cryptosentinel.errors import BundleDamagedError, BundleError, ServingError
from serving.logs import fields

if TYPE_CHECKING:  # the explainer needs neither KServe nor the registry
    from cryptosentinel.storage import ModelRegistry
    from serving.predictor import ForecastModel

T = TypeVar("T")

log = logging.getLogger("serving")

VERSION_FILE = "registered.json"
UNREGISTERED = -1
RETRY_AFTER_S = 30.0  # a champion that cannot be loaded is tried again, in case it was the disk or the network


@dataclass(frozen=True)
class Served:
    """A bundle, its version in the registry, and the digest of its manifest, which names every file's."""

    bundle: Bundle
    version: int
    digest: str


def first_bundle(folders: Sequence[Path]) -> Path:
    """The first folder that holds a bundle; where none does, the first."""
    return next((folder for folder in folders if (folder / MANIFEST).exists()), folders[0])


def load_served(path: Path, version: int | None = None) -> Served:
    """Loads and verifies a bundle folder, and asks it once.

    Args:
        path: the folder.
        version: by default what its file `registered.json` says, else 0 for the bundle that has seen no data, else -1.

    Raises:
        BundleError: it is damaged, of an unknown format version, or cannot answer.
    """
    bundle = Bundle.load(path)
    if version is None:
        version = _own_version(path, bundle)
    names = bundle.manifest.features
    try:
        price = bundle.infer(np.zeros((1, len(names))), np.ones(1)).predicted_price[0]
    except Exception as error:  # whatever ONNX Runtime or NumPy make of files that do not fit together
        raise BundleDamagedError(f"Bundle {path} cannot answer ({type(error).__name__}: {error}).") from error
    if not np.isfinite(price):
        raise BundleDamagedError(f"Bundle {path} answers {price} for a row of zeros.")
    return Served(bundle, version, file_digest(path / MANIFEST))


def fetch_served(registry: ModelRegistry, version: int, folder: Path) -> Served:
    """Copies a version from the registry into `folder` and loads it; a damaged copy is fetched again.

    Raises:
        BundleError: the registry's own is damaged as well.
        StorageError: it cannot be fetched.
    """
    path = registry.fetch(version, folder)
    try:
        return load_served(path, version)
    except BundleDamagedError:
        shutil.rmtree(path)
    try:
        return load_served(registry.fetch(version, folder), version)
    except BundleDamagedError as error:
        raise BundleDamagedError(
            f"Version {version} is damaged in the registry: {error.message}",
            remedy=f"Restore its folder in the store (bundles/v{version}-...) from a backup.",
        ) from error


class Source(Protocol):
    """Where a model's bundle comes from, while requests run."""

    async def load(self) -> None:
        """Serves what is there now, verified anew; where that fails, what was served before stays as it was.

        Raises:
            CryptoSentinelError: it cannot be fetched or loaded.
        """

    def unload(self) -> None:
        """Serves nothing from the next request on, until `load`."""


class BundleFolder:
    """The bundle of one folder, as a `Source`."""

    def __init__(self, model: ForecastModel, path: Path, version: int | None) -> None:
        self._model = model
        self._path = path
        self._version = version

    async def load(self) -> None:
        """See `Source.load`."""
        self._model.serve(await in_daemon(lambda: load_served(self._path, self._version)))

    def unload(self) -> None:
        """See `Source.unload`."""
        self._model.withdraw()


class ChampionFollower:
    """Serves the registry's champion, and the next one when there is one. A `Source`.

    A champion that cannot be loaded is reported once, and the one before it stays.
    """

    def __init__(self, model: ForecastModel, registry: ModelRegistry, folder: Path) -> None:
        self._model = model
        self._registry = registry
        self._folder = folder
        self._serving: int | None = None
        self._failed: tuple[int, float] | None = None  # version, when it was tried
        self._reported = ""
        self._unloaded = False
        self._looking = asyncio.Lock()

    async def load(self) -> None:
        """See `Source.load`."""
        before, self._unloaded = self._unloaded, False
        try:
            async with self._looking:
                served = await in_daemon(self._present)
        except BaseException:
            self._unloaded |= before
            raise
        if not self._unloaded:  # meanwhile
            self._serve(served)

    def unload(self) -> None:
        """See `Source.unload`."""
        self._unloaded = True
        self._model.withdraw()

    def first(self) -> None:
        """Serves the present champion; without one, the model stays unready until `follow` finds it.

        Raises:
            CryptoSentinelError: it cannot be fetched or loaded.
        """
        served = self._newer()
        if served is None:
            log.warning("waiting", extra=fields(reason="the registry has no champion yet"))
        else:
            self._serve(served)

    async def follow(self, every_s: float) -> None:
        """Asks for a new champion every `every_s` seconds, for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                async with self._looking:
                    served = None if self._unloaded else await in_daemon(self._newer)
            except Exception as error:  # noqa: BLE001 (nothing that happens here may end what is served)
                self._report(error)
                continue
            if self._failed is None:
                self._reported = ""
            if served is not None and not self._unloaded:
                self._serve(served)
                champion = served.bundle.manifest.champion
                log.info("swapped", extra=fields(bundle_version=served.version, champion=champion))

    def _serve(self, served: Served) -> None:
        self._model.serve(served)
        self._serving = served.version

    def _present(self) -> Served:
        champion = self._registry.champion()
        if champion is None:
            raise ServingError("The registry has no champion yet.")
        return fetch_served(self._registry, champion.version, self._folder)

    def _newer(self) -> Served | None:
        champion = self._registry.champion()
        if champion is None or champion.version == self._serving:
            self._failed = None
            return None
        if self._failed and self._failed[0] == champion.version and time.monotonic() - self._failed[1] < RETRY_AFTER_S:
            return None
        self._failed = (champion.version, time.monotonic())
        served = fetch_served(self._registry, champion.version, self._folder)
        self._failed = None
        return served

    def _report(self, error: Exception) -> None:
        from serving.metrics import SWAPS  # the predictor's; the explainer has its own

        SWAPS.labels("failed").inc()
        text = f"{type(error).__name__}: {error}"
        if text != self._reported:
            self._reported = text
            log.error("swap_failed", extra=fields(still_serving=self._serving, error=text))


async def in_daemon(work: Callable[[], T]) -> T:
    """What `work` returns, from a thread that does not keep the process from ending while a store hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(setter: Callable[[Any], None], outcome: object) -> None:
        if not done.done():  # cancelled
            setter(outcome)

    def run() -> None:
        setter, outcome = done.set_result, None
        try:
            outcome = work()
        except Exception as error:  # noqa: BLE001 (raised where it is awaited)
            setter, outcome = done.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, setter, outcome)

    threading.Thread(target=run, name="registry", daemon=True).start()
    return await done


def _own_version(path: Path, bundle: Bundle) -> int:
    file = path / VERSION_FILE
    if not file.exists():
        return 0 if bundle.manifest.data is None else UNREGISTERED
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f'{file} cannot be read ({error}); it should be {{"version": N}}.') from error
