"""A version comes to serve, or what served before does, and the champion alias says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptosentinel.errors import (
    BundleDamagedError,
    RolledBackError,
    RolloutError,
    SettingsError,
    StorageError,
    StoreConflictError,
)
from serving.rollout import promoter, trial
from serving.rollout.promotion import roll_out
from tests.rollout.conftest import World, make_workspace
from tests.rollout.objects import NAME, NAMESPACE

SERVICE_URL = f"http://{NAME}-predictor.{NAMESPACE}.svc.cluster.local"


def test_a_version_serves_and_then_is_champion(world: World) -> None:
    done = roll_out(world.workspace, 2)
    assert (done.outcome, done.version, done.before) == ("rolled out", 2, 1)
    assert (done.inference_service, done.storage_uri) == (f"{NAMESPACE}/{NAME}", world.uri(2))
    assert (world.api.storage_uri, world.champion) == (world.uri(2), 2)
    assert world.trials == [SERVICE_URL]


def test_only_storage_uri_is_applied(world: World) -> None:
    roll_out(world.workspace, 2)
    (said,) = world.api.applied
    assert said["spec"] == {"predictor": {"model": {"storageUri": world.uri(2)}}}
    assert world.api.owners["storageUri"] == {"cryptosentinel-promoter"}
    assert world.api.service["spec"]["predictor"]["model"]["runtime"] == "cs"


def test_the_champion_that_serves_already_is_not_written_again(world: World) -> None:
    assert roll_out(world.workspace).outcome == "unchanged"
    assert world.api.writes() == []
    roll_out(world.workspace, 2)
    before = len(world.api.writes())
    assert roll_out(world.workspace).outcome == "unchanged"
    assert roll_out(world.workspace, 2).outcome == "unchanged"
    assert len(world.api.writes()) == before


def test_new_pods_of_a_champion_that_is_served_already_are_waited_for(world: World) -> None:
    world.api.never_ready.add(world.uri(1))
    world.api.restart()  # with another image, say
    impatient = make_workspace(world.workspace.settings.home, timeout_s=0.4)
    with pytest.raises(RolloutError, match=r"cs-predictor does not serve it .*: 1 of 2 pods were made anew; pod cs-"):
        roll_out(impatient)
    world.api.never_ready.clear()
    assert roll_out(world.workspace).outcome == "unchanged"
    assert (world.api.writes(), world.champion) == ([], 1)


def test_one_that_was_told_and_not_proved_is_proved_without_telling_it_again(world: World) -> None:
    world.api.point_at(world.uri(2))  # and then the process was killed
    assert roll_out(world.workspace, 2).outcome == "rolled out"
    assert (world.api.applied, world.trials, world.champion) == ([], [SERVICE_URL], 2)


def test_a_service_that_was_just_installed_is_led_to_the_champion(world: World) -> None:
    world.api.point_at(None)
    done = roll_out(world.workspace)
    assert (done.outcome, done.version, done.before) == ("rolled out", 1, None)
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)


def test_the_alias_moves_only_once_all_new_pods_serve(world: World) -> None:
    seen = []
    world.api.on_serving = lambda _name, bundle: seen.append((bundle, world.champion))
    roll_out(world.workspace, 2)
    assert seen == [(world.uri(2), 1)]


def test_pods_that_never_become_ready_are_rolled_back_and_it_is_said_why(world: World) -> None:
    world.api.never_ready.add(world.uri(2))
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=0.5)
    world.api.events.append(warning(f"{NAME}-predictor-1", "Readiness probe failed: 503"))
    world.api.events.append(warning("another-pod", "of somebody else"))
    with pytest.raises(RolledBackError) as raised:
        roll_out(world.workspace, 2)
    said = raised.value.message
    assert "Version 2 did not come to serve in release/cs" in said
    assert "0 of 2 new pods are ready" in said or "1 of 2 pods were made anew" in said
    assert "container storage-initializer waits (CrashLoopBackOff: back-off 10s restarting failed container)" in said
    assert "ended with 1 (Error: Traceback ... Access Denied)" in said
    assert "Readiness probe failed: 503" in said
    assert "somebody else" not in said
    assert said.endswith("It serves version 1 again.")
    assert (world.api.storage_uri, world.champion, world.trials) == (world.uri(1), 1, [])


def test_a_champion_that_never_serves_gives_its_alias_back_to_what_served(world: World) -> None:
    world.registry.promote(2, expected=1)  # by a process that knew no cluster
    world.api.never_ready.add(world.uri(2))
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=0.5)
    with pytest.raises(RolledBackError, match="It serves version 1 again"):
        roll_out(world.workspace)
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)
    assert world.verdict(2).startswith("rolled back: Deployment release/cs-predictor does not serve it")
    assert world.verdict(2).endswith("; for a test")


def test_where_nothing_served_before_the_service_goes_back_to_its_image_and_the_alias_stays(world: World) -> None:
    world.api.point_at(None)
    world.wrong.add(world.registry.get(1).uri)
    with pytest.raises(RolledBackError, match="It serves the bundle of its image again"):
        roll_out(world.workspace)
    assert (world.api.storage_uri, world.champion) == (None, 1)


def test_a_version_whose_answers_are_not_its_own_is_rolled_back(world: World) -> None:
    world.wrong.add(world.registry.get(2).uri)
    with pytest.raises(RolledBackError, match=r"The trial of version 2 failed\. It serves version 1 again"):
        roll_out(world.workspace, 2)
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)


def test_ctrl_c_leads_the_service_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial.Trial, "hold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        roll_out(world.workspace, 2)
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)
    assert world.api.leases[f"{NAME}-promotion"]["spec"]["holderIdentity"] == ""


def test_what_kubernetes_gives_up_is_not_waited_for_any_longer(world: World) -> None:
    world.api.never_ready.add(world.uri(2))
    world.api.given_up = True
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=120)
    with pytest.raises(RolledBackError):
        roll_out(world.workspace, 2)
    assert world.api.storage_uri == world.uri(1)


def test_where_kserve_does_nothing_that_is_said(world: World) -> None:
    world.workspace = make_workspace(world.workspace.settings.home, timeout_s=0.3)
    world.api.asleep = True
    world.api.service["status"]["conditions"] = [{"type": "PredictorReady", "status": "False", "message": "no runtime"}]
    with pytest.raises(RolledBackError, match=r"is its controller running\?; no runtime"):
        roll_out(world.workspace, 2)
    assert world.api.storage_uri == world.uri(1)


def test_another_champion_than_expected_stays(world: World) -> None:
    with pytest.raises(StoreConflictError):
        promoter(world.workspace)(2, expected=0)
    assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)
    assert world.api.applied == []


def test_one_that_became_champion_meanwhile_stays_and_serves(world: World) -> None:
    third = world.registry.get(0)
    world.api.on_serving = lambda _name, uri: (
        world.registry.promote(third.version, expected=1) if uri == world.uri(2) else None
    )
    with pytest.raises(StoreConflictError):
        promoter(world.workspace)(2, expected=1)
    assert (world.api.storage_uri, world.champion) == (world.uri(0), 0)


def test_without_an_inference_service_the_registry_alone_promotes(world: World) -> None:
    alone = make_workspace(world.workspace.settings.home, inference_service=None)
    promoter(alone)(2, expected=1)
    assert world.champion == 2
    assert world.api.asked == []
    with pytest.raises(SettingsError, match=r"rollout\.inference_service"):
        roll_out(alone)


def test_a_dry_run_asks_and_changes_nothing(world: World) -> None:
    done = roll_out(world.workspace, 2, dry_run=True)
    assert (done.outcome, done.version, done.before) == ("would be rolled out", 2, 1)
    assert [each.verb for each in world.api.asked if each.dry_run] == ["patch"]
    assert (world.api.writes(), world.api.storage_uri, world.champion) == ([], world.uri(1), 1)
    assert roll_out(world.workspace, dry_run=True).outcome == "unchanged"


def test_what_somebody_else_manages_is_taken_by_force_only(world: World) -> None:
    world.api.point_at(world.uri(0), manager="kubectl-edit")
    for dry_run in (True, False):
        with pytest.raises(
            RolloutError, match=r"somebody else manages what it serves \(conflict with \"kubectl-edit\""
        ):
            roll_out(world.workspace, dry_run=dry_run)
    assert world.api.storage_uri == world.uri(0)
    assert roll_out(world.workspace, force=True).outcome == "rolled out"
    assert world.api.storage_uri == world.uri(1)


def test_a_version_that_is_not_there_or_cannot_answer_changes_nothing(world: World) -> None:
    with pytest.raises(StorageError, match="no version 7"):
        roll_out(world.workspace, 7)
    (Path(world.registry.get(2).uri) / "inference.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleDamagedError):
        roll_out(world.workspace, 2)
    assert world.api.writes("inferenceservices") == []
    assert world.champion == 1


def test_a_store_that_kserve_cannot_read_is_said(world: World) -> None:
    with pytest.raises(SettingsError, match=r"KServe cannot read the bundle of version 1 at /"):
        roll_out(make_workspace(world.workspace.settings.home, store_uri=None))


def test_knative_services_are_refused(world: World) -> None:
    world.api.service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    with pytest.raises(RolloutError, match="mode Knative"):
        roll_out(world.workspace, 2)
    assert world.api.writes() == []


def test_a_service_that_is_not_there_is_not_made(world: World) -> None:
    world.api.service = None
    with pytest.raises(RolloutError, match="There is no InferenceService release/cs"):
        roll_out(world.workspace, 2)
    assert world.api.service is None


class TestCanary:
    def test_a_version_is_tried_in_a_pod_of_its_own_first(self, world: World) -> None:
        world.workspace = make_workspace(world.workspace.settings.home, canary_percent=10, canary_s=0.1)
        arrived = []
        world.api.on_serving = lambda name, bundle: arrived.append((name, bundle))
        roll_out(world.workspace, 2)
        first, last = world.api.applied
        assert first["spec"] == {
            "predictor": {"model": {"storageUri": world.uri(1)}},
            "canary": [
                {
                    "predictor": {
                        "name": "candidate",
                        "minReplicas": 1,
                        "model": {"modelFormat": {"name": "cryptosentinel"}, "storageUri": world.uri(2)},
                    },
                    "trafficPercent": 10,
                }
            ],
        }
        assert last["spec"] == {"predictor": {"model": {"storageUri": world.uri(2)}}}
        candidate = f"http://{NAME}-candidate-predictor.{NAMESPACE}.svc.cluster.local"
        assert world.trials == [candidate, candidate, SERVICE_URL]
        assert arrived == [(f"{NAME}-candidate-predictor", world.uri(2)), (f"{NAME}-predictor", world.uri(2))]
        assert (world.api.canary, world.champion) == ([], 2)

    def test_it_is_of_the_form_that_kserve_knows(self, world: World) -> None:
        from kserve import V1beta1CanarySpec, V1beta1ModelSpec, V1beta1PredictorSpec

        world.workspace = make_workspace(world.workspace.settings.home, canary_percent=0, canary_s=0)
        roll_out(world.workspace, 2)
        ((entry,),) = [said["spec"]["canary"] for said in world.api.applied if "canary" in said["spec"]]
        assert entry.keys() == set(V1beta1CanarySpec.attribute_map.values())
        assert entry["predictor"].keys() <= set(V1beta1PredictorSpec.attribute_map.values())
        assert entry["predictor"]["model"].keys() <= set(V1beta1ModelSpec.attribute_map.values())

    @pytest.mark.parametrize("fault", ["never ready", "wrong", "dies"])
    def test_one_that_fails_never_touches_the_other_pods(self, world: World, fault: str) -> None:
        world.workspace = make_workspace(world.workspace.settings.home, canary_percent=10, canary_s=3, timeout_s=0.6)
        arrived = []
        world.api.on_serving = lambda name, bundle: arrived.append((name, bundle))
        if fault == "never ready":
            world.api.never_ready.add(world.uri(2))
        elif fault == "wrong":
            world.wrong.add(world.registry.get(2).uri)
        else:
            world.api.dies_after[world.uri(2)] = 0.4
        with pytest.raises(RolledBackError, match="It serves version 1 again"):
            roll_out(world.workspace, 2)
        assert (world.api.storage_uri, world.api.canary, world.champion) == (world.uri(1), [], 1)
        assert (f"{NAME}-predictor", world.uri(2)) not in arrived

    def test_a_kserve_that_does_not_know_canaries_is_told_from_one_that_does(self, world: World) -> None:
        world.workspace = make_workspace(world.workspace.settings.home, canary_percent=10)
        world.api.knows_canary = False
        with pytest.raises(RolledBackError) as raised:
            roll_out(world.workspace, 2)
        assert "KServe 0.20" in raised.value.remedy
        assert (world.api.storage_uri, world.champion) == (world.uri(1), 1)

    def test_one_that_a_killed_process_left_is_removed(self, world: World) -> None:
        world.workspace = make_workspace(world.workspace.settings.home, canary_percent=10, canary_s=0)
        world.api.never_ready.add(world.uri(2))
        world.api.service["spec"]["canary"] = [
            {"predictor": {"name": "candidate", "model": {"storageUri": world.uri(2)}}, "trafficPercent": 10}
        ]
        world.api.owners["canary"] = {"cryptosentinel-promoter"}
        assert roll_out(world.workspace).outcome == "rolled out"
        assert (world.api.storage_uri, world.api.canary) == (world.uri(1), [])


def warning(pod: str, message: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod}.1"},
        "involvedObject": {"kind": "Pod", "name": pod},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": message,
    }
