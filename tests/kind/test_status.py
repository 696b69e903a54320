"""What is said about a cluster that is there."""

from __future__ import annotations

import pytest

from manifests.kind import reporting
from tests.kind.conftest import READY, World


def test_without_a_cluster_it_says_how_to_make_one(world: World) -> None:
    for command in ("status", "logs"):
        code, said = world.run(command)
        assert code == 1
        assert "make kind-up makes it" in said


@pytest.mark.parametrize("healthy", [True, False])
def test_status_tells_the_model_and_what_is_not_ready(
    world: World, monkeypatch: pytest.MonkeyPatch, healthy: bool
) -> None:
    assert world.run("up")[0] == 0
    uri = "s3://mlpipeline/cryptosentinel/bundles/3"
    model = {"spec": {"predictor": {"model": {"storageUri": uri}}}}
    done = {"metadata": {"name": "run-1", "namespace": "kubeflow"}, "status": {"phase": "Succeeded"}}
    crashing = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    broken = {
        "metadata": {"name": "predictor-1", "namespace": "cryptosentinel"},
        "status": {"phase": "Running", "containerStatuses": [crashing]},
    }
    pods = [done] if healthy else [done, broken]
    world.set(objects={"deployments": [READY], "pods": pods, "inferenceservices.serving.kserve.io": [model]})
    asked = []
    monkeypatch.setattr(reporting, "answers", lambda address: asked.append(address) or healthy)
    code, said = world.run("status")
    assert code == (0 if healthy else 1)
    assert uri in said
    assert "run-1" not in said
    assert ("cryptosentinel/predictor-1: CrashLoopBackOff" in said) is not healthy
    assert ("Dashboard does not answer." in said) is not healthy
    assert "http://localhost:8080/v2/models/cryptosentinel/ready" in asked
