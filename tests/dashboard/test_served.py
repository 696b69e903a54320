"""The dashboard as Streamlit serves it, seen by a viewer."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.cluster.viewer import look
from tests.dashboard.builders import settings_for, with_forecasts

ROOT = Path(__file__).resolve().parents[2]


def test_who_looks_at_it_sees_its_figures(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with_forecasts(settings, datetime.now(UTC))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    app = [str(ROOT / "dashboard" / "served.py"), *options, "--", "--settings", settings.public_json()]
    served = subprocess.Popen([sys.executable, "-m", "streamlit", "run", *app], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while not healthy(address):
            assert served.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        page = look(address)
        below = {at: read(f"{address}/{at}") for at in ("forecasts", "pipelines")}
    finally:
        served.terminate()
        served.wait()
    assert page.figures["Settled"] == "42"
    assert any("SIMULATED" in badge for badge in page.badges)
    assert page.wrong == []
    assert all("BACKEND_BASE_URL" in body and '<div id="root">' in body for body in below.values())


def read(address: str) -> str:
    with urlopen(address, timeout=5) as answer:
        return str(answer.read().decode())


def healthy(address: str) -> bool:
    try:
        with urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.read() == b"ok")
    except (URLError, OSError):
        return False
