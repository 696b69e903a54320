"""What a real server makes of bodies that no client would send: statuses by protocol, and its memory before and after.

    python benchmarks/fuzz_serving.py [--bodies 100000] [--seed 0] [--connections 8]

Bodies are those of `tests/serving/bodies.py`, one a seed, over V1, V2, binary V2, gRPC, the time-series endpoint and
`:explain`, as they are and as CloudEvents, on a predictor with an explainer beside it. Ends with 1 where an answer is
neither a 2xx, a 4xx nor a 503, where the server or the explainer ended, where nothing was explained, or where the
server's memory did not come back to within a tenth of what it was after the first thousand bodies, which fill its pools
and caches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
import httpx
import psutil
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the tests' builders
from bench_serving import trained

from cryptosentinel.config import load_settings
from serving.explainer.process import start_explainer, with_explainer
from tests.serving.bodies import EXPLAIN, grpc_message, rest_body
from tests.serving.builders import instances

TRAINING_ROWS = 1_800
WARM_UP = 1_000
GROWTH = 0.10
SETTLE_S = 5.0
GOOD_GRPC = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bundle = trained(root, TRAINING_ROWS)
        serving = {"http_port": 0, "grpc_port": 0, "explain_concurrency": given.connections}
        settings = with_explainer(load_settings(environ={}, overrides={"home": folder, "serving": serving}))
        state = root / "predictor.json"
        command = [sys.executable, "-m", "serving.server", "--settings", settings.public_json()]
        command += ["--bundle", str(bundle), "--bundle-version", "1", "--state", str(state)]
        with (
            start_explainer(settings, bundle=bundle, bundle_version=1) as explainer,
            subprocess.Popen(command) as server,
        ):
            try:
                failed = _fuzz(server, _address(server, state), given)
            finally:
                server.terminate()
            if not explainer.running:
                print("The explainer ended.")
            return int(failed or not explainer.running)


def _address(server: subprocess.Popen[bytes], state: Path) -> dict[str, str]:
    """Where it answers, once it answers and explains."""
    while not state.exists():
        if server.poll() is not None:
            raise SystemExit(f"The server ended with {server.returncode} before it answered.")
        time.sleep(0.1)
    address: dict[str, str] = json.loads(state.read_text())
    for _ in range(600):
        if httpx.post(address["url"] + EXPLAIN, json={"instances": instances(1)}, trust_env=False).is_success:
            return address
        time.sleep(0.1)
    raise SystemExit("The explainer did not explain within a minute.")


def _fuzz(server: subprocess.Popen[bytes], address: dict[str, str], given: argparse.Namespace) -> bool:
    process = psutil.Process(server.pid)
    seen: Counter[tuple[str, str]] = Counter()
    first = range(given.seed, given.seed + WARM_UP)
    asyncio.run(_ask(address, iter(first), given.connections, Counter(), process))
    before = _settled(process)
    began = time.perf_counter()
    rest = range(first.stop, first.stop + given.bodies)
    bad, peak = asyncio.run(_ask(address, iter(rest), given.connections, seen, process))
    seconds = time.perf_counter() - began
    after = _settled(process)

    protocols, statuses = (sorted({key[i] for key in seen}) for i in (0, 1))
    print(f"\n{given.bodies:,} bodies from seed {rest.start}, {given.connections} at once, {seconds:.0f} s\n")
    print(f"| | {' | '.join(statuses)} |\n|---{'|---:' * len(statuses)}|")
    for protocol in protocols:
        print(f"| {protocol} | {' | '.join(f'{seen[protocol, status]:,}' for status in statuses)} |")
    megabytes = [f"{size / 2**20:.0f}" for size in (before, peak, after)]
    growth = after / before - 1
    print(f"\nResident MiB: {megabytes[0]} before, at most {megabytes[1]}, {megabytes[2]} after ({growth:+.1%}).")
    for seed, protocol, status, text in bad[:20]:
        print(f"seed {seed}: {protocol} {status}: {text[:200]}")
    explained = seen["explain", "200"]
    return bool(bad) or server.poll() is not None or growth > GROWTH or not explained


async def _ask(
    address: dict[str, str],
    seeds: Iterator[int],
    connections: int,
    seen: Counter[tuple[str, str]],
    process: psutil.Process,
) -> tuple[list[tuple[int, str, str, str]], int]:
    """Sends a body a seed; returns the answers that are the server's fault, and its peak memory."""
    bad: list[tuple[int, str, str, str]] = []
    peak = 0
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=connections))  # no proxies

    async with (
        httpx.AsyncClient(transport=transport, base_url=address["url"], timeout=60) as client,
        grpc.aio.insecure_channel(address["grpc"]) as channel,
    ):
        infer = GRPCInferenceServiceStub(channel).ModelInfer

        async def one(seed: int) -> tuple[str, str, str, bool]:
            random = Random(seed)
            if random.random() < 0.25:
                call = infer(grpc_message(random))
                status, text = (await call.code()).name, await call.details()
                return "gRPC", status, text, status in GOOD_GRPC
            body = rest_body(random)
            answered = await client.post(body.path, content=body.content, headers=body.headers)
            good = answered.status_code // 100 in {2, 4} or answered.status_code == 503
            protocol = body.path.rpartition("/")[2].rpartition(":")[2]
            if "inference-header-content-length" in body.headers:
                protocol += ", binary"
            return protocol, str(answered.status_code), answered.text, good and "Traceback" not in answered.text

        async def work() -> None:
            nonlocal peak
            for seed in seeds:
                try:
                    protocol, status, text, good = await one(seed)
                except httpx.HTTPError as error:
                    protocol, status, text, good = "REST", type(error).__name__, str(error), False
                seen[protocol, status] += 1
                if not good:
                    bad.append((seed, protocol, status, text))
                if seed % 500 == 0:
                    peak = max(peak, process.memory_info().rss)

        await asyncio.gather(*(work() for _ in range(connections)))
    return bad, peak


def _settled(process: psutil.Process) -> int:
    time.sleep(SETTLE_S)
    return process.memory_info().rss


if __name__ == "__main__":
    sys.exit(main())
