"""The cluster itself, and the images that are loaded into it."""

from __future__ import annotations

import hashlib
import json
import time

from manifests.kind.commands import RefusedError, StoppedError, ask, kubectl, say, work
from manifests.kind.pins import CLUSTER_CONFIG, IMAGES, NAME, NODE, NODE_IMAGES, REPOSITORY, ROOT
from manifests.kind.watching import POLL_S

READY_WITHIN_S = 180.0
# Of an image: its layers, and how it starts; not all of its configuration, which names the commit.
_CONTENT = "".join(
    f"{{{{json .{part}}}}}"
    for part in ("RootFS.Layers", "Config.Env", "Config.Entrypoint", "Config.Cmd", "Config.User")
)
AGAIN = "make kind-up again goes on from here; make kind-down begins anew."


def exists() -> bool:
    """Whether kind knows it, running or not."""
    return NAME in ask(("kind", "get", "clusters")).split()


def ensure(kubernetes: str, *, asked_for: bool) -> None:
    """Makes the cluster, or starts the one that is there.

    Args:
        kubernetes: its version, such as 1.35.
        asked_for: somebody named that version: one of another is not what they want.

    Raises:
        StoppedError: it does not start, or is of another version.
    """
    if exists() and _finished():
        _wait_until_it_answers()
        found = json.loads(ask(kubectl("version", "--output", "json")))["serverVersion"]["gitVersion"].lstrip("v")
        if asked_for and not found.startswith(f"{kubernetes}."):
            raise StoppedError(
                f"The cluster runs Kubernetes {found}, and {kubernetes} is asked for.",
                "make kind-down removes it, with all that is stored in it.",
            )
        say(f"      It is there: Kubernetes {found}.")
        return
    command = ("kind", "create", "cluster", "--name", NAME, "--config", str(CLUSTER_CONFIG), "--wait", "5m")
    work("kind-create", (*command, "--image", NODE_IMAGES[kubernetes]), f"See the lines above. {AGAIN}")


def _finished() -> bool:
    """Starts the node where it is stopped; a cluster whose making was interrupted is removed: nothing is in it yet."""
    if ask(("docker", "inspect", "--format", "{{.State.Running}}", NODE)).strip() != "true":
        say("      Starting the node, which was stopped.")
        ask(("docker", "start", NODE), "make kind-down removes the cluster, with all that is stored in it.")
    try:
        ask(("kind", "export", "kubeconfig", "--name", NAME))
    except RefusedError:
        say("      Its making was interrupted: removing what there is of it.")
        ask(("kind", "delete", "cluster", "--name", NAME), timeout_s=300.0)
        return False
    return True


def _wait_until_it_answers() -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            ask(kubectl("get", "--raw", "/readyz"))
        except RefusedError as refused:
            if time.monotonic() > deadline:
                raise StoppedError(
                    f"The cluster's API has not been ready for {READY_WITHIN_S:.0f} s: {refused.said}",
                    f"docker logs {NODE} says why; make kind-down removes the cluster, with all that is stored in it.",
                ) from refused
            time.sleep(POLL_S)
        else:
            return


def build_and_load() -> dict[str, str]:
    """Builds the images and loads them into the node.

    Their tags follow from their content: what has not changed replaces no pod, and what has does.

    Returns:
        Each image's tag.

    Raises:
        StoppedError: the build or the loading failed.
    """
    # Attestations would make every build another image, and kind cannot load them.
    environment = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "MAKEFLAGS": "", "MAKELEVEL": ""}
    build = (
        "make",
        "--directory",
        str(ROOT),
        "images",
        f"REGISTRY={REPOSITORY}",
        "TAG=kind",
        f"IMAGES={' '.join(IMAGES)}",
    )
    work("images", build, f"docs/images.md says what the build needs. {AGAIN}", environment=environment)
    tags = {}
    for image in IMAGES:
        built = f"{REPOSITORY}/{image}:kind"
        content = ask(("docker", "image", "inspect", "--format", _CONTENT, built), AGAIN)
        tags[image] = f"kind-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        ask(("docker", "tag", built, f"{REPOSITORY}/{image}:{tags[image]}"), AGAIN)
    names = [f"{REPOSITORY}/{image}:{tag}" for image, tag in tags.items()]
    load = ("kind", "load", "docker-image", "--name", NAME, *names)
    work("kind-load", load, f"Docker or the node may be out of disk (docker system df). {AGAIN}")
    return tags


def remove() -> bool:
    """Removes the cluster, and the tags that were made for it. False: there was none."""
    there = exists()
    if there:
        ask(("kind", "delete", "cluster", "--name", NAME), timeout_s=300.0)
    tags = [
        name
        for image in IMAGES
        for name in ask(
            ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{REPOSITORY}/{image}")
        ).split()
        if ":kind" in name
    ]
    if tags:
        ask(("docker", "image", "rm", *tags))
    return there
