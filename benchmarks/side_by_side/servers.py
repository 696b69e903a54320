"""Servers as processes: started, timed until they are ready, weighed, stopped."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from side_by_side import mlserver_peer
from side_by_side.asking import MODEL, PROTOCOLS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MLSERVER = "mlserver"
SERVERS = {
    "ours": "ours",
    "empty": "(a) empty KServe model",
    "carrier": "(a') KServe model that answers our tensors, computing nothing",
    "naive": "(b) predict calls under KServe",
    MLSERVER: "(c) MLServer, the ONNX graph alone",
}
START_TIMEOUT_S = 120.0


@dataclass
class Server:
    """A server that answers."""

    name: str
    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    ready_s: float

    @property
    def protocols(self) -> list[str]:
        """That it speaks: MLServer knows no V1, and no binary tensors over REST."""
        return ["v2", "grpc"] if self.name == MLSERVER else list(PROTOCOLS)

    def port(self, protocol: str) -> int:
        return self.grpc_port if protocol == "grpc" else self.http_port

    def processor_s(self) -> float:
        """Processor time that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def resident_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, bundle: Path, log: Path) -> Server:
    """Starts one, and waits until it says that its model is ready."""
    http_port, grpc_port = _free_ports()
    if name == "ours":
        settings = json.dumps({"serving": {"http_port": http_port, "grpc_port": grpc_port}})
        command = [sys.executable, "-m", "serving.server", "--bundle", str(bundle), "--bundle-version", "1"]
        command += ["--settings", settings]
    elif name == MLSERVER:
        command = mlserver_peer.command(bundle, log.with_suffix(""), http_port, grpc_port)
    else:
        ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
        command = [sys.executable, str(HERE / "baselines.py"), name, "--bundle", str(bundle), *ports]
    path = "" if name == MLSERVER else os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    began = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    server = Server(name, process, http_port, grpc_port, 0.0)
    while not _ready(http_port):
        if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT_S:
            server.stop()
            raise SystemExit(f"{SERVERS[name]} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.01)
    server.ready_s = time.perf_counter() - began
    return server


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", f"/v2/models/{MODEL}/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
