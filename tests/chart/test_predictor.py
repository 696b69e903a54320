"""The predictor of a release, as a process: its command, its settings, and the probes that the kubelet sends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from serving.state import PredictorState
from tests.chart.rendered import ROOT, predictor_spec, scenario, settings_file
from tests.serving.builders import make_random_walk
from tests.serving.processes import wait_for_line


def of_the_image() -> dict[str, str]:
    """The environment that the Dockerfile gives the predictor, with any free ports."""
    stage = (ROOT / "images" / "Dockerfile").read_text().partition("AS serving\n")[2].partition("EXPOSE")[0]
    variables = dict(re.findall(r"(CRYPTOSENTINEL_SERVING__\w+)=(\S+)", stage))
    assert variables["CRYPTOSENTINEL_SERVING__HTTP_PORT"] == "8080"
    assert variables["CRYPTOSENTINEL_SERVING__GRPC_PORT"] == "8081"
    return variables | dict.fromkeys(
        variables.keys() & {f"CRYPTOSENTINEL_SERVING__{n}_PORT" for n in ("HTTP", "GRPC")}, "0"
    )


def test_it_starts_with_the_settings_of_a_release_and_satisfies_its_probes(tmp_path: Path) -> None:
    values = scenario("kind")
    predictor = predictor_spec(values)["containers"][0]
    (tmp_path / "settings.yaml").write_text(settings_file(values))
    walk, nothing = make_random_walk(tmp_path / "walk").path, tmp_path / "mnt"
    places = {"python": sys.executable, "/mnt/models": str(nothing), "/opt/random-walk": str(walk)}
    command = [places.get(word, word) for word in (*predictor["command"], *predictor["args"])]
    environment = os.environ | of_the_image() | {"CRYPTOSENTINEL_CONFIG": str(tmp_path / "settings.yaml")}
    state = tmp_path / "state.json"
    with subprocess.Popen(
        [*command, "--state", str(state)], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            wait_for_line(child, "grpc")
            url = PredictorState.model_validate_json(state.read_text()).url
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                with urlopen(url + predictor[probe]["httpGet"]["path"], timeout=10) as answer:
                    assert answer.status == 200
        finally:
            child.terminate()
            child.communicate(timeout=30)
