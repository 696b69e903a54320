"""A drift check by itself, as a process that `pipelines.local` reads along as it does a pipeline's.

The same check as `cryptosentinel drift`; its report is kept, as a training's is, so that pages show it. Alerts are left
to trainings: what somebody asks for by hand is looked at by hand.
"""

from __future__ import annotations

import argparse
import json

from components.step import tell, tell_failure


def main() -> None:
    """Checks, and says what came of it as a step does."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.checking")
    for name in ("--settings", "--as-of", "--root"):
        parser.add_argument(name, default="")
    parser.add_argument("pipeline")
    arguments = parser.parse_args()

    print("Executing task 'drift'", flush=True)  # noqa: T201
    try:
        tell("drift", _check(arguments.settings, arguments.as_of))
    except Exception as error:
        tell_failure("drift", error)
        raise SystemExit(1) from error
    print("Task 'drift' finished with status SUCCESS", flush=True)  # noqa: T201


def _check(settings_json: str, as_of: str) -> str:
    from cryptosentinel.config import load_settings
    from cryptosentinel.drift import DriftReport, check_drift, keep_report
    from cryptosentinel.market.bars import utc
    from cryptosentinel.workspace import open_workspace

    workspace = open_workspace(load_settings(overrides=json.loads(settings_json)), now=utc(as_of) if as_of else None)
    settings, store, log = workspace.settings, workspace.storage.features, workspace.storage.log
    bundle, version = workspace.champion_bundle(), workspace.champion().version
    found = check_drift(store, workspace.spec, settings.market.asset, bundle, settings.drift, version=version)
    if isinstance(found, DriftReport):
        keep_report(log, found, now=workspace.source.now())
    return found.sentence()


if __name__ == "__main__":
    main()
