"""Whether this machine can hold the cluster: everything that is missing, before anything starts."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manifests.kind.commands import RefusedError, StoppedError, ask, say, work
from manifests.kind.pins import (
    CLUSTER_CONFIG,
    LEAST_CPUS,
    LEAST_DISK_GB,
    LEAST_DISK_LATER_GB,
    LEAST_MEMORY_GIB,
    NODE_IMAGES,
    TOOLS,
    Tool,
)

_VERSION_OF = {
    "docker": ("docker", "--version"),
    "kind": ("kind", "version"),
    "kubectl": ("kubectl", "version", "--client"),
    "helm": ("helm", "version", "--template", "{{.Version}}"),
    "git": ("git", "--version"),
    "make": ("make", "--version"),
}
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


def check(kubernetes: str, exists: Callable[[], bool], *, unchecked: bool) -> None:
    """Says all that is wrong at once.

    Args:
        kubernetes: its version, such as 1.35.
        exists: says whether the cluster is there: its ports are then taken by itself, and little more disk is needed.
        unchecked: go on where CPUs, memory or disk are too small.

    Raises:
        StoppedError: something is missing; the remedy has a line for each.
    """
    missing = [fault for tool in TOOLS if (fault := tool_fault(tool))]
    if missing:
        raise StoppedError("This machine lacks what the cluster needs.", "\n".join(missing))
    docker, there_already = _docker(), exists()
    faults = cgroup_faults(docker, kubernetes) + ([] if there_already else port_faults())
    small = size_faults(docker, kubernetes, LEAST_DISK_LATER_GB if there_already else LEAST_DISK_GB)
    if small and unchecked:
        for fault in small:
            say(f"      Going on all the same: {fault}")
        small = []
    elif small:
        small.append("To try it all the same: make kind-up ARGS=--unchecked")
    if faults + small:
        raise StoppedError("The cluster does not fit on this machine.", "\n".join(faults + small))
    if not _desktop(docker) and _INOTIFY.exists() and int(_INOTIFY.read_text()) < 256:
        say("      Pods may fail with 'too many open files': sudo sysctl fs.inotify.max_user_instances=512")
    if docker["Architecture"] not in ("x86_64", "amd64"):
        say(
            f"      Docker is {docker['Architecture']}: Kubeflow's metadata store is for x86_64 alone, and is emulated."
        )


def tool_fault(tool: Tool) -> str | None:
    """What is wrong with a command, and how to get it."""
    if not shutil.which(tool.name):
        return f"{tool.name} is not installed, {tool.lowest} or newer is needed: {tool.get}"
    said = ask(_VERSION_OF[tool.name])
    found = re.search(r"\d+(?:\.\d+)+", said)
    if not found:
        return f"{tool.name} does not tell its version ({said.strip()!r}): {tool.get}"
    if numbers(found[0]) < numbers(tool.lowest):
        return f"{tool.name} is {found[0]}, {tool.lowest} or newer is needed: {tool.get}"
    return None


def numbers(version: str) -> tuple[int, ...]:
    """For comparing."""
    return tuple(int(part) for part in version.split("."))


def ports() -> dict[int, int]:
    """The ports of this machine, by those of the node that they lead to: what `kind-config.yaml` says."""
    pairs = re.findall(r"containerPort: (\d+).*\n\s+hostPort: (\d+)", CLUSTER_CONFIG.read_text())
    return {int(node): int(host) for node, host in pairs}


def port_faults() -> list[str]:
    """Ports that others listen on."""
    faults = []
    for port in ports().values():
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                faults.append(
                    f"Port {port} cannot be had ({error.strerror}): stop what listens there"
                    f" (`make run` uses some of these), or write another hostPort into {CLUSTER_CONFIG.name}"
                )
    return faults


def cgroup_faults(docker: dict[str, Any], kubernetes: str) -> list[str]:
    """From 1.35 on the kubelet refuses version 1 of control groups."""
    if docker.get("CgroupVersion") != "1" or numbers(kubernetes) < (1, 35):
        return []
    return [
        f"Docker uses cgroup v1, with which Kubernetes {kubernetes} does not start: boot with cgroup v2"
        " (systemd.unified_cgroup_hierarchy=1), or make kind-up KUBERNETES=1.34"
    ]


def size_faults(docker: dict[str, Any], kubernetes: str, least_disk_gb: float) -> list[str]:
    """What Docker has too little of."""
    give = "give it more in Docker Desktop's settings, under Resources" if _desktop(docker) else "use a larger machine"
    faults = []
    if docker["NCPU"] < LEAST_CPUS:
        faults.append(f"Docker has {docker['NCPU']} CPUs, {LEAST_CPUS} are needed: {give}")
    if (memory := docker["MemTotal"] / 2**30) < LEAST_MEMORY_GIB:
        faults.append(f"Docker has {memory:.1f} GiB of memory, 8 are needed: {give}")
    if (free := _free_disk_gb(docker, kubernetes)) < least_disk_gb:
        faults.append(
            f"Docker has {free:.0f} GB of disk free, {least_disk_gb:.0f} are needed:"
            f" docker system prune --all frees what no container uses; or {give}"
        )
    return faults


def _docker() -> dict[str, Any]:
    try:
        docker: dict[str, Any] = json.loads(ask(("docker", "info", "--format", "{{json .}}")))
    except RefusedError as refused:
        raise _not_running(refused.said) from refused
    if errors := docker.get("ServerErrors"):
        raise _not_running("; ".join(errors))
    return docker


def _not_running(said: str) -> StoppedError:
    start = "open Docker Desktop" if sys.platform == "darwin" else "sudo systemctl start docker"
    return StoppedError(
        f"Docker's engine does not answer: {said}", f"Start it ({start}); you must be in the group docker."
    )


def _desktop(docker: dict[str, Any]) -> bool:
    return "Docker Desktop" in docker.get("OperatingSystem", "")


def _free_disk_gb(docker: dict[str, Any], kubernetes: str) -> float:
    root = Path(docker["DockerRootDir"])
    if not _desktop(docker) and root.exists():
        return shutil.disk_usage(root).free / 1e9
    # The engine is elsewhere: a container sees its disk. The node's image is needed in any case.
    command = ("docker", "run", "--rm", "--entrypoint", "df", NODE_IMAGES[kubernetes], "-Pk", "/")
    said = work("disk", command, "Docker must reach the registry docker.io, or have the image already.")
    return int(said.splitlines()[-1].split()[3]) * 1024 / 1e9
