"""Runs a module as `python -m` does, and ends it and all it started once the process that wanted it is gone.

    python -m pipelines.tied PARENT_PID MODULE ARGUMENT...

What `up` starts has a session of its own, so that Ctrl-C reaches `up` alone, which then ends the rest in order. Were
`up` itself killed, nobody would.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

# How soon the loss is noticed.
POLL_S = 0.5


def tied_command(module: str, *arguments: str) -> list[str]:
    """The command of a child of this process; start it in a session of its own."""
    return [sys.executable, "-m", "pipelines.tied", str(os.getpid()), module, *arguments]


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGTERM)


def main() -> None:
    """Becomes the module."""
    parent_pid, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
