"""What is started does not outlive who started it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil

from pipelines.tied import tied_command
from tests.pipelines.builders import wait_until

# Starts a tied child, which starts one of its own; tells both.
PARENT = """
import subprocess, sys, time
from pipelines.tied import tied_command
child = subprocess.Popen(tied_command("tests.pipelines.test_tied", "grandchild"), start_new_session=True)
time.sleep(600)
"""


def grandchild() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        print(json.dumps([psutil.Process().pid, process.pid]), flush=True)
        process.wait()


def test_a_killed_parent_takes_its_children_and_theirs_along() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        family = [psutil.Process(pid) for pid in json.loads(parent.stdout.readline())]
        assert all(process.is_running() for process in family)
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(process.is_running() for process in family))
    assert not any(process.is_running() for process in family)


def test_the_module_runs_as_if_it_had_been_called(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"a":1}')
    done = subprocess.run(
        tied_command("json.tool", "--compact", str(tmp_path / "told.json")), capture_output=True, text=True, check=True
    )
    assert done.stdout == '{"a":1}\n'


if __name__ == "__main__":
    grandchild()
