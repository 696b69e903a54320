"""Making the cluster: once, again, and after anything that went wrong."""

from __future__ import annotations

import fcntl
import os

import pytest

from manifests.kind import __main__ as tool
from manifests.kind import cluster, commands, installing, machine, watching
from manifests.kind.commands import StoppedError
from tests.kind.conftest import READY, World

# Every command that changes something, in the order of a first run, by its beginning.
CHANGES = [
    "kind create cluster",
    "kubectl kustomize",
    "kubectl --context kind-cryptosentinel apply",
    "kubectl --context kind-cryptosentinel wait",
    "helm --kube-context kind-cryptosentinel upgrade --install cert-manager",
    "helm --kube-context kind-cryptosentinel upgrade --install kserve-crd",
    "helm --kube-context kind-cryptosentinel upgrade --install kserve ",
    "make --directory",
    "docker tag",
    "kind load docker-image",
    "helm --kube-context kind-cryptosentinel upgrade --install cryptosentinel",
]


def test_a_first_run_installs_everything_in_order_and_says_where_it_is(world: World) -> None:
    code, said = world.run("up")
    assert code == 0
    done = [line for line in world.asked() if any(line.startswith(change) for change in CHANGES)]
    assert [next(change for change in CHANGES if line.startswith(change)) for line in done] == [
        CHANGES[0], CHANGES[1], CHANGES[2], CHANGES[3], CHANGES[1], CHANGES[2], *CHANGES[4:8],
        *CHANGES[8:9] * 4, CHANGES[9], CHANGES[2], CHANGES[10],
    ]  # fmt: skip
    assert [line[:5] for line in said.splitlines() if line.startswith("[")] == [f"[{n}/8]" for n in range(1, 9)]
    assert "http://localhost:8501" in said
    assert "http://localhost:8880" in said
    assert "http://localhost:8080/v2/models/cryptosentinel" in said
    assert world.get("cluster")["version"].startswith("1.35.")


def test_images_are_loaded_in_one_call_and_installed_by_tags_of_their_content(finished: World) -> None:
    (load,) = finished.asked("kind load docker-image")
    names = [word for word in load.split() if word.startswith("cryptosentinel/")]
    assert [name.split(":")[0] for name in names] == [
        "cryptosentinel/serving", "cryptosentinel/dashboard", "cryptosentinel/pipeline", "cryptosentinel/drift",
    ]  # fmt: skip
    (install,) = finished.asked(CHANGES[-1])
    for value, name in zip(("serving", "dashboard", "kfp.steps", "kfp.steps.drift"), names, strict=True):
        assert f"--set-string {value}.image.tag={name.split(':')[1]}" in install
    finished.run("up")
    assert finished.asked(CHANGES[-1]) == [install]
    finished.set(content="two")
    finished.run("up")
    assert finished.asked(CHANGES[-1]) != [install]


def test_a_second_run_makes_nothing_twice(finished: World) -> None:
    before = finished.state()
    code, said = finished.run("up")
    assert code == 0
    assert finished.state() == before
    assert finished.asked("kind create") == []
    assert finished.asked("kubectl kustomize") == []
    assert [line.split()[5] for line in finished.asked("helm --kube-context kind-cryptosentinel upgrade")] == [
        "cryptosentinel"
    ]
    assert "cert-manager v1.21.1 is there." in said


