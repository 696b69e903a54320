"""Raw bars in, whatever the protocol: the row that training would have made of them, or what to send instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosentinel.config import ForecastSettings
from cryptosentinel.features import compute_features
from cryptosentinel.predicting import answer_with
from serving._kserve import ForecastRequest, InvalidInput
from serving.asked import Asked, Reply, SpecMismatch
from serving.bars import MAX_BARS, MAX_VOLUME, PRICE_RANGE, Series, rows_of_bars
from serving.instances import asked_of_payload, predictions_of
from serving.timeseries import Forecast, asked_of_forecast
from serving.v2 import V2Form
from tests.builders import make_random_bars
from tests.serving.asking import NEED, as_bars, as_forecast, as_request, as_series, bars_of
from tests.serving.builders import NOW, SPEC, make_trained

FIVE = SPEC.interval.delta


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("bundle") / "trained")


@pytest.fixture(scope="module")
def manifest(bundle):
    return bundle.manifest


def over_v1(bars: pd.DataFrame, manifest: Any) -> Asked:
    return asked_of_payload({"bars": as_bars(bars), "interval": "5m"}, manifest, now=NOW)


def over_v1_in_milliseconds(bars: pd.DataFrame, manifest: Any) -> Asked:
    sent = [bar | {"timestamp": pd.Timestamp(bar["timestamp"]).value // 10**6} for bar in as_bars(bars)]
    return asked_of_payload({"series": [{"bars": sent}]}, manifest, now=NOW)


def over_v2(bars: pd.DataFrame, manifest: Any) -> Asked:
    return V2Form(manifest).asked(as_request(bars, interval="5m"), now=NOW)


def over_time_series(bars: pd.DataFrame, manifest: Any) -> Asked:
    body = as_forecast(as_series(bars))
    forecast = Forecast(ForecastRequest.model_validate(body), [one["series"] for one in body["inputs"]])
    return asked_of_forecast(forecast, manifest, now=NOW)


FORMS = [over_v1, over_v1_in_milliseconds, over_v2, over_time_series]


@pytest.mark.parametrize("form", FORMS)
def test_the_row_is_the_one_that_training_computes(form, manifest):
    bars = bars_of(1_000)
    trained_on = compute_features(bars, SPEC).iloc[-1][SPEC.model_names].to_numpy(np.float64)
    asked = form(bars, manifest)
    np.testing.assert_allclose(asked.rows.features[0], trained_on, rtol=1e-9, atol=1e-9)
    assert asked.rows.close.tolist() == [bars["close"].iloc[-1]]
    assert asked.rows.spec_hash == SPEC.hash
    assert asked.made_at == (NOW,)


@given(older=st.integers(0, 300), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_older_bars_change_nothing(manifest, older, seed):
    bars = make_random_bars(NEED + older, start=NOW - (NEED + older) * FIVE, seed=seed)
    without = over_v2(bars.iloc[older:], manifest)
    np.testing.assert_array_equal(over_v2(bars, manifest).rows.features, without.rows.features)


def test_a_gap_before_the_bars_that_count_does_not_matter(manifest):
    bars = bars_of(NEED + 50)
    gapped = pd.concat([bars.iloc[:20], bars.iloc[30:]])
    np.testing.assert_array_equal(over_v1(gapped, manifest).rows.features, over_v1(bars, manifest).rows.features)


def test_several_series_are_as_many_rows(manifest):
    first, second = bars_of(), bars_of(NEED + 7, start=NOW - timedelta(days=9))
    payload = {"series": [{"bars": as_bars(first)}, {"bars": as_bars(second)}]}
    asked = asked_of_payload(payload, manifest, now=NOW)
    expected = [over_v1(bars, manifest).rows.features[0] for bars in (first, second)]
    np.testing.assert_array_equal(asked.rows.features, expected)
    assert asked.made_at == (NOW, second["timestamp"].iloc[-1].to_pydatetime() + FIVE)


def test_a_time_without_a_zone_is_utc(manifest):
    sent = [bar | {"timestamp": bar["timestamp"].removesuffix("+00:00")} for bar in as_bars(bars_of())]
    assert asked_of_payload({"bars": sent}, manifest, now=NOW).made_at == (NOW,)


def edited(row: int, **values: Any) -> pd.DataFrame:
    bars = bars_of()
    for name, value in values.items():
        bars.loc[bars.index[row], name] = value
    return bars


def swapped() -> pd.DataFrame:
    bars = bars_of()
    order = list(range(NEED))
    order[10], order[11] = 11, 10
    return bars.iloc[order]


FAULTS: dict[str, tuple[pd.DataFrame, str]] = {
    "too few": (bars_of(NEED - 1), f"There are {NEED - 1} bars; send at least {NEED} of '5m'"),
    "one": (bars_of(1), f"send at least {NEED}"),
    "too many": (bars_of(MAX_BARS + 1), "at most 10,000"),
    "NaN": (edited(3, open=np.nan), "Bar 3: 'open' must be a positive price"),
    "an infinity": (edited(3, high=np.inf), "Bar 3: 'high' must be a positive price"),
    "a price of zero": (edited(3, low=0.0), "Bar 3: 'low' must be a positive price"),
    "a negative price": (edited(3, close=-1.0), "Bar 3: 'close' must be a positive price"),
    "a price of no market": (edited(3, close=1e300), "Bar 3: 'close' must be a positive price"),
    "negative volume": (edited(3, volume=-1.0), "Bar 3: 'volume' must be a number from 0"),
    "NaN volume": (edited(3, volume=np.nan), "Bar 3: 'volume' must be a number from 0"),
    "high below low": (edited(3, high=1.0, low=2.0), "Bar 3: 'high' is below 'low'"),
    "close above high": (edited(3, close=1e9), "Bar 3: 'open' and 'close' must lie between"),
    "not complete": (bars_of(start=NOW - (NEED - 1) * FIVE), f"Bar {NEED - 1}: it is not complete at 2025-01-08T00:00"),
}
TIMES: dict[str, tuple[pd.DataFrame, str]] = {
    "unsorted": (swapped(), "Bar 11: it opens before the bar before; send bars in ascending order"),
    "a duplicate": (bars_of().iloc[[0, 0, *range(1, NEED)]], "Bar 1: it has the timestamp of the bar before"),
    "a gap": (
        bars_of(NEED + 9).drop(index=[100, 101]),
        f"Bars are missing between 2025-01-06T16:55:00Z and 2025-01-06T17:10:00Z, and {NEED + 9 - 102} follow",
    ),
    "off the grid": (edited(-1, timestamp=pd.Timestamp(NOW - FIVE + timedelta(seconds=1))), "not on the grid of '5m'"),
    "another interval": (
        make_random_bars(NEED, start=NOW - timedelta(hours=NEED), interval=type(SPEC.interval)("1h")),
        "The bars are 60 minutes apart; send bars of '5m'",
    ),
    "before 1970": (bars_of(start=NOW - timedelta(days=30_000)), "before 1970"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("bars", "sentence"), FAULTS.values(), ids=FAULTS)
def test_faulty_bars_are_told_what_to_send(form, bars, sentence, manifest):
    with pytest.raises(InvalidInput) as raised:
        form(bars, manifest)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("form", FORMS[:3])
@pytest.mark.parametrize(("bars", "sentence"), TIMES.values(), ids=TIMES)
def test_faulty_times_are_told_what_to_send(form, bars, sentence, manifest):
    with pytest.raises(InvalidInput) as raised:
        form(bars, manifest)
    assert sentence in str(raised.value)


def test_bars_of_another_interval_than_the_models_are_refused(manifest):
    for ask in (
        lambda: asked_of_payload({"bars": as_bars(bars_of()), "interval": "1m"}, manifest, now=NOW),
        lambda: V2Form(manifest).asked(as_request(bars_of(), interval="1m"), now=NOW),
    ):
        with pytest.raises(InvalidInput, match="The interval is '1m'; send bars of '5m'"):
            ask()


def test_a_bundle_of_another_spec_is_not_asked_with_bars(manifest):
    other = manifest.model_copy(update={"spec_hash": "f" * 64})
    with pytest.raises(SpecMismatch, match="cannot featurize bars"):
        over_v1(bars_of(), other)


prices = st.floats(*PRICE_RANGE)


@given(st.lists(st.tuples(prices, prices, st.floats(0, MAX_VOLUME)), min_size=1, max_size=60), st.integers(0, 1000))
@settings(max_examples=40)
def test_whatever_bars_are_taken_have_a_finite_row_or_are_refused(manifest, tail, seed):
    bars = make_random_bars(NEED, start=NOW - NEED * FIVE, seed=seed)
    values = bars[["open", "high", "low", "close", "volume"]].to_numpy()
    for offset, (begin, end, volume) in enumerate(tail):
        values[NEED - len(tail) + offset] = [begin, max(begin, end), min(begin, end), end, volume]
    opened_ms = bars["timestamp"].astype("int64").to_numpy()
    try:
        asked = rows_of_bars([Series(opened_ms, values)], None, manifest, now=NOW)
    except InvalidInput:
        return
    assert np.isfinite(asked.rows.features).all()


@pytest.mark.parametrize(("age_s", "stale"), [(900, False), (901, True)])
def test_bars_older_than_the_live_limit_are_stale(bundle, age_s, stale):
    asked = Asked(over_v1(bars_of(), bundle.manifest).rows, (NOW - timedelta(seconds=age_s),))
    reply = Reply.to(asked, answer_with(bundle, 1, asked.rows), ForecastSettings(), now=NOW)
    assert (reply.stale.tolist(), reply.abstained.tolist()) == ([stale], [stale])
    assert ("forecast.max_data_age_s" in reply.abstention) == stale


@pytest.mark.parametrize(("days", "expired"), [(44.9, False), (45.1, True)])
def test_an_expired_bundle_abstains_and_answers_the_same_numbers(bundle, days, expired):
    now = bundle.manifest.data_end + timedelta(days=days)
    asked = Asked(over_v1(bars_of(), bundle.manifest).rows)
    answer = answer_with(bundle, 1, asked.rows)
    reply = Reply.to(asked, answer, ForecastSettings(), now=now)
    assert (reply.stale.tolist(), reply.abstained.tolist()) == ([False], [expired])
    assert ("forecast.max_model_age_days" in reply.abstention) == expired
    prediction = predictions_of(reply, bundle.manifest)["predictions"][0]
    assert prediction["predicted_price"] == answer.inference.predicted_price[0]
    assert prediction["abstained"] is expired


V1_FAULTS: dict[str, tuple[Any, str]] = {
    "bars and instances": ({"bars": [], "instances": []}, "not of the V1 form"),
    "no list": ({"bars": {}}, "'bars' is no list"),
    "none": ({"bars": []}, "'bars' is no list, or an empty one"),
    "no series": ({"series": []}, "'series' is no list, or an empty one"),
    "a series without bars": ({"series": [{}]}, "Series 0 is not an object with 'bars'"),
    "a faulty second series": ({"series": [{"bars": as_bars(bars_of())}, {"bars": [3]}]}, "Series 1: Bar 0 is not"),
    "a bar that is none": ({"bars": [3]}, "Bar 0 is not an object with exactly 'timestamp'"),
    "a name too many": ({"bars": [as_bars(bars_of(1))[0] | {"luck": 1}]}, "Bar 0 is not an object with exactly"),
    "text for a price": ({"bars": [as_bars(bars_of(1))[0] | {"open": "1"}]}, "Bar 0: prices and volume must be"),
    "a boolean": ({"bars": [as_bars(bars_of(1))[0] | {"volume": True}]}, "Bar 0: prices and volume must be numbers"),
    "null": ({"bars": [as_bars(bars_of(1))[0] | {"volume": None}]}, "Bar 0: prices and volume must be numbers"),
    "a time that is none": ({"bars": [as_bars(bars_of(1))[0] | {"timestamp": "noon"}]}, "'timestamp' is 'noon'"),
    "a time that is a list": ({"bars": [as_bars(bars_of(1))[0] | {"timestamp": []}]}, "'timestamp' is []"),
    "a time beyond all": ({"bars": [as_bars(bars_of(1))[0] | {"timestamp": 2**53}]}, "'timestamp' is 9007199254740992"),
    "microseconds": (
        {"bars": [as_bars(bars_of(1))[0] | {"timestamp": "2025-01-06T00:00:00.000001Z"}]},
        "send when the bar opens",
    ),
}


@pytest.mark.parametrize(("payload", "sentence"), V1_FAULTS.values(), ids=V1_FAULTS)
def test_a_faulty_v1_request_with_bars_is_told_what_to_send(manifest, payload, sentence):
    with pytest.raises(InvalidInput) as raised:
        asked_of_payload(payload, manifest, now=NOW)
    assert sentence in str(raised.value)


def test_v2_bars_come_together_and_alone(manifest):
    request = as_request(bars_of())
    request.inputs.pop()
    with pytest.raises(InvalidInput, match="or bars as 'bar_timestamp'"):
        V2Form(manifest).asked(request, now=NOW)
    request = as_request(bars_of())
    request.inputs[0].data = [1.5] * NEED
    with pytest.raises(InvalidInput, match="something else than whole numbers"):
        V2Form(manifest).asked(request, now=NOW)
    request = as_request(bars_of())
    request.inputs[1] = as_request(bars_of(NEED - 1)).inputs[1]
    with pytest.raises(InvalidInput, match="Bars differ"):
        V2Form(manifest).asked(request, now=NOW)
