"""What the README tells a newcomer to send is what the server takes."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import httpx
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
COMMANDS = re.findall(r"^curl [^']*?(?:'[^']*'[^']*?)*$", README.read_text(), re.MULTILINE)
# What curl calls a body that no header speaks for.
FORM = "application/x-www-form-urlencoded"


def send(command: str, url: str) -> httpx.Response:
    """As curl would, to the server at `url`."""
    curl = ArgumentParser()
    curl.add_argument("url")
    curl.add_argument("-H", action="append", default=[])
    curl.add_argument("-d")
    asked = curl.parse_args(shlex.split(command)[1:])
    headers = dict(header.split(": ", 1) for header in asked.H)
    if asked.d:
        headers = {"Content-Type": FORM} | headers
    path = asked.url.removeprefix("http://127.0.0.1:8085")
    return httpx.request("POST" if asked.d else "GET", url + path, content=asked.d, headers=headers, trust_env=False)


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_a_request_of_the_readme_is_answered(running, command):
    response = send(command, running.process.url)
    assert response.status_code == 200, response.text
    assert response.json().keys() & {"outputs", "inputs"}


def test_the_readme_has_requests():
    assert len(COMMANDS) == 2
