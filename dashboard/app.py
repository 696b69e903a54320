"""The dashboard's entry: `streamlit run dashboard/app.py -- --settings JSON`, as `cryptosentinel up` starts it.

The JSON is `Settings.public_json()`; without it, the market used last on this machine is shown.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import shell
from dashboard.page_list import PAGES

st.set_page_config("CryptoSentinel", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
pages = {
    group: [
        st.Page(
            f"views/{each.file}.py",
            title=each.title,
            icon=f":material/{each.icon}:",
            url_path=each.address or None,
            default=not each.address,
        )
        for each in listed
    ]
    for group, listed in PAGES.items()
}
page = st.navigation(pages, position="top")  # a chart wants the whole width
shell.style()
shell.menu(pages, page.url_path)


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def header() -> None:
    """On every page."""
    shell.header("" if page.url_path == "" else page.title)


with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
    with st.container(width="content"):
        header()
    shell.choose_zone()
shell.explained(page.run)()