def test_our_own_pods_are_awaited_here_and_not_by_helm(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm 4 compares generations of the InferenceService that KServe does not keep in step."""
    assert finished.run("up")[0] == 0
    (upgraded,) = finished.asked("helm --kube-context kind-cryptosentinel upgrade")
    assert "--wait" not in upgraded
    after = finished.asked()[finished.asked().index(upgraded) :]
    assert [line for line in after if "get deployments --namespace cryptosentinel" in line]
    monkeypatch.setattr(installing, "READY_WITHIN_S", 0.0)
    finished.set(objects={"deployments": [READY | {"status": {}}]})
    with pytest.raises(StoppedError, match="Not ready in cryptosentinel"):
        installing.release({}, [])


@pytest.mark.parametrize("how", ["fails", "dies"])
def test_after_any_failure_the_next_run_goes_on(world: World, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Each run gets one command further than the one before."""
    monkeypatch.setattr(machine, "check", lambda *_, **__: None)  # changes nothing, and asks nine programs
    world.set(**{how: CHANGES})
    for command in CHANGES:
        code, said = world.run("up")
        assert code == 1
        assert world.get(how) == CHANGES[CHANGES.index(command) + 1 :]
        assert "the stand-in was told to fail" in said
        assert "make kind-up again goes on from here" in said
        # What the last run failed at comes again, and what came before that does not.
        done = CHANGES[: max(CHANGES.index(command) - 1, 0)]
        assert [each for each in done if each.startswith(("kind create", "helm")) and world.asked(each)] == []
    code, said = world.run("up")
    assert code == 0, said
    assert world.get("cluster")["finished"]
    assert {name: release["status"] for name, release in world.get("releases").items()} == dict.fromkeys(
        ("cert-manager", "kserve-crd", "kserve", "cryptosentinel"), "deployed"
    )
    assert len(world.get("applied")) == 3
    assert len(world.get("loaded")) == 4


def test_a_changed_pin_is_installed(finished: World) -> None:
    there = finished.get("releases")
    there["kserve"]["description"] = "v0.19.0, values 0"
    finished.set(releases=there)
    assert finished.run("up")[0] == 0
    assert finished.asked(CHANGES[6])
    assert not finished.asked(CHANGES[5])


def test_a_node_that_was_stopped_is_started(finished: World) -> None:
    finished.set(cluster=finished.get("cluster") | {"running": False})
    code, said = finished.run("up")
    assert code == 0
    assert finished.asked("docker start cryptosentinel-control-plane")
    assert "was stopped" in said


def test_a_cluster_that_does_not_come_back_is_left_alone(finished: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "READY_WITHIN_S", 0.0)
    finished.set(fails=["kubectl --context kind-cryptosentinel get --raw"])
    code, said = finished.run("up")
    assert code == 1
    assert "docker logs cryptosentinel-control-plane" in said
    assert finished.asked("kind delete") == []


def test_another_kubernetes_is_not_put_over_a_cluster(finished: World) -> None:
    code, said = finished.run("up", "--kubernetes", "1.36")
    assert code == 1
    assert "1.36 is asked for" in said
    assert finished.asked("kind delete") == []
    finished.run("down")
    assert finished.run("up", "--kubernetes", "1.36")[0] == 0
    assert finished.get("cluster")["version"].startswith("1.36.")
    assert finished.run("up")[0] == 0  # who names none, takes what is there


def test_who_waits_is_told_what_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    pod = {
        "metadata": {"name": "mysql-1", "namespace": "kubeflow"},
        "status": {"phase": "Pending", "containerStatuses": [{"state": waiting}]},
    }
    late = READY | {"status": {}}
    world.set(objects={"deployments": [late], "pods": [pod]})
    monkeypatch.setattr(tool, "KUBEFLOW_WITHIN_S", 0.0)
    code, said = world.run("up")
    assert code == 1
    assert "0 of 1 ready; 1 pods not ready; kubeflow/mysql-1: ImagePullBackOff" in said
    assert "Not ready in kubeflow" in said
    assert "kubectl --namespace kubeflow describe pods" in said


def test_an_old_revision_of_a_deployment_does_not_count_as_ready() -> None:
    assert watching._available(READY)
    for name in ("observedGeneration", "updatedReplicas", "availableReplicas"):
        assert not watching._available(READY | {"status": READY["status"] | {name: 0}})
    assert not watching._available(READY | {"status": READY["status"] | {"replicas": 2}})


def test_long_work_says_that_it_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "HEARTBEAT_S", 0.05)
    fifo = world.folder / "fifo"
    os.mkfifo(fifo)

    def waits_for() -> str:
        fifo.write_text("enough")  # only now can it end
        return "kserve/controller: ContainerCreating"

    commands.work("long", ("sh", "-c", f"read line <{fifo}; echo $line"), "", waits_for=waits_for)
    assert "kserve/controller: ContainerCreating" in capsys.readouterr().out


def test_only_one_is_at_work_at_a_time(world: World) -> None:
    (world.folder / "work").mkdir()
    with (world.folder / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = world.run("up")
    assert code == 1
    assert "Another make kind-up" in said
    assert world.asked() == []


def test_interrupted_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "ensure", interrupted)
    code, said = world.run("up")
    assert code == 130
    assert "goes on from here" in said


def test_down_removes_cluster_images_and_what_was_fetched(finished: World) -> None:
    finished.set(images=finished.get("images") | {"cryptosentinel/serving:0.1.0-python3.11": "released"})
    code, _ = finished.run("down")
    assert code == 0
    assert finished.get("cluster") is None
    assert list(finished.get("images")) == ["cryptosentinel/serving:0.1.0-python3.11"]
    assert not (finished.folder / "work").exists()
    code, said = finished.run("down")
    assert code == 0
    assert "There is no cluster" in said


def test_logs_are_collected_as_far_as_the_cluster_gives_them(finished: World) -> None:
    (finished.folder / "work" / "logs").mkdir()
    finished.set(fails=["kubectl --context kind-cryptosentinel describe"])
    code, said = finished.run("logs")
    assert code == 0
    assert str(finished.folder / "work" / "logs") in said
    assert "the stand-in was told to fail" in (finished.folder / "work" / "logs" / "pods.txt").read_text()
    assert (finished.folder / "work" / "logs" / "events.txt").read_text()
