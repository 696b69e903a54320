"""The soak of `benchmarks/soak_serving.py` would notice what it looks for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from side_by_side.load import METHOD
from side_by_side.questions import Judge, questions
from side_by_side.soaking import PATHS, Soak

ASKED = questions()
ONE_ROW = 0
PROTOCOLS = [*PATHS, "grpc"]


@pytest.fixture(scope="module")
def judge(running) -> Judge:
    return Judge(running.bundles, ASKED)


def answered(running, protocol: str, number: int) -> tuple[dict[str, str], bytes]:
    headers, body = ASKED[number].wire(protocol)
    if protocol == "grpc":
        with grpc.insecure_channel(running.process.grpc) as channel:
            return {}, channel.unary_unary(METHOD)(body)
    url = running.process.url + PATHS[protocol]
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"} | headers, trust_env=False)
    return dict(answer.headers), answer.content


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_right_answer_is_found_right(running, judge, protocol):
    running.serve(2)
    for number, question in enumerate(ASKED):
        if protocol != "v1" or question.v1 is not None:
            assert judge.fault(protocol, number, *answered(running, protocol, number)) == (2, "")


def test_an_answer_that_mixes_two_versions_is_found(running, judge):
    said: dict[int, dict[str, Any]] = {}
    for version in (1, 2):
        running.serve(version)
        said[version] = json.loads(answered(running, "v1", ONE_ROW)[1])

    def fault(body: dict[str, Any]) -> str:
        return judge.fault("v1", ONE_ROW, {}, json.dumps(body).encode())[1]

    assert fault(said[1]) == ""
    for name in ("predicted_price", "log_return", "upper_95", "quantiles"):
        mixed = said[1]["predictions"][0] | {name: said[2]["predictions"][0][name]}
        assert name in fault(said[1] | {"predictions": [mixed]})
    assert "predicted_price" in fault(said[1] | {"bundle_version": 2})
    lacking = {name: value for name, value in said[1]["predictions"][0].items() if name != "regime"}
    assert "regime" in fault(said[1] | {"predictions": [lacking]})
    assert fault(said[1] | {"abstention": ""})


def test_a_version_that_comes_back_too_early_is_found(running):
    bundles = [(version, str(bundle.path)) for version, bundle in sorted(running.bundles.items())]
    soak = Soak({"protocol": "v1", "host": "", "port": 0, "seconds": 0, "bundles": bundles})
    seen = soak.new_connection()
    for version in (0, 0, 1, 2, 0):
        seen.version_is(version)
    assert (seen.swaps, soak.wrong) == (3, 0)
    seen.version_is(2)
    assert soak.wrong == 1
