"""How long work shows itself."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.console import Stages


def stages(total: int = 2) -> tuple[Stages, io.StringIO]:
    file = io.StringIO()
    return Stages(total, Console(file=file, width=80)), file


def test_a_stage_is_a_line_in_a_log_with_what_it_said_last() -> None:
    shown, file = stages()
    with shown.stage("Feature pipeline") as say:
        say("ingest")
        say("x" * 100)
    with shown.stage("Next"):
        pass
    lines = file.getvalue().splitlines()
    assert lines[0].startswith(f"[1/2] Feature pipeline: {'x' * 100} (")
    assert lines[1].startswith("[2/2] Next (")
    assert "ingest" not in file.getvalue()


def test_a_stage_that_fails_is_not_shown_as_done() -> None:
    shown, file = stages()
    with pytest.raises(ValueError, match="no"), shown.stage("Feature pipeline"):
        raise ValueError("no")
    assert file.getvalue() == ""


def test_brackets_in_what_is_said_are_shown_as_they_are() -> None:
    shown, file = stages()
    with shown.stage("Source [red]") as say:
        say("file:[bold]a")
    shown.notice("[b]beware")
    assert "Source [red]: file:[bold]a" in file.getvalue()
    assert "! [b]beware" in file.getvalue()
