"""The doctor says what is missing, and what to do about it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from cryptosentinel import doctor
from cryptosentinel.config import DriftSettings, Settings, load_settings
from cryptosentinel.doctor import Check
from cryptosentinel.drift import detectors
from cryptosentinel.storage import open_storage


def settings(**overrides: Any) -> Settings:
    return load_settings(environ={}, overrides={name.replace("__", "."): value for name, value in overrides.items()})


@contextmanager
def server(answers: Mapping[str, int], *, date: str | None = None) -> Iterator[int]:
    """The port of an HTTP server that answers these paths with these codes and 404 to the rest."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(answers.get(self.path, 404))
            self.send_header("Date", date or formatdate(usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield httpd.server_port
        finally:
            httpd.shutdown()
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def verdicts(found: Iterator[Check]) -> list[bool]:
    return [check.ok for check in found]


def lock(folder: Path, **versions: str) -> Path:
    path = folder / "main.txt"
    path.write_text("# made by uv\n" + "".join(f"{n}=={v} \\\n    --hash=sha256:0\n" for n, v in versions.items()))
    return path


def test_all_is_looked_at_and_only_what_is_wrong_has_a_remedy(tmp_path: Path) -> None:
    ports = dict.fromkeys(("serving__http_port", "serving__grpc_port", "dashboard__port"), 0)
    found = doctor.checks(settings(home=tmp_path / "home", market__source="simulated", **ports))
    assert len(found) == 12
    assert all(bool(check.remedy) != check.ok for check in found)
    assert not (tmp_path / "home").exists()


def test_python_is_at_least_3_11() -> None:
    assert doctor.check_python((3, 11, 0)).ok
    assert not doctor.check_python((3, 10, 13)).ok


def test_packages_are_the_locked_ones(tmp_path: Path) -> None:
    numpy, pandas = metadata.version("numpy"), metadata.version("pandas")
    assert doctor.check_packages(lock(tmp_path, numpy=numpy, pandas=pandas)).detail == "2 as locked"
    assert doctor.check_packages(tmp_path / "absent.txt").ok

    other = doctor.check_packages(lock(tmp_path, numpy="1.0", pandas=pandas))
    assert (other.ok, other.required, other.detail) == (False, False, f"numpy {numpy} (locked: 1.0)")

    missing = doctor.check_packages(lock(tmp_path, numpy="1.0", absent="1.0"))
    assert (missing.ok, missing.required, missing.detail) == (False, True, "missing: absent")


def test_packages_for_other_machines_need_not_be_there(tmp_path: Path) -> None:
    path = lock(tmp_path, numpy=metadata.version("numpy"))
    path.write_text(path.read_text() + "colorama==0.4 ; sys_platform == 'win32' \\\n    --hash=sha256:0\n")
    assert doctor.check_packages(path).detail == "1 as locked"


def test_the_drift_environment_is_optional_but_must_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "ENVIRONMENT", tmp_path / "absent")
    for detector, ok in (("auto", True), ("tabular", False)):
        check = doctor.check_drift_environment(DriftSettings(detector=detector))
        assert (check.ok, check.required, check.detail) == (ok, False, "absent: SciPy looks for drift")
    python = tmp_path / "python"
    for script, ok in [("echo 0.13.0", True), ("exit 1", False)]:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        check = doctor.check_drift_environment(DriftSettings(python=str(python)))
        assert (check.ok, check.required) == (ok, False)


def test_the_home_folder_can_be_made_or_written(tmp_path: Path) -> None:
    assert doctor.check_home(tmp_path).ok
    assert doctor.check_home(tmp_path / "a" / "b").ok
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    check = doctor.check_home(tmp_path / "file" / "home")
    assert not check.ok
    assert f"cannot write in {tmp_path / 'file'}" in check.detail
    assert not doctor.check_home(Path("/proc/home")).ok


def test_room_on_disk_is_that_of_the_nearest_folder_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_disk(tmp_path / "a" / "b").detail == doctor.check_disk(tmp_path).detail
    monkeypatch.setattr(doctor, "FREE_DISK_GB", 1e9)
    assert not doctor.check_disk(tmp_path).ok


def test_little_memory_is_a_warning() -> None:
    little, much, here = doctor.check_memory(1.9), doctor.check_memory(2.1), doctor.check_memory()
    assert (little.ok, little.required, much.ok) == (False, False, True)
    assert float(here.detail.split()[0]) > 0.1


def test_a_port_is_free_or_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        http, grpc, board = doctor.check_ports(
            settings(serving__http_port=free_port(), serving__grpc_port=port, dashboard__port=0)
        )
    assert (http.ok, grpc.ok, board.ok) == (True, False, True)
    assert str(port) in grpc.name
    assert "serving.grpc_port=0" in grpc.remedy


def test_two_servers_cannot_have_one_port() -> None:
    port = free_port()
    same = settings(serving__http_port=port, serving__grpc_port=0, dashboard__port=port)
    assert verdicts(doctor.check_ports(same)) == [True, True, False]
    any_port = settings(serving__http_port=0, serving__grpc_port=0, dashboard__port=0)
    assert verdicts(doctor.check_ports(any_port)) == [True, True, True]


def test_a_host_that_this_machine_is_not_cannot_be_listened_on() -> None:
    elsewhere = settings(serving__host="192.0.2.1", serving__http_port=0, serving__grpc_port=0, dashboard__port=0)
    assert verdicts(doctor.check_ports(elsewhere)) == [False, False, True]


def test_a_port_that_our_own_servers_have_is_fine() -> None:
    with (
        server({"/v2/models/cryptosentinel": 200}) as http,
        server({"/_stcore/health": 200}) as board,
        socket.create_server(("127.0.0.1", 0)) as grpc,
    ):
        ours = settings(serving__http_port=http, serving__grpc_port=grpc.getsockname()[1], dashboard__port=board)
        assert verdicts(doctor.check_ports(ours)) == [True, True, True]
    with server({"/v2/models/somebody": 200}) as http, server({"/": 200}) as board:
        theirs = settings(serving__http_port=http, serving__grpc_port=0, dashboard__port=board)
        assert verdicts(doctor.check_ports(theirs)) == [False, True, False]


@pytest.mark.parametrize("source", ["auto", "coingecko"])
@pytest.mark.parametrize(("code", "ok"), [(200, True), (429, True), (500, False)])
def test_coingecko_answers_or_is_missed(source: str, code: int, ok: bool) -> None:
    with server({"/api/ping": code}) as port:
        base_url = f"http://127.0.0.1:{port}/api"
        check = doctor.check_source(settings(market__source=source, market__coingecko__base_url=base_url))
    assert (check.ok, check.required) == (ok, False)
    assert ("simulated prices" in check.detail) == (not ok and source == "auto")


def test_what_a_source_cannot_do_at_all_must_be_mended() -> None:
    check = doctor.check_source(settings(market__source="coingecko", market__interval="1m"))
    assert (check.ok, check.required) == (False, True)
    assert "1-minute" in check.detail
    check = doctor.check_source(settings(market__source="exchange:nosuchexchange"))
    assert (check.ok, check.required) == (False, True)


def test_a_file_of_bars_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    absent = doctor.check_source(settings(market__source=f"file:{path}"))
    assert (absent.ok, absent.required) == (False, True)
    path.write_text("")
    assert doctor.check_source(settings(market__source=f"file:{path}")).ok


def test_the_clock_is_compared_with_a_servers() -> None:
    for ago_s, ok in [(5, True), (-5, True), (3600, False), (-3600, False)]:
        with server({}, date=formatdate(time.time() - ago_s, usegmt=True)) as port:
            assert doctor.check_clock(f"http://127.0.0.1:{port}/ping").ok == ok
    with server({}, date="yesterday") as port:
        assert doctor.check_clock(f"http://127.0.0.1:{port}/ping").detail == "plausible"


def test_without_a_server_the_clock_must_be_past_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_clock(None).ok
    assert doctor.check_clock(f"http://127.0.0.1:{free_port()}/ping").ok
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not doctor.check_clock(None).ok


def test_stores_are_read_and_none_is_made(tmp_path: Path) -> None:
    at_home = settings(home=tmp_path / "home")
    (none,) = doctor.check_stores(at_home)
    assert (none.ok, none.detail) == (True, "none yet, made when first needed")
    assert not at_home.home.exists()

    open_storage(at_home.storage, root=at_home.home / "simulated-0", market="bitcoin-usd-5m-simulated")
    (sound,) = doctor.check_stores(at_home)
    assert sound.ok
    assert "bitcoin-usd-5m-simulated" in sound.detail

    marker = at_home.home / "simulated-0" / "store" / "store.json"
    for damage in (json.dumps({**json.loads(marker.read_text()), "format_version": 99}), "{", "[]"):
        marker.write_text(damage)
        (check,) = doctor.check_stores(at_home)
        assert (check.ok, check.required) == (False, True)
        assert check.remedy


def test_the_store_is_looked_for_where_the_settings_say(tmp_path: Path) -> None:
    here = settings(home=tmp_path / "home", storage__uri=str(tmp_path / "lake"))
    open_storage(here.storage, root=here.home, market="bitcoin-usd-5m-simulated")
    (check,) = doctor.check_stores(here)
    assert str(tmp_path / "lake") in check.detail
    (remote,) = doctor.check_stores(settings(storage__uri="s3://bucket/prefix"))
    assert (remote.ok, remote.required) == (True, False)
