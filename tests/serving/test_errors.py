"""The table of errors in docs/serving.md, played against a real server."""

from __future__ import annotations

from pathlib import Path

from tests.serving.faults import faults, play, table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def test_every_row_of_the_table_is_what_a_server_answers(running):
    running.serve(1)
    answered = {name: play(fault, running.process.url, running.process.grpc) for name, fault in faults().items()}
    statuses = {answer.status for by_protocol in answered.values() for answer in by_protocol.values()}
    assert statuses <= {"400", "404", "405", "409", "413", "422", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
    lines = list(table(answered))
    documented = [line for line in DOCS.read_text(encoding="utf-8").split("## Errors")[1].splitlines() if "|" in line]
    assert documented == lines, "docs/serving.md should say:\n" + "\n".join(lines)
