"""What Helm says to a cluster that lacks something."""

from __future__ import annotations

import helm_python as helm
import pytest

from tests.chart.cluster import BUILT_IN, GATEWAY, KSERVE, PROMETHEUS, cluster, try_install
from tests.chart.rendered import LEAST, NAMESPACE, SCENARIOS, merged, scenario, setting
from tests.chart.schemas import VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_installs_on_every_version_of_kubernetes(version: str, name: str) -> None:
    with cluster(version, [*BUILT_IN, *KSERVE, *PROMETHEUS, *GATEWAY]) as config:
        assert "kind: ConfigMap" in try_install(config, scenario(name))


def test_an_older_kubernetes_is_refused() -> None:
    with cluster("1.30", [*BUILT_IN, *KSERVE]) as config, pytest.raises(helm.HelmError, match=r"requires kubeVersion"):
        try_install(config, LEAST)


@pytest.mark.parametrize(
    ("missing", "values", "said"),
    [
        (KSERVE[0], {}, "KServe is not installed in this cluster"),
        (KSERVE[1], {}, "no ServingRuntime"),
        (PROMETHEUS[0], setting("metrics.serviceMonitor.enabled", True), "no ServiceMonitor"),
        (PROMETHEUS[1], setting("metrics.prometheusRule.enabled", True), "no PrometheusRule"),
        (
            GATEWAY[0],
            setting("dashboard.httpRoute", {"enabled": True, "parentRefs": [{"name": "gateway"}]}),
            "the Gateway API is not installed",
        ),
    ],
)
def test_what_a_cluster_lacks_is_said_before_anything_is_installed(missing: str, values: dict, said: str) -> None:
    there = [kind for kind in (*BUILT_IN, *KSERVE, *PROMETHEUS, *GATEWAY) if kind != missing]
    with cluster("1.33", there) as config, pytest.raises(helm.HelmError, match=said):
        try_install(config, merged(LEAST, values))
    with cluster("1.33", [*there, missing]) as config:
        assert try_install(config, merged(LEAST, values))


def test_all_that_is_missing_is_said_at_once() -> None:
    values = setting("metrics", {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}})
    with cluster("1.33", BUILT_IN) as config, pytest.raises(helm.HelmError) as refused:
        try_install(config, values)
    said = str(refused.value)
    assert all(word in said for word in ("storage.uri", "KServe", "no ServiceMonitor", "no PrometheusRule"))


def test_what_is_switched_off_need_not_be_there() -> None:
    with cluster("1.33", BUILT_IN) as config:
        assert "InferenceService" not in try_install(
            config, merged(LEAST, setting("serving.enabled", False), setting("kfp.enabled", False))
        )


def test_a_secret_that_does_not_tell_kserve_where_the_store_is_is_refused() -> None:
    def secret(annotations: dict[str, str]) -> dict:
        named = {"name": "forecasts-store", "namespace": NAMESPACE, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": named}

    values, there = scenario("airgapped"), [*BUILT_IN, *KSERVE, *GATEWAY]
    with (
        cluster("1.33", there, [secret({"team": "research"})]) as config,
        pytest.raises(helm.HelmError, match=r"forecasts-store has no annotation serving\.kserve\.io/s3-endpoint"),
    ):
        try_install(config, values)
    with cluster("1.33", there, [secret({"serving.kserve.io/s3-endpoint": "objects.internal:9443"})]) as config:
        assert try_install(config, values)
