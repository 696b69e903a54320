"""The training that follows once the champion is called useless, on this machine; on a cluster a step starts it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from cryptosentinel.errors import CryptoSentinelError
from cryptosentinel.predicting import awaiting_training, note_training
from cryptosentinel.workspace import Workspace

# How soon it begins, beside the five minutes between two looks at the champion.
POLL_S = 15.0
_log = logging.getLogger(__name__)


def train_when_asked(
    workspace: Workspace, train: Callable[[], None], stop: threading.Event, *, poll_s: float = POLL_S
) -> None:
    """Trains once for each version that is called useless, until `stop` is set; never where none is to follow.

    That it is started is written down before: one that fails, or is ended half way, is not repeated; the schedule is.
    """
    if "retrain" not in workspace.settings.drift.concept.follows:
        return
    storage = workspace.storage
    while not stop.wait(poll_s):
        try:
            detection = awaiting_training(storage, workspace.settings)
            if detection is not None:
                note_training(storage.log, detection, now=datetime.now(UTC))
        except CryptoSentinelError:
            _log.exception("Whether a training is asked for could not be told; it is looked for again.")
        else:
            if detection is not None:
                train()
