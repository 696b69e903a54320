"""Whatever bars come, what cleaning lets through is clean, in any order, cut anywhere."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.market.bars import COLUMNS, PRICES, empty_bars
from tests.builders import FIVE, T0
from tests.market.dirty import BARS, cleaned

prices = st.sampled_from(
    [600.0, 601.0, 599.0, 640.0, 700.0, 500.0, 1000.0, 2400.0, 0.01, 1e9, 0.0, -5.0, np.nan, np.inf]
)
volumes = st.sampled_from([0.0, 1.0, 2.0, 5.0, -1.0, np.nan, np.inf])
rows = st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 0, 0, 1000]), prices, prices, prices, prices, volumes)


@st.composite
def wild_bars(draw: st.DrawFn) -> pd.DataFrame:
    """Good bars with anything among them."""
    wild = draw(st.lists(rows, max_size=25))
    good = BARS[: draw(st.integers(0, 40))]
    content = [
        ("bitcoin", T0 + step * FIVE.delta + timedelta(milliseconds=offset), *values, "test")
        for step, offset, *values in wild
    ]
    frame = pd.DataFrame(content, columns=list(COLUMNS)).astype(empty_bars().dtypes.to_dict())
    return pd.concat([good, frame] if len(good) else [frame], ignore_index=True)


SOON = T0 + 36 * FIVE.delta


@settings(max_examples=40, deadline=None)
@given(wild_bars())
def test_what_comes_out_is_clean(given_bars: pd.DataFrame) -> None:
    bars, report = cleaned(given_bars, SOON)
    values = bars[list(PRICES)].to_numpy()
    assert list(bars.columns) == list(COLUMNS)
    assert bars.dtypes.equals(empty_bars().dtypes)
    assert bars["timestamp"].is_monotonic_increasing
    assert bars["timestamp"].is_unique
    assert (bars["timestamp"] == bars["timestamp"].dt.floor(FIVE.delta)).all()
    assert (bars["timestamp"] + FIVE.delta <= SOON).all()
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert ((bars["volume"] >= 0) & np.isfinite(bars["volume"]) | bars["volume"].isna()).all()
    assert set(bars["timestamp"]) <= set(given_bars["timestamp"])
    assert (report.bars_in, report.bars_out) == (len(given_bars), len(bars))
    gaps = [(after, before) for after, before in pairwise(bars["timestamp"]) if before - after > FIVE.delta]
    assert [(gap.after, gap.before) for gap in report.gaps] == gaps


@settings(max_examples=40, deadline=None)
@given(wild_bars())
def test_cleaning_twice_is_cleaning_once(given_bars: pd.DataFrame) -> None:
    once = cleaned(given_bars, SOON)[0]
    twice, report = cleaned(once, SOON)
    pd.testing.assert_frame_equal(twice, once)
    assert report.counts == {}


@settings(max_examples=40, deadline=None)
@given(wild_bars(), st.randoms(use_true_random=False))
def test_the_order_in_which_bars_come_does_not_matter(given_bars: pd.DataFrame, random: object) -> None:
    order = list(range(len(given_bars)))
    random.shuffle(order)  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(cleaned(given_bars.iloc[order], SOON)[0], cleaned(given_bars, SOON)[0])


@settings(max_examples=40, deadline=None)
@given(wild_bars(), st.integers(14, 60))
def test_later_bars_change_nothing_about_earlier_ones(given_bars: pd.DataFrame, cut: int) -> None:
    bars = pd.concat([BARS[:13], given_bars.assign(timestamp=given_bars["timestamp"] + 13 * FIVE.delta)])
    end = pd.Timestamp(T0 + cut * FIVE.delta)
    late = cleaned(bars)[0]
    early = cleaned(bars[bars["timestamp"] < end])[0]
    pd.testing.assert_frame_equal(early, late[late["timestamp"] < end].reset_index(drop=True))
