"""The dashboard over a market that has run for years: how long each page takes, its memory, and 20 viewers at once.

    python benchmarks/bench_dashboard.py [--rows 800000] [--forecasts 100000] [--viewers 20] [--store FOLDER]

Makes the store (see `dashboard_scale.store`; `--store` keeps it, and takes one that was kept), starts the dashboard as
`cryptosentinel up` does, and looks at every page: first with nothing in the server's caches, then as the next viewer
does, then giving each filter another value; then in headless Chromium, where there is one: each page in one of its own,
whose cache is empty. `--write` puts what is printed into benchmarks/results/dashboard.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import psutil
from dashboard_scale.store import make_store
from dashboard_scale.viewer import Chromium, Drawn, Viewer

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.workspace import stored_workspace
from dashboard.parts import FIGURES_FIRST_S
from pipelines.dashboard import free_port, running_dashboard

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results" / "dashboard.md"
FIRST_S, FILTER_S, MEMORY_MB = 2.0, 0.5, 600.0


@dataclass
class Times:
    """Of one page, in seconds.

    Attributes:
        cold: until the first content, with nothing cached.
        warm: the same for the next viewers.
        whole: until all of it, for them.
        filters: by the filter's label, the first time; and what of it the server computed.
        computed: by the server, for the first viewer and for the next, whatever else the machine did.
        browser: until the first content in a browser whose cache is empty, then in the same one again.
        size: bytes over the WebSocket.
    """

    cold: float = 0.0
    warm: float = 0.0
    whole: float = 0.0
    filters: dict[str, tuple[float, float]] = field(default_factory=dict)
    computed: tuple[float, float] = (0.0, 0.0)
    browser: tuple[float, float] | None = None
    size: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800_000)
    parser.add_argument("--forecasts", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--pages", nargs="*", help="their url_path; all")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.store or Path(folder) / "home"
        if not home.exists():
            print(f"making {given.rows:,} rows of features and {given.forecasts:,} forecasts", file=sys.stderr)
            make_store(home, datetime.now(UTC), rows=given.rows, forecasts=given.forecasts)
        settings = load_settings(environ={}, overrides={"home": str(home), "dashboard.port": 0})
        settings = stored_workspace(settings).settings
        report, held = measured(settings, given.pages, given.viewers, Path(folder))
    print(report)
    if given.write:
        RESULTS.write_text(report)
    return 0 if held else 1


def measured(settings: Settings, asked: list[str] | None, viewers: int, folder: Path) -> tuple[str, bool]:
    """The report, and whether all limits hold."""
    log, load = folder / "dashboard.log", os.getloadavg()[0]
    with running_dashboard(settings, free_port(settings.dashboard), log) as address:
        server = max(psutil.Process().children(recursive=True), key=lambda process: process.memory_info().rss)
        with Viewer(address) as viewer:  # by which the server imports what it needs
            begun = viewer.visit("")
            paths = viewer.pages if asked is None else asked
        times = {path: Times() for path in paths}
        wrong = begun.wrong + look_alone(address, times, server)
        alone = resident_mb(server)
        chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
        if chromium:
            for path, noted in times.items():
                with Chromium.opened(chromium) as browser:
                    noted.browser = (browser.visit(f"{address}/{path}"), browser.visit(f"{address}/{path}"))
        began = time.perf_counter()
        crowd, errors = look_together(address, paths, viewers)
        crowd_s = time.perf_counter() - began
        together, peak = resident_mb(server), peak_mb(server)
    wrong += errors + [line for line in log.read_text().splitlines() if "id=" in line or "Traceback" in line]
    rows = [
        f"| {path or 'home'} | {t.cold * 1e3:.0f} | {t.warm * 1e3:.0f} | {t.whole * 1e3:.0f} | {t.size / 1e3:.0f} | "
        f"{pair(t.computed)} | {slowest(t.filters)} | {pair(t.browser)} |"
        for path, t in times.items()
    ]
    held = {
        "first content of every page, s": (
            max(begun.first_s, *(max(t.cold, *(t.browser or ())) for t in times.values())),
            FIRST_S,
        ),
        "every filter, s": (max([s for t in times.values() for s, _ in t.filters.values()], default=0.0), FILTER_S),
        "memory at its highest, MB": (peak, MEMORY_MB),
        "errors": (float(len(wrong)), 0.0),
    }
    lines = [
        "# The dashboard over years of a market",
        "",
        f"{datetime.now(UTC).date()}, {psutil.cpu_count()} cores, Python {sys.version.split()[0]}, load average before "
        f"{load:.2f}. `python benchmarks/bench_dashboard.py --write` makes this page; viewers share the cores with the "
        "server.",
        "",
        "| What | Measured | At most | Held |",
        "|---|---:|---:|---|",
        *(f"| {n} | {v:.4g} | {m:g} | {'yes' if v <= m else '**no**'} |" for n, (v, m) in held.items()),
        "",
        "Milliseconds until the first content, which is a figure, chart, table or warning of the page's own: for the "
        "first viewer with nothing cached and for the next, until the server sent it; in Chromium from navigation "
        "until it is in the page, in a browser that was never here and in the same one again. All of it has the "
        f"{FIGURES_FIRST_S * 1e3:.0f} ms in it by which a viewer's first chart comes after the figures above it. "
        "Computed: processor time of the server for all of a page, for the first viewer and the next, and for a "
        "filter; it says more than the rest where the machine had other work.",
        "",
        "| Page | First viewer | Next viewer | ... all of it | kB | Computed | Slowest filter | Chromium |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
        *rows,
        "",
        f"Home was looked at before, by the first viewer since the server started: {begun.first_s:.2f} s to the first "
        f"content, {begun.done_s:.2f} s to all of it.",
        f"{viewers} viewers at once, each of all {len(paths)} pages, took {crowd_s:.1f} s: a page's first content took "
        f"{statistics.median(crowd):.2f} s in the median, {max(crowd):.2f} s at most. The server's memory: "
        f"{alone:.0f} MB after one viewer, {together:.0f} MB after all, {peak:.0f} MB at its highest.",
        *(["", "Went wrong:", "", *(f"- {line}" for line in wrong[:20])] if wrong else []),
        "",
    ]
    return "\n".join(lines), all(value <= most for value, most in held.values())


def pair(seconds: tuple[float, float] | None) -> str:
    """Both in milliseconds; nothing where there are none."""
    return "" if seconds is None else f"{seconds[0] * 1e3:.0f}, {seconds[1] * 1e3:.0f}"


def slowest(filters: dict[str, tuple[float, float]]) -> str:
    """The slowest of a page's filters, in words."""
    if not filters:
        return ""
    label = max(filters, key=lambda name: filters[name])
    whole, computed = filters[label]
    return f"{whole * 1e3:.0f}, computed {computed * 1e3:.0f} ({label}, of {len(filters)})"


