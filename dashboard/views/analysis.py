"""The market's data: price and volume, features, what is to be said of returns. Of the tabs one is computed."""

from __future__ import annotations

import streamlit as st

from dashboard import parts, parts_now, shell, text
from dashboard import parts_analysis as own
from dashboard.charts import analysis as charts
from dashboard.charts.regimes import regime_figure
from dashboard.data import analysis as data

RANGES = {"1d": 1, "1w": 7, "1m": 30, "3m": 91, "1y": 365, "all": None}
IN_WORDS = {"1d": "1 day", "1w": "1 week", "1m": "1 month", "3m": "3 months", "1y": "1 year", "all": "All"}
# What changes here is a bar among thousands.
REFRESH_S = 4 * shell.REFRESH_S


@st.fragment(run_every=REFRESH_S)
@shell.explained
def live() -> None:
    """The whole page in one piece; of its tabs only the open one is computed."""
    home = shell.home()
    if home is None:
        st.info(f"No bars yet. The feature pipeline brings them {shell.when('feature')}.")
        return
    parts_now.bars(home)
    chosen = st.segmented_control(
        "Time shown, back from the newest bar",
        list(RANGES),
        default="1m",
        required=True,
        format_func=IN_WORDS.__getitem__,
        key="range",
        bind="query-params",
    )
    tabs = st.tabs(list(TABS), key="show", bind="query-params")
    for tab, (question, draw) in zip(tabs, TABS.values(), strict=True):
        if tab.open:
            with tab:
                st.header(question, anchor=False)
                draw(RANGES[chosen])


def _price(days: int | None) -> None:
    price = shell.read(data.read_price, days, of=["bars"])
    if price is None:
        return
    own.price_cards(price)
    parts.chart(
        charts.price_figure(price, shell.market().settings.market.currency, shell.zone()),
        "price",
        "Candlesticks of the price, and the volume below",
    )
    own.say(
        f"Each candle is {text.duration(price.step)}; a hollow one rose, a filled one fell. "
        f"{price.bars:,} bars, {price.missing:,} missing."
        + (" The price axis is logarithmic." if charts.is_logarithmic(price) else "")
    )


def _features(days: int | None) -> None:
    chosen = own.choose_features(shell.market().spec.features)
    lines = shell.read(data.read_lines, days, chosen, of=["features"])
    if lines:
        parts.chart(charts.lines_figure(lines, shell.zone()), "lines", f"Over time: {', '.join(lines)}")
    else:
        own.say("No value of these is known in this time: a feature counts once it has bars enough behind it.")
    own.explain_features(shell.market().spec.features, chosen)


def _correlations(days: int | None) -> None:
    groups = own.choose_groups(shell.market().spec.features)
    found = shell.read(data.read_correlations, days, groups, of=["features"]) if groups else None
    if found is None or len(found.names) < 2:
        own.say("Choose a group." if not groups else "Too few complete rows of features in this time.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        parts.chart(charts.correlation_figure(found), "correlations", "Heat map of correlations")
    with right:
        own.pairs(data.strongest(found, 12), found.rows)


def _distributions(days: int | None) -> None:
    what, unit, tails = own.choose_values(shell.market().spec)
    found = shell.read(data.read_distribution, days, what, of=["bars", "features"])
    if found is None:
        own.say("Too few values in this time, or all of them are the same.")
        return
    parts.chart(charts.distribution_figure(found, unit, tails=tails), "histogram", "Histogram and normal distribution")
    own.moments(found, unit)


def _seasons(days: int | None) -> None:
    zone = shell.zone().name
    own.seasons(*shell.read(data.read_seasons, days, zone, of=["bars"]), zone)


def _volatility(days: int | None) -> None:
    found = shell.read(data.read_volatility, days, of=["bars"])
    if found.notna().sum() < 2:
        own.say("Too few bars in this time.")
        return
    parts.chart(
        charts.volatility_figure(found, own.SMOOTH, shell.zone()), "volatility", "Realised volatility over time"
    )
    own.volatility_words(found)


def _memory(days: int | None) -> None:
    found = shell.read(data.read_memory, days, of=["bars"])
    if found is None:
        own.say("Too few bars in this time.")
        return
    minutes = shell.market().spec.interval.seconds / 60
    for what, title, sentence in own.MEMORIES:
        st.markdown(f"**{title}**")
        own.say(sentence)
        parts.chart(charts.memory_figure(found, what, minutes), f"memory {what}", f"Autocorrelations: {title}")


def _regimes(days: int | None) -> None:
    found = shell.read(data.read_regimes, days, of=["forecasts", "bars"])
    if found is None:
        own.say(f"No forecast in this time names a regime. The inference pipeline runs {shell.when('inference')}.")
        return
    currency = shell.market().settings.market.currency
    parts.chart(regime_figure(found, currency, shell.zone()), "regimes", "Price and the regimes behind it, by name")
    horizon = shell.market().settings.forecast.horizon_bars * shell.market().spec.interval.delta
    own.regime_table(found, text.duration(horizon))


TABS = {
    "Price": ("Price and volume", _price),
    "Features": ("Any feature over time", _features),
    "Correlations": ("What moves together", _correlations),
    "Distributions": ("How values are distributed", _distributions),
    "Seasons": ("When the market is busy", _seasons),
    "Volatility": ("How wild it is", _volatility),
    "Memory": ("Does a move say anything about later ones?", _memory),
    "Regimes": ("Regimes on the price", _regimes),
}
live()
