from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from cryptosentinel.errors import ServingError
from serving import process, running_predictor, server, start_predictor
from serving.state import read_state, remove_state, state_path, write_state
from tests.serving.builders import instances, make_random_walk
from tests.serving.conftest import MARKET
from tests.serving.processes import run_python, serve_folder, settings_for, wait_for_line


def test_it_leaves_its_address_while_it_answers(running):
    assert running_predictor(running.home) == running.process.url
    state = read_state(running.home)
    assert (state.pid, state.grpc) == (running.process.process.pid, running.process.grpc)
    assert running.process.running


def test_a_second_one_in_the_same_folder_is_refused(running, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "ORPHAN_S", 0.2)
    with pytest.raises(ServingError, match="answers already at"):
        start_predictor(settings_for(running.home), store_root=running.home, market=MARKET, log_path=tmp_path / "log")


@pytest.mark.parametrize("setting", ["http_port", "grpc_port"])
def test_a_port_in_use_is_named_with_its_setting(running, tmp_path, setting):
    taken = urlsplit(running.process.url).port if setting == "http_port" else int(running.process.grpc.split(":")[1])
    with pytest.raises(ServingError) as raised:
        start_predictor(
            settings_for(tmp_path, **{setting: taken}), store_root=tmp_path, market=MARKET, log_path=tmp_path / "log"
        )
    assert f"port {taken} on 127.0.0.1 is in use" in str(raised.value)
    assert f"serving.{setting}" in str(raised.value)
    assert "exit code 1" in str(raised.value)


def test_answers_need_not_wait_for_another_packet():
    with server._listen("127.0.0.1", 0, "x") as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            # What asyncio asks before it sets TCP_NODELAY.
            assert accepted.proto == socket.IPPROTO_TCP


def test_a_state_file_of_a_dead_process_counts_for_nothing(tmp_path):
    write_state(state_path(tmp_path), url="http://x", grpc="x", model_name="m")
    assert running_predictor(tmp_path) == "http://x"
    state = json.loads(state_path(tmp_path).read_text())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    state_path(tmp_path).write_text(json.dumps(state | {"pid": child.pid}))
    assert running_predictor(tmp_path) is None
    # Another process may have got the number since.
    state_path(tmp_path).write_text(json.dumps(state | {"started_at": state["started_at"] - 3600}))
    assert running_predictor(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_state_file_counts_for_nothing(tmp_path, content):
    path = state_path(tmp_path)
    path.parent.mkdir()
    path.write_text(content)
    assert running_predictor(tmp_path) is None
    remove_state(path)
    assert path.exists()


def test_only_its_own_state_file_is_removed(tmp_path):
    path = state_path(tmp_path)
    write_state(path, url="http://x", grpc="x", model_name="m")
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"pid": os.getppid()}))
    remove_state(path)
    assert path.exists()
    path.write_text(json.dumps(state))
    remove_state(path)
    assert not path.exists()


def test_what_it_accepted_is_answered_before_it_ends(tmp_path):
    make_random_walk(tmp_path / "bundle")
    (tmp_path / "bundle" / "registered.json").write_text('{"version": 5}')
    state = tmp_path / "state.json"
    with serve_folder(tmp_path / "bundle", state) as child:
        assert "bundle_version=5" in wait_for_line(child, " ready ")
        address = urlsplit(json.loads(state.read_text())["url"])
        body = json.dumps({"instances": instances(1)}).encode()
        head = (
            f"POST /v1/models/cryptosentinel:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            "expect: 100-continue\r\n\r\n"
        )
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head.encode())
            assert b" 100 " in connection.recv(65536)  # now it waits for the body
            child.send_signal(signal.SIGTERM)
            while True:  # until it listens no more
                try:
                    socket.create_connection((address.hostname, address.port), timeout=1).close()
                except OSError:
                    break
            connection.sendall(body)
            answered = b"".join(iter(lambda: connection.recv(65536), b""))
        assert child.wait(20) == 0
    assert answered.startswith(b"HTTP/1.1 200")
    assert b'"bundle_version":5' in answered
    assert not state.exists()


def test_it_ends_when_the_process_that_started_it_is_gone(tmp_path):
    make_random_walk(tmp_path / "bundle")
    # Our own parent is not the one that starts it: as if that had gone.
    with serve_folder(tmp_path / "bundle", tmp_path / "state.json", "--parent-pid", str(os.getppid())) as child:
        wait_for_line(child, "is gone")
        assert child.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--bundle", "nowhere"], 1, "nowhere is no bundle: it has no manifest.json"),
        (["--bundle", "x", "--settings", '{"serving.http_port": -1}'], 2, "serving.http_port"),
        (["--bundle", "x", "--settings", "{"], 2, "--settings"),
        ([], 2, "either --bundle or --store-root"),
    ],
    ids=["no bundle", "a wrong setting", "settings that are no JSON", "nothing to serve"],
)
def test_a_wrong_start_is_explained(arguments, code, said):
    free = ["--settings", '{"serving.http_port": 0, "serving.grpc_port": 0}'] if "--settings" not in arguments else []
    done = run_python("-m", "serving.server", *free, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_starts_without_kserve():
    script = "import sys, typer, serving.commands as c; c.add_commands(typer.Typer()); print('kserve' in sys.modules)"
    done = run_python("-c", script)
    assert done.stdout.strip() == "False", done.stderr


def test_kserve_does_not_read_our_command_line():
    script = "import sys; sys.argv = ['x', '--workers', 'many']; import serving._kserve; print(sys.argv)"
    done = run_python("-c", script)
    assert "'many'" in done.stdout, done.stderr