def look_alone(address: str, times: dict[str, Times], server: psutil.Process) -> list[str]:
    """Looks at each page as the first viewer and as the next, then at its filters. Returns what went wrong."""
    wrong = []
    for path, noted in times.items():
        with Viewer(address) as first:
            drawn, cold = computing(server, first.visit, path)
            noted.cold = drawn.first_s
        with Viewer(address) as following:
            again, warm = computing(server, following.visit, path)
            noted.computed = (cold, warm)
            noted.warm, noted.whole, noted.size = again.first_s, again.done_s, again.size
            wrong += drawn.wrong + again.wrong
        for filtered in again.filters:
            with Viewer(address) as following:
                following.visit(path)
                changed, computed = computing(server, following.change, filtered)
                noted.filters[filtered.label] = (changed.done_s, computed)
                wrong += changed.wrong
    return wrong


def computing(server: psutil.Process, look: Callable[[T], Drawn], at: T) -> tuple[Drawn, float]:
    """What was drawn, and the seconds that the server's processor worked meanwhile."""
    before = sum(server.cpu_times()[:2])
    return look(at), sum(server.cpu_times()[:2]) - before


def look_together(address: str, paths: list[str], count: int) -> tuple[list[float], list[str]]:
    """Seconds to first content of every page for each of as many viewers, and what went wrong."""
    began = threading.Barrier(count)

    def look(number: int) -> tuple[list[float], list[str]]:
        seconds, wrong = [], []
        began.wait()
        with Viewer(address) as viewer:
            for place in range(len(paths)):
                drawn = viewer.visit(paths[(number + place) % len(paths)])
                seconds.append(drawn.first_s)
                wrong += drawn.wrong
        return seconds, wrong

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(look, range(count)))
    return [s for seconds, _ in answers for s in seconds], [w for _, wrong in answers for w in wrong]


def resident_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 1e6)


def peak_mb(process: psutil.Process) -> float:
    """The highest since it started, where the system knows it (Linux); else now."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return resident_mb(process)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
