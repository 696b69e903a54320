"""What is served, `app.py` and its pages at their addresses: `streamlit run dashboard/served.py -- --settings JSON`.

A browser that opens a page at its address asks for the server below that address first, and its console shows that this
fails (Streamlit's issue 7074). Here each page says where the server is.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from streamlit.file_util import get_static_dir

from dashboard.page_list import PAGES

SCRIPT = Path(__file__).with_name("app.py")
# A page lies beside the server's own address, whatever a proxy puts before it. A Streamlit that no longer knows this
# name searches as before.
_HINT = '<head><script>window.__streamlit = {BACKEND_BASE_URL: new URL(".", location.href).href}</script>'


def page(request: Request) -> Response:  # noqa: ARG001 (Starlette gives it)
    """What Streamlit sends for every page, and where the server is."""
    index = Path(get_static_dir(), "index.html").read_text(encoding="utf-8")
    return HTMLResponse(index.replace("<head>", _HINT, 1), headers={"Cache-Control": "no-cache"})


_BASE = "/".join(["", *filter(None, st.get_option("server.baseUrlPath").split("/"))])
_ADDRESSES = [each.address for listed in PAGES.values() for each in listed if each.address]
app = st.App(SCRIPT, routes=[Route(f"{_BASE}/{address}", page) for address in _ADDRESSES])
