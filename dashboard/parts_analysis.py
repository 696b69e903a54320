"""Pieces of the page Data analysis: what is chosen, and what is said beside the charts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd
import streamlit as st

from cryptosentinel.features import Feature, FeatureSpec
from dashboard import parts, text
from dashboard.charts.analysis import season_figure, told
from dashboard.charts.regimes import REGIMES
from dashboard.data.analysis import RETURN, Price, Regimes
from dashboard.data.statistics import Distribution
from dashboard.text import name, plain

MEASURES = {"return": "Mean return", "volatility": "Volatility", "volume": "Volume"}
SMOOTH = 20
MEMORIES = (
    (
        "returns",
        "Returns",
        "Whether a rise is followed by another rise (above 0) or by a fall (below). Bars within the grey band are what "
        "chance makes.",
    ),
    (
        "sizes",
        "Sizes of returns, up or down alike",
        "Whether a large move is followed by large moves. Markets remember this for days, and it is what makes the "
        "width of a forecast worth something.",
    ),
)
NONE = "none"
_CHOICES = {"first": "rsi_14", "second": "realised_volatility_36", "third": NONE}


def say(sentence: str) -> None:
    """A sentence in grey, whatever is in it."""
    parts.aside(plain(sentence))


def price_cards(price: Price) -> None:
    """The stretch in four figures."""
    with st.container(horizontal=True, gap="small"):
        length = text.duration(price.end - price.start)
        parts.card("Change", f"{text.arrow(price.change)} {text.change(price.change)}", f"in {length}")
        parts.card("Highest", text.price(price.highest), "of all prices")
        parts.card("Lowest", text.price(price.lowest), f"{1 - price.lowest / price.highest:.1%} lower")
        parts.card("Volume", text.UNKNOWN if pd.isna(price.volume) else f"{price.volume:,.0f}", "coins")


def choose_features(features: Sequence[Feature]) -> tuple[str, ...]:
    """Which features are drawn, each once; they are listed by group."""
    groups = {feature.name: name(feature.group) for feature in features}
    chosen = []
    for column, (key, first) in zip(st.columns(len(_CHOICES), gap="small"), _CHOICES.items(), strict=True):
        with column:
            chosen.append(
                st.selectbox(
                    f"{name(key)} feature",
                    list(groups) if key == "first" else [NONE, *groups],
                    index=list(groups).index(first) if key == "first" else [NONE, *groups].index(first),
                    format_func=lambda each: f"{groups[each]}: {each}" if each in groups else each,
                    key=key,
                    bind="query-params",
                    help="Type to search by group or name.",
                )
            )
    return tuple(dict.fromkeys(each for each in chosen if each in groups))


def explain_features(features: Sequence[Feature], chosen: Sequence[str]) -> None:
    """What the chosen ones are, in a sentence each, and all of them as a table."""
    for feature in features:
        if feature.name in chosen:
            used = "feeds the models" if feature.feeds_models else "is for people: models do not see it"
            st.markdown(f"- **{plain(feature.name)}**: {plain(feature.description)}; {used}.")
    with st.expander(f"All {len(features)} features, and what they are"):
        table = pd.DataFrame(
            {
                "Group": [name(feature.group) for feature in features],
                "Feature": [feature.name for feature in features],
                "What it is": [feature.description for feature in features],
                "Feeds models": ["yes" if feature.feeds_models else "no" for feature in features],
                "Bars it needs": [feature.warm_up_bars for feature in features],
            }
        )
        st.dataframe(table, hide_index=True, alt="All features with group and description")


def choose_groups(features: Sequence[Feature]) -> tuple[str, ...]:
    """Which groups of features are correlated."""
    groups = list(dict.fromkeys(feature.group for feature in features))
    chosen = st.pills(
        "Groups",
        groups,
        selection_mode="multi",
        default=["momentum", "returns", "volume"],
        format_func=name,
        key="groups",
        bind="query-params",
    )
    return tuple(group for group in groups if group in chosen)


def pairs(table: pd.DataFrame, rows: int) -> None:
    """The pairs that move together most."""
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        column_config={"Correlation": st.column_config.NumberColumn(format="%+.2f")},
        alt="The strongest correlations",
    )
    say(
        f"Pearson's correlation over {rows:,} complete rows, evenly taken: +1 moves together, -1 against each "
        "other, 0 tells nothing (of a straight line)."
    )


def choose_values(spec: FeatureSpec) -> tuple[str, str, bool]:
    """Whose values are distributed, their unit, and whether the tails are looked at."""
    lengths = {spec.interval.delta, timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)}
    counts = sorted(length // spec.interval.delta for length in lengths if length >= spec.interval.delta)
    returns = {f"{RETURN} {count}": f"Return over {text.duration(count * spec.interval.delta)}" for count in counts}
    groups = {feature.name: f"{name(feature.group)}: {feature.name}" for feature in spec.features}
    labels = returns | groups
    with st.container(horizontal=True, vertical_alignment="bottom"):
        what = st.selectbox(
            "Values of", list(labels), format_func=labels.__getitem__, key="of", bind="query-params", width=360
        )
        tails = st.toggle(
            "Logarithmic", key="log", bind="query-params", help="A logarithmic axis, on which the tails are seen."
        )
    return what, "%" if what in returns else what, tails


def moments(found: Distribution, unit: str) -> None:
    """The distribution in figures."""
    suffix = "%" if unit == "%" else ""
    with st.container(horizontal=True, gap="small"):
        parts.card("Mean", told(found.mean) + suffix, f"of {found.count:,} values")
        parts.card("Standard deviation", told(found.deviation) + suffix, "how far from the mean is usual")
        parts.card(
            "Skewness",
            f"{found.skewness:+.2f}",
            "0 is symmetric",
            explained="Below 0, the far values are low ones more often than high ones; above 0, the other way round.",
        )
        parts.card(
            "Heavy tails",
            f"{found.tails:+.1f}",
            "0 is as the normal's",
            explained="Excess kurtosis: how much more of the spread comes from few far values than in a normal "
            "distribution.",
        )
        parts.card("Farthest value", f"{found.farthest:.1f}", "standard deviations from the mean")
    table = found.quantiles.assign(**{"Share below": 100 * found.quantiles["Share below"]})
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Share below": st.column_config.NumberColumn(format="%.1f%%"),
            "Value": st.column_config.NumberColumn(format="%.4g"),
            "Normal": st.column_config.NumberColumn(
                "A normal would have", format="%.4g", help="A normal distribution of the same mean and deviation."
            ),
        },
        alt="Quantiles of the values and of the normal distribution",
    )
    say("The outermost thousandth on either side is not in the picture; the figures count it.")


def seasons(hours: pd.DataFrame, weekdays: pd.DataFrame, zone: str) -> None:
    """A column of charts for the hours, and one for the weekdays."""
    say(
        f"Hours and days are those of {zone}; whiskers are 95% intervals of the mean. Volatility and volume are held "
        "against the mean of the same day (week), which is 1x. Of 24 intervals about one misses the dotted line by "
        "chance alone."
    )
    columns = st.columns(2, gap="medium")
    for column, table, what, weekly in zip(columns, (hours, weekdays), ("hour", "weekday"), (False, True), strict=True):
        with column:
            if table.empty:
                say(f"Not enough whole {'weeks' if weekly else 'days'} in this time: four are needed.")
                continue
            for measure, title in MEASURES.items():
                st.markdown(f"**{title} by {what}**")
                parts.chart(
                    season_figure(table, measure, weekdays=weekly),
                    f"{measure} {what}",
                    f"{title} by {what}, with 95% intervals",
                )


def volatility_words(found: pd.Series) -> None:
    """What the chart of volatility shows."""
    known = found.dropna()
    step = text.duration((found.index[1] - found.index[0]).to_pytimedelta())
    say(
        f"Realised volatility of each {step}, from the returns of its bars, as if it went on for a year; the bold line "
        f"is that of the last {SMOOTH}, the dotted one that of the whole time. Half of them lie between "
        f"{known.quantile(0.25):.0f}% and {known.quantile(0.75):.0f}%."
    )


def regime_table(found: Regimes, horizon: str) -> None:
    """The regimes in figures."""
    signs = {regime: f"{sign} {name(regime)}" for regime, (_, sign) in REGIMES.items()}
    table = found.table.assign(
        **{
            "Regime": found.table["Regime"].map(signs),
            "Typical stay": [text.duration(stay) for stay in found.table["Typical stay"]],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Of the time": st.column_config.NumberColumn(format="%.0f%%"),
            "Typical stay": st.column_config.TextColumn(help="The median time until another regime is named."),
            "Typical move": st.column_config.NumberColumn(
                f"Typical move, {horizon}", format="%.2f%%", help="The median move that followed, up or down alike."
            ),
        },
        alt="Each regime with its share of the time, typical stay and typical move",
    )
    say(
        "As each forecast named it, by the model that made it. Behind the price is the regime of most forecasts in "
        f"each {text.duration(found.step)}; the lanes below show how much of the time was in each."
    )
