"""The dashboard's entry: `streamlit run dashboard/app.py -- --settings JSON`, as `cryptosentinel up` starts it.

The JSON is `Settings.public_json()`; without it, the market used last on this machine is shown.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import shell

st.set_page_config("CryptoSentinel", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
PAGES = {
    "": [
        st.Page("views/home.py", title="Home", icon=":material/home:", default=True),
        st.Page("views/about.py", title="About", icon=":material/info:", url_path="about"),
    ],
    "Market": [
        st.Page("views/forecasts.py", title="Forecasts", icon=":material/query_stats:", url_path="forecasts"),
        st.Page("views/analysis.py", title="Data analysis", icon=":material/monitoring:", url_path="analysis"),
    ],
    "Model": [
        st.Page("views/insights.py", title="Insights", icon=":material/psychology:", url_path="insights"),
        st.Page("views/drift.py", title="Drift", icon=":material/difference:", url_path="drift"),
    ],
    "Operations": [
        st.Page("views/pipelines.py", title="Pipelines", icon=":material/conveyor_belt:", url_path="pipelines"),
        st.Page("views/alerts.py", title="Alerts", icon=":material/notifications:", url_path="alerts"),
    ],
}
page = st.navigation(PAGES, position="top")  # a chart wants the whole width
shell.style()
shell.menu(PAGES, page.url_path)


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
