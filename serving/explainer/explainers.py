"""The bundles that can be explained: looked for where the predictor has them, two at most in memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptosentinel.bundle import MANIFEST, file_digest
from cryptosentinel.explaining import Explainer
from serving.bundles import RETRY_AFTER_S, Served, first_bundle, load_served
from serving.logs import fields

log = logging.getLogger("serving.explainer")


@dataclass(frozen=True)
class Candidate:
    """A folder that may hold a bundle, and its version, where the folder's name says it."""

    path: Path
    version: int | None


@dataclass(frozen=True)
class Loaded:
    """A bundle that can be explained."""

    served: Served
    explainer: Explainer


Find = Callable[[], Iterable[Candidate]]


def one_folder(folders: Sequence[Path], version: int | None) -> Find:
    """Finds the bundle of the first folder that holds one."""
    return lambda: [Candidate(first_bundle(folders), version)]


def fetched_copies(folder: Path) -> Find:
    """Finds what a predictor has fetched from its registry into a folder, the latest first."""

    def find() -> Iterable[Candidate]:
        copies = sorted(folder.glob(f"v*-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for manifest in copies:
            number = manifest.parent.name[1:].partition("-")[0]
            yield Candidate(manifest.parent, int(number) if number.isdigit() else None)

    return find


class Explainers:
    """Loads in one thread, answers `get` in any.

    Besides the bundle that is asked for, the one that came last is kept: a predictor that is about to change over finds
    both.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._loaded: dict[str, Loaded] = {}  # replaced as a whole
        self._used = ""
        self._failed: dict[str, float] = {}  # when, by digest
        self._reported = ""

    @property
    def newest(self) -> Loaded | None:
        """What was loaded last, or None."""
        return next(reversed(self._loaded.values()), None)

    def get(self, digest: str) -> Loaded | None:
        """The bundle of that manifest, if it is loaded."""
        if (loaded := self._loaded.get(digest)) is not None:
            self._used = digest
        return loaded

    def refresh(self) -> None:
        """Loads the bundle that came last, if it is not loaded."""
        self._look(lambda _: True)

    def seek(self, digest: str) -> None:
        """Loads the bundle of that manifest, if it is there."""
        self._look(lambda found: found == digest)

    def _look(self, wanted: Callable[[str], bool]) -> None:
        try:
            for candidate in self._find():
                digest = file_digest(candidate.path / MANIFEST)
                if wanted(digest):
                    if digest not in self._loaded:
                        self._load(candidate, digest)
                    return
        except FileNotFoundError:  # not there yet, or cleared away meanwhile
            return
        except OSError as error:
            self._report(f"bundles cannot be looked for: {error}")

    def _load(self, candidate: Candidate, digest: str) -> None:
        if time.monotonic() - self._failed.get(digest, -RETRY_AFTER_S) < RETRY_AFTER_S:
            return
        began = time.monotonic()
        try:
            served = load_served(candidate.path, candidate.version)
            loaded = Loaded(served, Explainer(served.bundle))
        except Exception as error:  # noqa: BLE001 (what is explained already must stay so)
            self._failed[digest] = time.monotonic()
            self._report(f"{candidate.path}: {type(error).__name__}: {error}")
            return
        kept = self._loaded.get(self._used) or self.newest
        self._loaded = ({kept.served.digest: kept} if kept else {}) | {served.digest: loaded}
        seconds = round(time.monotonic() - began, 2)
        log.info("loaded", extra=fields(bundle_version=served.version, digest=served.digest[:8], seconds=seconds))

    def _report(self, text: str) -> None:
        """Once: it looks every second."""
        if text != self._reported:
            self._reported = text
            log.error("load_failed", extra=fields(error=text))
