"""An API server that is busy, away, slow or forgetful; and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptosentinel.errors import RolledBackError, RolloutError
from serving.rollout import calls, progress
from serving.rollout.calls import connect
from serving.rollout.cluster import Cluster
from serving.rollout.lease import PromotionLease
from serving.rollout.promotion import roll_out
from tests.rollout.conftest import World, make_workspace
from tests.rollout.http_side import Fault
from tests.rollout.objects import NAME, NAMESPACE

ISVC, DEPLOYMENTS, LEASES = "inferenceservices", "deployments", "leases"
LEASE = f"{NAME}-promotion"


@pytest.mark.parametrize("served", [False, True], ids=["not done", "done, and the answer lost"])
@pytest.mark.parametrize(("verb", "resource"), [("patch", ISVC), ("get", DEPLOYMENTS), ("create", LEASES)])
def test_what_passes_is_asked_for_again(world: World, verb: str, resource: str, served: bool) -> None:
    """Too many requests, errors of the server, a connection that is cut off, and one on which no answer comes."""
    statuses = (429, 500, 503, 0, -1)
    if (verb, served) == ("create", True):
        statuses = (-1,)  # it is there then, and is not created again
    world.api.faults += [Fault(verb, resource, status, served=served) for status in statuses]
    assert roll_out(world.workspace, 2).outcome == "rolled out"
    assert (world.api.storage_uri, world.champion) == (world.uri(2), 2)
    assert not any(fault.times for fault in world.api.faults)


def test_a_write_that_came_between_is_no_reason_to_give_up(world: World) -> None:
    world.api.faults.append(Fault("patch", ISVC, 409))
    assert roll_out(world.workspace, 2).outcome == "rolled out"


def test_the_server_says_when_to_ask_again(world: World) -> None:
    world.api.faults.append(Fault("patch", ISVC, 429, retry_after="1"))
    began = time.monotonic()
    roll_out(world.workspace, 2)
    assert time.monotonic() - began >= 1


def test_a_server_that_stays_away_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BUDGET_S", 0.3)
    world.api.faults.append(Fault("get", ISVC, 503, times=1000))
    with pytest.raises(RolloutError, match="The Kubernetes API is busy: the server is not well"):
        roll_out(world.workspace, 2)
    assert (world.api.writes(), world.champion) == ([], 1)
    world.api.close()
    with pytest.raises(RolloutError, match="The Kubernetes API does not answer"):
        roll_out(world.workspace, 2)


def test_one_that_goes_away_for_good_leaves_the_alias_right_for_who_comes_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BUDGET_S", 0.3)
    world.api.faults.append(Fault("get", DEPLOYMENTS, 503, times=1000))
    with pytest.raises(RolloutError, match="could not be led back") as raised:
        roll_out(world.workspace, 2)
    assert not isinstance(raised.value, RolledBackError)
    assert world.champion == 1
    world.api.faults.clear()
    assert world.api.storage_uri == world.uri(1)  # it was told so, and nobody could see what came of it


@pytest.mark.parametrize("fault", ["vanishes", "expired", "stale", "refused"])
def test_a_watch_that_fails_is_made_up_for(world: World, fault: str) -> None:
    world.api.watch_fault = fault
    assert roll_out(world.workspace, 2).outcome == "rolled out"
    assert "watch" in {each.verb for each in world.api.asked}


@pytest.mark.parametrize("fault", ["vanishes", "refused"])
def test_one_that_fails_at_once_is_not_asked_for_without_pause(
    world: World, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PAUSE_S", 0.2)
    world.api.watch_fault = fault
    world.api.never_ready.add(world.uri(2))
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=0.7)
    with pytest.raises(RolledBackError):
        roll_out(world.workspace, 2)
    assert len([each for each in world.api.asked if each.verb == "watch"]) <= 8


def test_a_refusal_is_told_with_the_rights_that_lack(world: World) -> None:
    world.api.rules = [rule for rule in world.api.rules if ISVC not in rule["resources"]]
    with pytest.raises(RolloutError, match=r"InferenceService release/cs may not be read") as raised:
        roll_out(world.workspace, 2)
    assert "docs/rollout.md" in raised.value.remedy


def test_without_rights_to_ask_why_it_works_and_says_less(world: World) -> None:
    world.api.rules = [rule for rule in world.api.rules if "pods" not in rule["resources"]]
    assert roll_out(world.workspace, 2).outcome == "rolled out"
    world.api.never_ready.add(world.uri(0))
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=0.4)
    with pytest.raises(RolledBackError, match=r"pods of release/cs-predictor may not be listed"):
        roll_out(world.workspace, 0)


def test_without_a_cluster_it_is_said_how_to_name_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(RolloutError, match="There is no cluster to ask") as raised:
        roll_out(world.workspace)
    assert "KUBECONFIG" in raised.value.remedy


def test_a_pod_asks_its_own_cluster_with_its_own_account(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.config import incluster_config

    for name, text in {"token": "of the pod", "ca.crt": "a certificate", "namespace": "release\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(calls, "_POD_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert connect()[0].configuration.host == world.api.url  # KUBECONFIG was said on purpose
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setattr("kubernetes.client.rest.RESTClientObject", lambda _settings: None)
    connected, namespace = connect()
    assert (connected.configuration.host, namespace) == ("https://10.0.0.1:443", "release")
    assert connected.configuration.api_key["authorization"] == "bearer of the pod"


class TestLease:
    def cluster(self) -> Cluster:
        return Cluster(connect()[0], NAMESPACE, NAME)

    def test_it_is_given_back(self, world: World) -> None:
        roll_out(world.workspace, 2)
        spec = world.api.leases[LEASE]["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("", 0)
        roll_out(world.workspace, 1)
        assert world.api.leases[LEASE]["spec"]["leaseTransitions"] == 1

    def test_two_promotions_never_overlap(self, world: World) -> None:
        inside, most = [], []

        def enter(name: str) -> None:
            with PromotionLease(self.cluster(), 1, wait_s=20):
                inside.append(name)
                most.append(len(inside))
                time.sleep(0.1)
                inside.remove(name)

        threads = [threading.Thread(target=enter, args=(str(number),)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1, 1, 1, 1]

    def test_it_is_renewed_while_it_is_held(self, world: World) -> None:
        with PromotionLease(self.cluster(), 1, wait_s=1) as lease:
            with pytest.raises(RolloutError, match="Another promotion of release/cs is under way"):
                PromotionLease(self.cluster(), 1, wait_s=1.6).__enter__()
            lease.check()

    def test_who_died_is_followed_after_the_time_it_was_taken_for(self, world: World) -> None:
        world.api.leases[LEASE] = held_by("somebody", seconds=1)
        began = time.monotonic()
        with PromotionLease(self.cluster(), 1, wait_s=5):
            assert time.monotonic() - began > 1

    def test_a_clock_that_is_wrong_takes_nothing_away(self, world: World) -> None:
        world.api.leases[LEASE] = held_by("somebody", seconds=60)  # renewed in 2001, by its clock
        with pytest.raises(RolloutError, match="by somebody, and did not end within"):
            PromotionLease(self.cluster(), 1, wait_s=0.3).__enter__()

    def test_who_lost_it_changes_nothing_more(self, world: World) -> None:
        def steal(_name: str, _bundle: str | None) -> None:
            world.api.leases[LEASE] = held_by("a thief", seconds=60)

        world.api.on_serving = steal
        world.workspace = make_workspace(world.workspace.settings.home, lease_s=1)
        world.trial_s = 0.8
        with pytest.raises(RolloutError, match="went to somebody else"):
            roll_out(world.workspace, 2)
        assert world.champion == 1
        assert world.api.storage_uri == world.uri(2)  # the thief's business now
        assert world.api.leases[LEASE]["spec"]["holderIdentity"] == "a thief"

    def test_renewals_that_fail_for_a_while_lose_nothing(self, world: World) -> None:
        with PromotionLease(self.cluster(), 1, wait_s=1) as lease:
            world.api.faults.append(Fault("update", LEASES, 503, times=4))
            world.api.faults.append(Fault("update", LEASES, 0, served=True))  # recorded, and the answer lost
            time.sleep(1.2)
            lease.check()

    def test_times_have_six_digits_even_where_they_are_zeros(self) -> None:
        from datetime import UTC, datetime

        from serving.rollout.lease import _text

        assert _text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"


def held_by(holder: str, *, seconds: int) -> dict[str, object]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": "2001-01-01T00:00:00.000000Z"}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE, "resourceVersion": "7"},
        "spec": spec,
    }


# Imports take seconds: one process has made them, and has a copy of itself promote for each line that it reads.
PROMOTE = """
import os, sys
from pathlib import Path
from serving.rollout import trial
from serving.rollout.promotion import roll_out
from tests.rollout.conftest import make_workspace
trial.Trial.hold = lambda *_: None
for line in sys.stdin:
    kubeconfig, home = line.split()
    child = os.fork()
    if not child:
        os.environ["KUBECONFIG"] = kubeconfig
        roll_out(make_workspace(Path(home), timeout_s=60, lease_s=1), 2)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.fixture(scope="module")
