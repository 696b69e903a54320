"""What the first page draws and measures, once for all viewers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta

import plotly.graph_objects as go

from cryptosentinel.predicting import Accuracy, measure
from cryptosentinel.workspace import Workspace
from dashboard import shell
from dashboard.charts.price import error_chart, price_chart
from dashboard.data.home import Home, settled, since
from dashboard.zone import Zone


@dataclass(frozen=True)
class Drawn:
    """Figures of one moment.

    Attributes:
        price: candles and forecasts.
        errors: of the forecasts of these hours; None where none of them is settled.
        record: of all of `Home.forecasts`.
    """

    price: go.Figure
    errors: go.Figure | None
    record: Accuracy


def drawn(home: Home, hours: int) -> Drawn:
    """What there is to be seen of so many hours; `home` is that of `shell.home`."""
    known = (home.quote.at, len(home.forecasts), int(home.forecasts["outcome"].notna().sum()))
    return shell.read(_drawn, known, hours, shell.zone(), home.expired, of=("bars", "forecasts"))


def _drawn(workspace: Workspace, _known: Hashable, hours: int, zone: Zone, expired: bool) -> Drawn:
    home = shell.home()
    assert home is not None  # `known` was read of one
    currency = workspace.settings.market.currency
    recent = settled(since(home.forecasts, "target_at", home.quote.at - timedelta(hours=hours)))
    return Drawn(
        price=price_chart(home.bars, home.forecasts, home.interval, hours, currency, zone, expired=expired),
        errors=None if recent.empty else error_chart(recent, home.interval, zone),
        record=measure(home.forecasts),
    )
