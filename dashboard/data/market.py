"""The market that is shown, and when its pipelines run. Reads only, asks no network, knows no Streamlit."""

from __future__ import annotations

import json
from datetime import datetime

from croniter import croniter

from cryptosentinel.config import ScheduleSettings, load_settings
from cryptosentinel.market import FileSource
from cryptosentinel.workspace import Workspace, stored_workspace


def open_market(settings_json: str | None) -> Workspace:
    """Opens the market of `Settings.public_json`, or, without, the one that this machine used last.

    Raises:
        UserInputError: nothing has run here yet, or the settings cannot be followed.
        StorageError: the store cannot be opened.
    """
    settings = load_settings(overrides=json.loads(settings_json) if settings_json else None)
    return stored_workspace(settings, begin=True)


def is_recorded(workspace: Workspace) -> bool:
    """Whether the market is a recording, whose time stands still at its newest bar's close."""
    return isinstance(workspace.source, FileSource)


def next_run(schedules: ScheduleSettings, pipeline: str, after: datetime) -> datetime:
    """When a pipeline (`feature`, `training` or `inference`) runs next after a time, by its schedule."""
    tick: datetime = croniter(getattr(schedules, pipeline), after, second_at_beginning=True).get_next(datetime)
    return tick
