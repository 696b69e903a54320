"""`python -m manifests.kind up | down | status | logs`."""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifests.kind import cluster, installing, machine, reporting
from manifests.kind.commands import StoppedError, duration, say
from manifests.kind.pins import CERT_MANAGER, KUBEFLOW, KUBERNETES, NODE_IMAGES, WORK
from manifests.kind.watching import wait_for_deployments

KUBEFLOW_WITHIN_S = 1500.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit status: 0 where all is as it should be."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.run(asked))
    except StoppedError as stop:
        print(f"\n{stop}", file=sys.stderr)
        if stop.remedy:
            print("What to do: " + stop.remedy.replace("\n", "\n            "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make kind-up goes on from here.", file=sys.stderr)
        return 130


def up(asked: argparse.Namespace) -> int:
    """From nothing, or from wherever it stopped, to a cluster with all of it."""
    began = time.monotonic()
    kubernetes = asked.kubernetes or KUBERNETES
    tags: dict[str, str] = {}
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("Looking at this machine", lambda: machine.check(kubernetes, cluster.exists, unchecked=asked.unchecked)),
        (
            f"The cluster: kind, Kubernetes {kubernetes}",
            lambda: cluster.ensure(kubernetes, asked_for=bool(asked.kubernetes)),
        ),
        ("Kubeflow Pipelines: applying", installing.kubeflow_pipelines),
        ("cert-manager", lambda: installing.prerequisite(CERT_MANAGER)),
        ("KServe", installing.kserve),
        ("Our images: building, and loading into the node", lambda: tags.update(cluster.build_and_load())),
        ("Kubeflow Pipelines: waiting for its pods", lambda: wait_for_deployments(KUBEFLOW, KUBEFLOW_WITHIN_S)),
        ("CryptoSentinel", lambda: installing.release(tags, asked.values)),
    )
    with _alone():
        for number, (name, step) in enumerate(steps, 1):
            say(f"[{number}/{len(steps)}] {name}")
            started = time.monotonic()
            step()
            say(f"      done in {duration(time.monotonic() - started)}")
    say(f"\nAll of it runs, after {duration(time.monotonic() - began)}:")
    reporting.show_addresses()
    say("Bars and forecasts come every 5 minutes; training runs at :16 and :46. Until it has found something better,")
    say("the random walk answers. make kind-status says how it goes, make kind-down removes everything.")
    return 0


def down(_: argparse.Namespace) -> int:
    """Removes the cluster, with all that is stored in it."""
    with _alone():
        say("The cluster is removed." if cluster.remove() else "There is no cluster.")
    shutil.rmtree(WORK, ignore_errors=True)
    return 0


def status(_: argparse.Namespace) -> int:
    """Says how it is with the cluster."""
    if not cluster.exists():
        raise StoppedError("There is no cluster.", "make kind-up makes it.")
    return 0 if reporting.status() else 1


def logs(_: argparse.Namespace) -> int:
    """Collects logs."""
    if not cluster.exists():
        raise StoppedError("There is no cluster.", "make kind-up makes it.")
    say(f"The logs are in {reporting.logs()}: pods.txt and events.txt first, then pods/ of the node.")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoppedError(
                "Another make kind-up or kind-down is at work here.", "Wait until it has ended."
            ) from error
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m manifests.kind", description="The local cluster.")
    commands = parser.add_subparsers(required=True)
    bringing = commands.add_parser("up", help="make it, or go on where it stopped")
    bringing.add_argument("--kubernetes", choices=NODE_IMAGES, help=f"its version; by default {KUBERNETES}")
    bringing.add_argument("--values", type=Path, action="append", default=[], help="more values for the chart")
    bringing.add_argument("--unchecked", action="store_true", help="also with fewer CPUs, less memory or disk")
    bringing.set_defaults(run=up)
    for name, run in {"down": down, "status": status, "logs": logs}.items():
        commands.add_parser(name, help=run.__doc__).set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
