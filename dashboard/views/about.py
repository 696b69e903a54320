"""What this is, how each part of it stands, how good it has been, and what it is made of."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import parts, shell, text
from dashboard.charts.about import diagram
from dashboard.data import about as data

WHAT = """
CryptoSentinel forecasts a price {ahead} ahead and says how sure it is. At the close of every {bar} bar a forecast is
made. On a schedule of its own a field of models is trained and held against *the price stays where it is*; what is
trained serves only if luck does not explain that it is better. Every forecast is logged when it is made, and held
against what came.
"""
METHOD = """
- **What can be known** so shortly ahead is mostly the spread: nine quantiles from two volatility models, which settled
  forecasts go on correcting.
- **The price** is a blend of models, shrunk towards *it stays* by what unseen rows vouch for, often all the way.
- **The chance of a rise** is a calibrated probability of its own, near one half where nothing is known.
- **Nothing is measured on what it was fitted on**: choices on walk-forward folds, figures on a last block, tests that
  allow for overlapping labels, looks at the evidence that are paid for.
- **Nothing here is advice**: no figure allows for what trading costs.
"""


def page() -> None:
    """Prose around what is live."""
    workspace = shell.market()
    bar = workspace.spec.interval.delta
    ahead = workspace.settings.forecast.horizon_bars * bar
    st.header("What this is", anchor=False)
    st.markdown(WHAT.format(ahead=text.duration(ahead), bar=text.duration(bar)), width=900)
    live()
    st.header("The method in brief", anchor=False)
    st.markdown(METHOD, width=900)
    _made_of()


@st.fragment(run_every=shell.REFRESH_S)
@shell.explained
def live() -> None:
    """The diagram, and the figures."""
    now = shell.read(data.read_now, of=["clock"])
    zone = shell.zone()
    st.header("Each part, as it is now", anchor=False)
    kept = {"zone": chosen} if (chosen := st.query_params.get("zone")) else None
    st.html(diagram(data.parts(now.status, zone), kept))
    for problem in now.status.problems:
        st.warning(f"{text.plain(problem.what)} {text.plain(problem.remedy)}", icon=":material/warning:")
    st.header("The honest figures", anchor=False)
    found = data.figures(now, zone)
    if not found:
        parts.aside("Nothing has been measured yet: the first forecasts are settled half an hour after they are made.")
        return
    if now.status.simulated:
        parts.aside("Of a simulated market, whose direction nobody can forecast: what is above chance here is luck.")
    for measured_on, rows in found.items():
        st.markdown(f"**{text.plain(measured_on)}**")
        st.table(pd.DataFrame(rows.items(), columns=["Figure", "Value"]).set_index("Figure"))


def _made_of() -> None:
    st.header("What it is made of", anchor=False)
    now = shell.read(data.read_now, of=["clock"])
    st.table(data.versions(now).rename(columns=text.name).set_index("What"))
    packages = data.licences()
    with st.expander(f"Licences of the {len(packages)} packages installed here"):
        parts.aside("As each package's own metadata says. CryptoSentinel itself: Apache-2.0.")
        st.dataframe(packages.rename(columns=text.name), hide_index=True)


page()
