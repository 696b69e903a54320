"""What `cryptosentinel up --once` takes: wall and processor seconds, and peak memory, by stage.

    python benchmarks/bench_up.py [--source file:BARS.parquet] [ARGUMENTS OF UP...]

Memory is the sum of the resident sets of all its processes, sampled every 0.2 s; what they share counts several times.
On a busy machine wall seconds say little: look at processor seconds.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

import psutil

STAGE = re.compile(r"\[\d/\d\] ([\w ()]+)")


@dataclass
class Usage:
    """Of all processes: resident bytes now, and the highest since it was last set back; processor seconds so far."""

    resident: int = 0
    peak: int = 0
    processor_s: float = 0.0

    def sample(self, root: psutil.Process) -> None:
        resident, processor_s = 0, 0.0
        for process in (root, *root.children(recursive=True)):
            try:
                with process.oneshot():
                    resident += process.memory_info().rss
                    processor_s += sum(process.cpu_times()[:4])  # of itself, and of the children it waited for
            except psutil.Error:
                continue
        self.resident, self.peak = resident, max(self.peak, resident)
        self.processor_s = max(self.processor_s, processor_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="simulated")
    given, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "cryptosentinel.cli", "up", "--once", "--source", given.source]
        command += ["--home", home, "--set", "serving.http_port=0", "--set", "serving.grpc_port=0", *rest]
        began = time.perf_counter()
        up = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        usage, ended = Usage(), threading.Event()
        assert up.stderr is not None

        def watch() -> None:
            root = psutil.Process(up.pid)
            while not ended.wait(0.2):
                usage.sample(root)

        watcher = threading.Thread(target=watch)
        watcher.start()
        print(f"{'stage':<22}{'wall s':>8}{'processor s':>13}{'peak MB':>9}")
        stage_began, processor_s, peak = began, 0.0, 0
        for line in up.stderr:
            if not (stage := STAGE.match(line)):
                print(line, end="")
                continue
            now = time.perf_counter()
            print(
                f"{stage[1]:<22}{now - stage_began:8.1f}{usage.processor_s - processor_s:13.1f}{usage.peak / 1e6:9.0f}"
            )
            stage_began, processor_s, peak = now, usage.processor_s, max(peak, usage.peak)
            usage.peak = usage.resident
        code = up.wait()
        ended.set()
        watcher.join()
    print(f"{'all':<22}{time.perf_counter() - began:8.1f}{usage.processor_s:13.1f}{peak / 1e6:9.0f}")
    sys.exit(code)


if __name__ == "__main__":
    main()