def promoters() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROMOTE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], text=True, bufsize=1, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("moment", ["holding the Lease", "told", "not ready yet"])
def test_whenever_it_is_killed_the_next_one_leads_the_service_to_the_champion(
    world: World, moment: str, kubeconfig: Path, promoters: subprocess.Popen[str]
) -> None:
    """The service and the alias agree again after one `rollout`, and the promotion itself can be had after that."""
    world.api.never_ready.add(world.uri(2))
    if moment == "holding the Lease":
        world.api.faults.append(Fault("patch", ISVC, -1, times=1000))
    elif moment == "told":
        world.api.asleep = True
    assert promoters.stdin is not None
    assert promoters.stdout is not None
    promoters.stdin.write(f"{kubeconfig} {world.workspace.settings.home}\n")
    child = int(promoters.stdout.readline())
    wanted = {"holding the Lease": "patch", "told": "patch", "not ready yet": "watch"}[moment]
    deadline = time.monotonic() + 60
    while wanted not in {each.verb for each in world.api.asked}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    assert promoters.stdout.readline() == "ended\n"
    world.api.faults.clear()
    world.api.asleep = False
    assert (world.champion, world.api.storage_uri == world.uri(2)) == (1, moment != "holding the Lease")
    outcome = roll_out(world.workspace).outcome
    assert outcome == ("unchanged" if moment == "holding the Lease" else "rolled out")
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)
    world.api.never_ready.clear()
    assert roll_out(world.workspace, 2).outcome == "rolled out"
    assert (world.api.storage_uri, world.champion) == (world.uri(2), 2)
