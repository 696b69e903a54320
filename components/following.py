"""What follows once the champion is called useless, as far as a step does it: a training on Kubeflow, a fall-back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import entry_points

from cryptosentinel.config import Settings
from cryptosentinel.predicting import awaiting_training, fall_back, note_training
from cryptosentinel.workspace import Workspace
from serving.rollout import promoter

# Who starts a training on Kubeflow is above the components: `pipelines` offers it under this name.
_STARTERS = "cryptosentinel.trainings"
# Given the settings, how Kubeflow is reached (JSON) and what ends the run's name, it starts one run.
Start = Callable[[Settings, str, str], None]


def follow(workspace: Workspace, kubeflow: str, *, now: datetime) -> list[str]:
    """Does what is to follow and has not been done; a step that is killed anywhere leaves it to the next one.

    Args:
        workspace: the market's.
        kubeflow: how the Kubeflow that runs this step is reached, as JSON of the settings `kubeflow`; empty on one
            machine, where `up` starts the training.
        now: the time.

    Returns:
        What was done, in words.
    """
    storage, settings, done = workspace.storage, workspace.settings, []
    detection = awaiting_training(storage, settings)
    if detection is not None and kubeflow:
        label = f"concept-v{detection['bundle_version']}-{detection['detected_at']:%Y%m%dT%H%M%S}"
        (starter,) = entry_points(group=_STARTERS)
        start: Start = starter.load()
        start(settings, kubeflow, label)
        # A run is started once under a name, so that a step that is killed before this line starts no second one.
        note_training(storage.log, detection, now=now)
        done.append(f"a training was started, since version {detection['bundle_version']} is called useless")
    if fallen := fall_back(storage, settings, workspace.random_walk, promoter(workspace), now=now):
        done.append(fallen)
    return done
