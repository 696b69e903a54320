"""The image of a Hugging Face Space: a demo that goes on, as user 1000, on port 7860, with nothing from outside."""

from __future__ import annotations

import time

import pytest

from tests.images.containers import Container, docker

ALLOWED = ("--read-only", "--tmpfs", "/tmp:rw,exec,size=1g", "--cap-drop", "ALL", "--network", "none")
SMALL = (
    "--days 0.25 --set training.window_days=2 --set training.min_rows=50 --set gate.min_independent_labels=5 "
    "--set training.candidates=random_walk,ridge"
)
PATIENCE_S = 400.0


@pytest.fixture
def space(image):
    container = Container(docker("run", "--detach", *ALLOWED, "--env", f"DEMO_ARGUMENTS={SMALL}", image("space")))
    yield container
    print(docker("logs", container.id, check=False))
    docker("rm", "--force", "--volumes", container.id, check=False)


def test_a_space_shows_a_demo_and_ends_when_it_is_told_to(space):
    ask = (
        "from urllib.request import urlopen\n"
        "try: print(urlopen('http://127.0.0.1:7860/_stcore/health').read().decode())\n"
        "except OSError: print('')"
    )
    deadline = time.monotonic() + PATIENCE_S
    while space.python(ask) != "ok":
        assert space.state["Running"], "it ended"
        assert time.monotonic() < deadline, "it never answered"
        time.sleep(2)
    forecasts = space.python(
        "from cryptosentinel.config import load_settings\n"
        "from cryptosentinel.workspace import stored_workspace\n"
        "workspace = stored_workspace(load_settings(environ={}, overrides={'home': '/tmp/demo'}))\n"
        "print(len(workspace.storage.log.read_forecasts('bitcoin')))"
    )
    assert int(forecasts) >= 72
    code, seconds = space.end()
    assert (code, seconds < 20) == (143, True)
