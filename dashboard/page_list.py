"""The dashboard's pages, for whoever must know them without running one: `app`, `served`, tests in a browser."""

from __future__ import annotations

from typing import NamedTuple


class Listed(NamedTuple):
    """A page.

    Attributes:
        file: in `views`.
        title: in the navigation.
        icon: a Material symbol.
        address: below the dashboard's own; empty for the first page.
    """

    file: str
    title: str
    icon: str
    address: str


# By the name of their group; those of the first stand alone.
PAGES = {
    "": [Listed("home", "Home", "home", ""), Listed("about", "About", "info", "about")],
    "Market": [
        Listed("forecasts", "Forecasts", "query_stats", "forecasts"),
        Listed("analysis", "Data analysis", "monitoring", "analysis"),
    ],
    "Model": [
        Listed("insights", "Insights", "psychology", "insights"),
        Listed("drift", "Drift", "difference", "drift"),
    ],
    "Operations": [
        Listed("pipelines", "Pipelines", "conveyor_belt", "pipelines"),
        Listed("alerts", "Alerts", "notifications", "alerts"),
    ],
}
