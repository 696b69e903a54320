"""Runs a pipeline on this machine with Kubeflow's own local runner, and a record of how it goes beside its log.

The runner keeps global state and prints what its steps print, so each run is a process of its own (`python -m
pipelines.local`), whose output goes to a log file and is read along for progress and failures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.marks import FAILURE_MARK, TOLD_MARK
from cryptosentinel.errors import PipelineError, StoreUnavailableError
from cryptosentinel.runs import By, Kind, Recording
from pipelines.keeping import SCRATCH, prune_machine
from pipelines.tied import tied_command

if TYPE_CHECKING:
    from cryptosentinel.config import Settings

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"Executing task '([\w-]+)'")
_FINISHED = re.compile(r"Task '([\w-]+)' finished with status (\w+)")
# Steps share the cores, and a fit's threads are a setting of ours: libraries must not start more.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# What runs other than through Kubeflow's runner; its lines of steps that begin and end are as that one's.
_MODULES: dict[Kind, str] = {"drift": "pipelines.checking"}

# Processes of runs under way in this process, so that they can be ended with it.
_running: set[subprocess.Popen[str]] = set()

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        log: everything the runner and the steps printed.
        seconds: how long it took.
        told: by step, what it has to tell people.
    """

    pipeline: str
    log: Path
    seconds: float
    told: dict[str, str]


def run_pipeline(
    name: Kind,
    settings: Settings,
    root: Path,
    *,
    as_of: datetime | None = None,
    progress: Progress = lambda _: None,
    by: By = "",
    user: str = "",
    requests: Sequence[str] = (),
) -> Run:
    """Runs a pipeline and waits for it.

    Args:
        name: `feature`, `training` or `inference`; or `drift`, the check alone.
        settings: go to every step.
        root: the market's folder; artifacts and log go to `runs/` inside.
        as_of: the clock of a recorded or simulated market; None for the market's own.
        progress: is told each step as it begins.
        by: who or what asked for it; like the next two for the record that it leaves.
        user: whoever it is, of users.
        requests: the ids of those that it answers.

    Raises:
        PipelineError: a step failed; names it, its cause and the remedy.
        StoreUnavailableError: `root` cannot be written.
    """
    begin = time.perf_counter()
    folder = root / "runs" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    log, scratch = folder / "log.txt", folder / SCRATCH
    arguments = [name, "--settings", settings.public_json(), "--as-of", as_of.isoformat() if as_of else ""]
    tasks = {}
    if name == "training":
        from cryptosentinel.forecasting import part_names

        parts = part_names(settings.training)
        tasks["train"] = len(parts)
        arguments += ["--parts", json.dumps(parts)]
    try:
        scratch.mkdir(parents=True)
        with (
            Recording(folder, name, by=by, user=user, requests=requests, tasks=tasks) as recording,
            log.open("w", encoding="utf-8", buffering=1) as file,
        ):
            process = subprocess.Popen(
                tied_command(_MODULES.get(name, "pipelines.local"), *arguments, "--root", str(folder)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=os.environ | _ONE_THREAD | {"TMPDIR": str(scratch)},  # the runner leaves a folder a step behind
                start_new_session=True,  # Ctrl-C reaches us, and we end it with all its steps
            )
            _running.add(process)
            try:
                marked = _follow(process, file, progress, recording)
            finally:
                _end(process)
                _running.discard(process)
            failure = next(iter(marked[FAILURE_MARK]), None)
            error = _error(name, failure, log) if process.returncode != 0 else None
            recording.end(
                well=error is None,
                told=[note["text"] for note in marked[TOLD_MARK]],
                failed_step=error.step if error else "",
                message=error.message if error else "",
                remedy=failure["remedy"] if failure else "",
            )
    except OSError as error:
        raise StoreUnavailableError(
            f"The {name} pipeline cannot run in {folder}: {error.strerror or error}.",
            remedy="Mend that (space, rights), or choose another folder with --home.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    prune_machine(root, settings.retention)
    if error is not None:
        raise error
    told = {note["step"]: note["text"] for note in marked[TOLD_MARK]}
    return Run(name, log, time.perf_counter() - begin, told)


def _follow(
    process: subprocess.Popen[str], file: Any, progress: Progress, recording: Recording
) -> dict[str, list[dict[str, Any]]]:
    """Copies a run's output to its end; returns what its steps said behind each mark."""
    marked: dict[str, list[dict[str, Any]]] = {FAILURE_MARK: [], TOLD_MARK: []}
    assert process.stdout is not None
    for coloured in process.stdout:
        line = _COLOUR.sub("", coloured)
        file.write(line)
        if started := _STARTED.search(line):
            recording.step_began(started[1])
            progress(started[1])
        if finished := _FINISHED.search(line):
            recording.step_ended(finished[1], well=finished[2] != "FAILURE")
        for mark, found in marked.items():
            _, is_there, content = line.partition(mark)
            if is_there:
                found.append(json.loads(content))
    process.wait()
    return marked


def end_runs() -> None:
    """Ends every run under way in this process, with its steps; whoever waits for one gets a `PipelineError`."""
    for process in list(_running):
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a run that we no longer wait for, with its steps."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # another thread saw it end
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _error(pipeline: str, failure: dict[str, Any] | None, log: Path) -> PipelineError:
    if failure is not None:
        remedy = f"{failure['remedy']} (log: {log})".strip()
        return PipelineError(
            failure["step"], failure["message"], remedy=remedy, exit_code=failure["exit_code"], cause=failure["cause"]
        )
    finished = _FINISHED.findall(log.read_text(encoding="utf-8"))
    step = next((step for step, status in finished if status != "SUCCESS"), pipeline)
    return PipelineError(step, "it ended without saying why; it may have been killed.", remedy=f"See {log}.")


def main() -> None:
    """Runs one pipeline in this process, which imports of the library as good as nothing: its steps do the work."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local")
    parser.add_argument("pipeline")
    parser.add_argument("--settings", default="{}")
    parser.add_argument("--as-of", default="")
    parser.add_argument("--parts", default="")
    parser.add_argument("--root", required=True)
    arguments = parser.parse_args()

    from kfp import local

    from pipelines.definitions import PIPELINES

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=arguments.root,
        workspace_root=f"{arguments.root}/workspace",  # it is deleted afterwards
    )
    parameters: dict[str, object] = {"settings": arguments.settings, "as_of": arguments.as_of}
    if arguments.parts:
        parameters["parts"] = json.loads(arguments.parts)
    PIPELINES[arguments.pipeline](**parameters)


if __name__ == "__main__":
    main()
