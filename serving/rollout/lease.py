"""Keeping two promotions of one InferenceService apart: a Lease of the Kubernetes API.

Whoever holds it renews it all the time. That a holder has died is not told by its clock, which may differ from ours,
but by its Lease staying as it is for as long as it was taken for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from cryptosentinel.errors import RolloutError
from serving.rollout.cluster import Cluster


class PromotionLease:
    """Held while the block runs.

    Args:
        cluster: the InferenceService that is to be changed.
        lease_s: for how long it is taken, each time it is renewed.
        wait_s: how long another holder is waited for.
    """

    def __init__(self, cluster: Cluster, lease_s: int, wait_s: float) -> None:
        self._cluster, self._lease_s, self._wait_s = cluster, lease_s, wait_s
        self._name = f"{cluster.name}-promotion"
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._held: client.V1Lease | None = None
        self._renewed_at = 0.0
        self._renewing = threading.Thread(target=self._renew_regularly, name="promotion-lease", daemon=True)

    def __enter__(self) -> PromotionLease:
        self._take()
        self._renewing.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        # Where that cannot be said, the Lease runs out.
        with self._lock, suppress(RolloutError, ApiException):
            if self._held is not None:
                self._write(self._held, holder="", seconds=1)

    def check(self) -> None:
        """To be called before anything is changed.

        Raises:
            RolloutError: somebody else holds the Lease by now, or it cannot be renewed.
        """
        with self._lock:
            if time.monotonic() - self._renewed_at > self._lease_s / 2:
                self._renew()
            self._still_ours()

    def _take(self) -> None:
        deadline = time.monotonic() + self._wait_s
        seen, seen_at = "", time.monotonic()
        while True:
            found = self._cluster.lease(self._name)
            if found is not None and found.metadata.resource_version != seen:
                seen, seen_at = found.metadata.resource_version, time.monotonic()
            holder = found.spec.holder_identity if found is not None and found.spec is not None else None
            taken_for = found.spec.lease_duration_seconds or self._lease_s if holder else 0
            if (holder in {None, "", self._holder} or time.monotonic() - seen_at > taken_for) and self._write(
                found, self._holder, self._lease_s
            ):
                return
            if time.monotonic() > deadline:
                raise RolloutError(
                    f"Another promotion of {self._cluster.namespace}/{self._cluster.name} is under way, by {holder},"
                    f" and did not end within {self._wait_s:g} s.",
                    remedy="Wait for it, and run this again.",
                )
            time.sleep(min(1.0, self._lease_s / 4))

    def _renew_regularly(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            # What is wrong is told by whoever calls `check`; until then it may pass.
            with self._lock, suppress(RolloutError, ApiException):
                if not self._ended.is_set() and self._held is not None:
                    self._renew()

    def _renew(self) -> None:
        """Renews it; where our own renewal was recorded and its answer lost, that is seen."""
        if self._held is None or self._write(self._held, self._holder, self._lease_s):
            return
        found = self._cluster.lease(self._name)
        ours = found is not None and found.spec.holder_identity == self._holder
        self._held = found if ours else None
        if ours:
            self._write(found, self._holder, self._lease_s)

    def _still_ours(self) -> None:
        if self._held is None:
            raise RolloutError(
                f"The Lease {self._cluster.namespace}/{self._name} went to somebody else while this promotion waited.",
                remedy="Nothing more was changed here; `cryptosentinel rollout` leads the service to the champion.",
            )

    def _write(self, before: client.V1Lease | None, holder: str, seconds: int) -> bool:
        began, now = time.monotonic(), _now()
        was = before.spec if before is not None else None
        same = was is not None and was.holder_identity == holder
        transitions = (was.lease_transitions or 0) if was is not None else 0
        spec: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": _text(was.acquire_time) if same and was.acquire_time else now,
            "renewTime": now,
            "leaseTransitions": transitions + (was is not None and bool(holder) and not same),
        }
        version = before.metadata.resource_version if before is not None else None
        written = self._cluster.write_lease(self._name, spec, version)
        if written is None:
            return False
        self._held, self._renewed_at = written, began
        return True


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(time_: datetime) -> str:
    return time_.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
