"""What one process takes on at once, over REST and gRPC together, and whether it is about to end."""

from __future__ import annotations

import os
import re

MAX_IN_FLIGHT = 512  # at about 1 ms each the last of them waits half a second
BODIES_HELD = 8  # so many of the largest bodies fit in memory at once
RETRY_AFTER_S = 1

_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}")


class Admission:
    """Counts what is in flight.

    Attributes:
        draining: the process is about to end: it answers what still comes, and tells probes that it is not ready.
        max_body_bytes: of one request.
        entered: how many requests have been worked on so far.
    """

    def __init__(self, max_body_bytes: int, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self.draining = False
        self.max_body_bytes = max_body_bytes
        self.entered = 0
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._held_bytes = 0

    def enter(self) -> bool:
        """Whether one more request may be worked on; who was told yes must `leave`."""
        if self._in_flight >= self._max_in_flight:
            return False
        self._in_flight += 1
        self.entered += 1
        return True

    def leave(self) -> None:
        """A request that had entered is done."""
        self._in_flight -= 1

    def hold(self, size: int) -> bool:
        """Whether `size` more bytes of bodies may be kept; who was told yes must `release` them."""
        if self._held_bytes + size > BODIES_HELD * self.max_body_bytes:
            return False
        self._held_bytes += size
        return True

    def release(self, size: int) -> None:
        """So many bytes are kept no longer."""
        self._held_bytes -= size


def request_id_of(given: str | None) -> str:
    """The caller's own id of a request where it can be printed and is short, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
