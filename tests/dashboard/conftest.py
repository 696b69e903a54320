"""What tests of all pages share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cryptosentinel.config import Settings
from dashboard import parts

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

HOUSE = Path(__file__).resolve().parents[2] / "dashboard"


@pytest.fixture(autouse=True)
def _own_main() -> Iterator[None]:
    """Streamlit makes a page the main module, which every process that is spawned later would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def forget() -> Callable[[], None]:
    """Makes the dashboard forget what it has read."""
    import streamlit as st

    def caches() -> None:
        st.cache_data.clear()
        st.cache_resource.clear()

    return caches


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]) -> Callable[..., AppTest]:
    """Shows a page as Streamlit runs it: by itself, which is quicker, or in the frame that all pages have.

    Without settings the market is looked for as by who names none.
    """
    from streamlit.testing.v1 import AppTest

    def run(settings: Settings | None, page: str, *, framed: bool = False, **query: str) -> AppTest:
        file = str(HOUSE / "app.py" if framed else HOUSE / "views" / f"{page}.py")
        monkeypatch.setattr(sys, "argv", [file, *(["--settings", settings.public_json()] if settings else [])])
        shown = AppTest.from_file(file, default_timeout=60)
        if framed:
            shown.switch_page(f"views/{page}.py")
        shown.query_params.update(query)
        shown.run()
        assert not shown.exception
        return shown

    forget()
    return run


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long pages waited, which they say they do and do not."""
    seconds: list[float] = []
    monkeypatch.setattr(parts, "sleep", seconds.append)
    return seconds
