"""What was measured as a Markdown table, a plot, and the limits that it is held against."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from side_by_side.asking import PROTOCOLS
from side_by_side.measuring import CONNECTIONS, Cell, median, ratio
from side_by_side.servers import SERVERS

BUSY = 0.9


class Limit(NamedTuple):
    """A figure and what it must be."""

    what: str
    value: float
    at_most: bool
    limit: float

    @property
    def held(self) -> bool:
        return (operator.le if self.at_most else operator.ge)(self.value, self.limit)

    def row(self) -> str:
        sign = "at most" if self.at_most else "at least"
        return f"| {self.what} | {self.value:.3g} | {sign} {self.limit:g} | {'yes' if self.held else '**no**'} |"


def limits(cells: list[Cell], starts: dict[str, list[float]], alone: dict[str, float]) -> list[Limit]:
    """Those of the issue."""
    found = [
        Limit("one row in process, p50, microseconds", 1e3 * alone["bundle_p50_ms"], True, 150),
        Limit("... times faster than the predict calls", alone["times_faster"], False, 60),
        Limit("cold start to ready, s", float(np.median(starts["ours"])), True, 5),
    ]
    for protocol in ("v2", "v2_binary", "grpc"):
        words = PROTOCOLS[protocol]
        one, many = ({"protocol": protocol, "connections": count} for count in CONNECTIONS)
        found += [
            Limit(
                f"{words}: p50 to the empty model's, 1 connection", ratio(cells, "p50_ms", "empty", **one), True, 1.3
            ),
            Limit(f"{words}: requests/s to the empty model's, 16", ratio(cells, "per_s", "empty", **many), False, 0.75),
            Limit(f"{words}: requests/s to the naive one's, 16", ratio(cells, "per_s", "naive", **many), False, 3),
        ]
    return found


def markdown(measured: dict[str, Any], found: list[Limit], plot: str) -> str:
    """The page."""
    cells, alone = measured["cells"], measured["in_process"]
    servers = measured_servers(cells)
    rounds = f"{measured['rounds']} round{'s' * (measured['rounds'] > 1)}"
    lines = [
        "# The predictor beside others",
        "",
        f"{measured['made_at']}, {measured['machine']}. Each figure is the median of {rounds} of"
        f" {measured['seconds']:g} s, in which the servers take turns; ratios are the medians of each round's own."
        " One row of features a request, the same bytes for all; one thread of computation each."
        " `make bench-serving` makes this page.",
        "",
        f"Load average before and after: {measured['load_before']:.2f}, {measured['load_after']:.2f}.",
        "",
        "| What | Measured | Limit | Held |",
        "|---|---:|---|---|",
        *(limit.row() for limit in found),
        "",
        _carried(cells),
        "",
        f"![p50 and requests/s by protocol]({plot})",
        "",
        "| Protocol | Connections | Server | p50, ms | p99, ms | Requests/s | Processor a request, ms |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for protocol, words in PROTOCOLS.items():
        for connections in CONNECTIONS:
            for server, name in servers.items():
                where = {"protocol": protocol, "connections": connections, "server": server}
                if not any(where.items() <= cell.items() for cell in cells):  # it does not speak that
                    continue
                p50, p99, rate, busy = (
                    median(cells, f, **where) for f in ("p50_ms", "p99_ms", "per_s", "processor_ms")
                )
                lines.append(f"| {words} | {connections} | {name} | {p50:.2f} | {p99:.2f} | {rate:.0f} | {busy:.2f} |")
    lines += ["", "| Server | Cold start to ready, s | Resident, fresh, MB | Resident, after the load, MB |"]
    lines += ["|---|---:|---:|---:|"]
    for server, name in servers.items():
        fresh, after = measured["resident_fresh_mb"][server], measured["resident_mb"][server]
        lines.append(f"| {name} | {np.median(measured['starts'][server]):.1f} | {fresh:.0f} | {after:.0f} |")
    lines += [
        "",
        f"One row in process: {1e3 * alone['bundle_p50_ms']:.0f} microseconds with everything in the output (p50); the"
        f" predict calls of the same models alone {alone['predict_calls_p50_ms']:.1f} ms.",
        "",
        _generator(measured),
    ]
    return "\n".join(lines) + "\n"


def _carried(cells: list[Cell]) -> str:
    found = []
    for protocol in ("v2", "v2_binary", "grpc"):
        one, many = ({"protocol": protocol, "connections": count} for count in CONNECTIONS)
        p50, rate = ratio(cells, "p50_ms", "carrier", **one), ratio(cells, "per_s", "carrier", **many)
        found.append(f"{PROTOCOLS[protocol]} {p50:.2f} and {rate:.2f}")
    return (
        "The empty model answers one number, and ours more than twenty tensors. To KServe carrying the same tensors,"
        f" with nothing computed (a'), p50 with 1 connection and requests/s with 16: {'; '.join(found)}."
    )


def measured_servers(cells: list[Cell]) -> dict[str, str]:
    """Those that were measured, with their names for people."""
    measured = {cell["server"] for cell in cells}
    return {server: name for server, name in SERVERS.items() if server in measured}


def _generator(measured: dict[str, Any]) -> str:
    cells, by_wrk = measured["cells"], measured["wrk"]
    busiest = max(cells, key=lambda cell: cell["busy"])
    text = (
        "The load comes from a process of its own, which at most kept"
        f" {busiest['busy']:.0%} of a core busy"
        f" ({PROTOCOLS[busiest['protocol']]}, {busiest['connections']} connections,"
        f" {SERVERS[busiest['server']]})"
        + (": there it may have been the bottleneck." if busiest["busy"] > BUSY else ": it was not the bottleneck.")
    )
    if not by_wrk:
        return text + " `wrk` is not installed, and was not measured beside it."
    for count in CONNECTIONS:
        where = {"server": "empty", "connections": count}
        text += (
            f" On the empty model over V2 with {count} connection{'s' * (count > 1)}, `wrk` counts"
            f" {median(by_wrk, 'per_s', **where):.0f} requests/s and a p50 of"
            f" {median(by_wrk, 'p50_ms', **where):.2f} ms;"
            f" this generator {median(cells, 'per_s', protocol='v2', **where):.0f} and"
            f" {median(cells, 'p50_ms', protocol='v2', **where):.2f} ms."
        )
    return text


def draw(cells: list[Cell], path: Path) -> None:
    """p50 with one connection and requests/s with sixteen, by protocol and server."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "serving"
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    servers = measured_servers(cells)
    width = 0.84 / len(servers)
    panels = ((0, CONNECTIONS[0], "p50_ms", "p50, ms, 1 connection"), (1, CONNECTIONS[1], "per_s", "requests/s, 16"))
    for at, connections, figure_name, title in panels:
        axis = axes[at]
        for number, (server, name) in enumerate(servers.items()):
            spoken = {cell["protocol"] for cell in cells if cell["server"] == server}
            places = [at for at, protocol in enumerate(PROTOCOLS) if protocol in spoken]
            values = [
                median(cells, figure_name, protocol=p, connections=connections, server=server)
                for p in PROTOCOLS
                if p in spoken
            ]
            bars = axis.bar(np.array(places) + width * (number - (len(servers) - 1) / 2), values, width, label=name)
            axis.bar_label(bars, fmt=_short, fontsize=7)
        axis.set_xticks(range(len(PROTOCOLS)), PROTOCOLS.values())
        axis.set_title(title)
        axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
    shown = axes[0].get_legend_handles_labels()
    figure.legend(*shown, loc="lower center", ncols=len(servers), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
