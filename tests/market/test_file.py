"""A file of bars is read whatever it calls its columns and replayed by its own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptosentinel.errors import NotEnoughDataError
from cryptosentinel.market.bars import PRICES, Interval
from cryptosentinel.market.file import FileSource
from tests.builders import FIVE, T0, make_random_bars
from tests.market.files import BARS, COLUMNS, EVER, MS, assert_same, problem, read, saved, table


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".txt"])
def test_every_kind_of_file_gives_the_same_bars(tmp_path: Path, suffix: str) -> None:
    bars = read(saved(table(), tmp_path / f"btc{suffix}"))
    assert_same(bars)
    assert set(bars["source"]) == {"file:btc"}
    assert set(bars["asset"]) == {"bitcoin"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    "times",
    [
        MS // 1000,
        MS,
        MS * 1000,
        MS * 1_000_000,
        MS / 1000,
        MS.astype(str),
        BARS["timestamp"],
        BARS["timestamp"].dt.tz_localize(None),
        BARS["timestamp"].dt.tz_convert("Asia/Tokyo"),
        BARS["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        BARS["timestamp"].dt.strftime("%Y-%m-%d %H:%M"),
        BARS["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
    ],
    ids=["s", "ms", "us", "ns", "float s", "text ms", "arrow", "naive", "zone", "iso z", "iso", "iso utc"],
)
def test_times_are_understood_in_every_unit(tmp_path: Path, suffix: str, times: pd.Series) -> None:
    assert_same(read(saved(table(timestamp=times), tmp_path / f"btc{suffix}")))


def test_a_file_that_changes_its_unit_half_way_is_understood(tmp_path: Path) -> None:
    mixed = MS.where(np.arange(len(MS)) < 300, MS * 1000)
    assert_same(read(saved(table(timestamp=mixed), tmp_path / "btc.csv")))


@pytest.mark.parametrize(
    "names",
    [
        ["Open Time", "Open", "High", "Low", "Close", "Volume"],
        ["t", "o", "h", "l", "c", "v"],
        ["unix", "open_price", "high_price", "low_price", "close_price", "Volume BTC"],
        ["DateTime", "price_open", "price_high", "price_low", "price_close", "volume_traded"],
    ],
)
def test_columns_are_found_under_common_names(tmp_path: Path, names: list[str]) -> None:
    frame = table().set_axis(names, axis=1).assign(**{"Volume USDT": 1.0, "Close Time": MS + 299_999})
    assert_same(read(saved(frame[frame.columns[::-1]], tmp_path / "btc.csv")))


def test_the_index_of_a_saved_frame_is_found(tmp_path: Path) -> None:
    BARS.set_index("timestamp")[[*PRICES, "volume"]].to_parquet(tmp_path / "named.parquet")
    BARS.set_index("timestamp")[[*PRICES, "volume"]].rename_axis(None).to_parquet(tmp_path / "nameless.parquet")
    assert_same(read(tmp_path / "named.parquet"))
    assert_same(read(tmp_path / "nameless.parquet"))


def test_an_exchange_download_without_header_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-5m.csv"
    table(close_time=MS + 299_999, quote_volume=1.0).to_csv(path, index=False, header=False)
    assert_same(read(path))


@pytest.mark.parametrize(("separator", "end"), [(";", "\n"), ("\t", "\r\n"), (",", "\r\n"), ("|", "\n")])
def test_separators_line_ends_and_byte_order_marks_are_understood(tmp_path: Path, separator: str, end: str) -> None:
    path = tmp_path / "btc.csv"
    path.write_bytes(b"\xef\xbb\xbf" + table().to_csv(index=False, sep=separator, lineterminator=end).encode())
    assert_same(read(path))


def test_volume_is_optional(tmp_path: Path) -> None:
    source = FileSource(saved(table().drop(columns="volume"), tmp_path / "btc.csv"), "bitcoin", FIVE)
    assert source.bars(*EVER)["volume"].isna().all()
    assert source.quote().volume_24h is None


def test_rows_in_any_order_come_out_in_order(tmp_path: Path) -> None:
    assert_same(read(saved(table().sample(frac=1, random_state=1), tmp_path / "btc.csv")))


def test_a_window_is_half_open(tmp_path: Path) -> None:
    source = FileSource(saved(table(), tmp_path / "btc.csv"), "bitcoin", FIVE)
    bars = source.bars(T0 + timedelta(minutes=5), T0 + timedelta(minutes=15))
    assert bars["timestamp"].tolist() == [T0 + timedelta(minutes=5), T0 + timedelta(minutes=10)]


# Finer bars


def test_finer_bars_are_put_together(tmp_path: Path) -> None:
    minutes = make_random_bars(60, interval=Interval("1m"))
    bars = read(saved(minutes[COLUMNS].assign(timestamp=minutes["timestamp"]), tmp_path / "btc.parquet"))
    assert len(bars) == 12
    for row in range(12):
        part = minutes.iloc[5 * row : 5 * row + 5]
        bar = bars.iloc[row]
        assert bar["timestamp"] == part["timestamp"].iloc[0]
        expected = part["open"].iloc[0], part["high"].max(), part["low"].min(), part["close"].iloc[-1]
        assert tuple(bar[list(PRICES)]) == expected
        assert bar["volume"] == pytest.approx(part["volume"].sum())


def test_a_bar_without_its_last_part_is_left_out_and_one_without_another_part_is_not(tmp_path: Path) -> None:
    minutes = make_random_bars(20, interval=Interval("1m"))
    rest = minutes[COLUMNS].drop(index=[4, 7]).assign(timestamp=lambda frame: frame["timestamp"])
    bars = read(saved(rest, tmp_path / "btc.parquet"))
    assert [time.minute for time in bars["timestamp"]] == [5, 10, 15]
    assert bars["close"].iloc[0] == minutes["close"].iloc[9]


def test_a_part_that_reaches_over_the_border_of_a_bar_is_left_out(tmp_path: Path) -> None:
    minutes = make_random_bars(20, interval=Interval("1m"))
    over = minutes.iloc[[9]].assign(timestamp=minutes["timestamp"][9] + pd.Timedelta(seconds=30), high=1e6)
    whole = read(saved(minutes[COLUMNS], tmp_path / "whole.parquet"))
    bars = read(saved(pd.concat([minutes, over])[COLUMNS], tmp_path / "over.parquet"))
    assert_same(bars, whole)


def test_unknown_volume_of_finer_bars_stays_unknown(tmp_path: Path) -> None:
    minutes = make_random_bars(10, interval=Interval("1m"))
    volume = minutes["volume"].mask(minutes.index < 5)
    bars = read(saved(minutes[COLUMNS].assign(volume=volume), tmp_path / "btc.parquet"))
    assert bars["volume"].isna().tolist() == [True, False]


def test_coarser_bars_are_refused(tmp_path: Path) -> None:
    hours = make_random_bars(48, interval=Interval("1h"))
    message = problem(saved(hours[COLUMNS], tmp_path / "btc.parquet"))
    assert "every 1:00:00" in message
    assert "bars of 5m" in message


def test_trades_are_refused(tmp_path: Path) -> None:
    times = MS + np.random.default_rng(0).integers(0, 200_000, len(MS))
    assert "no interval" in problem(saved(table(timestamp=times), tmp_path / "btc.csv"))


def test_times_that_are_all_off_the_grid_are_refused(tmp_path: Path) -> None:
    assert "not on the grid" in problem(saved(table(timestamp=MS + 1000), tmp_path / "btc.csv"))


# The clock


def test_the_clock_stands_at_the_end_of_the_last_bar(tmp_path: Path) -> None:
    source = FileSource(saved(table(), tmp_path / "btc.csv"), "bitcoin", FIVE)
    assert source.now() == T0 + 600 * FIVE.delta
    assert not source.simulated


def test_a_replay_sees_nothing_that_is_unfinished_by_its_clock(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.csv")
    now = T0 + 100 * FIVE.delta
    assert len(read(path, now=now)) == 100
    assert len(read(path, now=now - timedelta(seconds=1))) == 99
    quote = FileSource(path, "bitcoin", FIVE, now=now).quote()
    assert (quote.price, quote.at) == (BARS["close"].iloc[99], now)
    assert quote.change_24h is None


def test_a_replay_starts_with_the_last_bars_held_back(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.csv")
    start = FileSource(path, "bitcoin", FIVE).replay_start(48)
    assert_same(read(path, now=start), BARS.iloc[:-48])
    assert FileSource(path, "bitcoin", FIVE).replay_start(0) == FileSource(path, "bitcoin", FIVE).now()
    with pytest.raises(NotEnoughDataError, match="need at least 601"):
        FileSource(path, "bitcoin", FIVE).replay_start(600)


def test_the_quote_is_worked_out_from_the_bars(tmp_path: Path) -> None:
    quote = FileSource(saved(table(), tmp_path / "btc.csv"), "bitcoin", FIVE).quote()
    day = BARS.iloc[-288:]
    assert quote.price == BARS["close"].iloc[-1]
    assert quote.change_24h == pytest.approx(BARS["close"].iloc[-1] / BARS["close"].iloc[-289] - 1)
    assert quote.volume_24h == pytest.approx((day["volume"] * day["close"]).sum())
    assert quote.market_cap is None


def test_there_is_no_quote_before_the_first_bar(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.csv")
    with pytest.raises(NotEnoughDataError):
        FileSource(path, "bitcoin", FIVE, now=T0).quote()


def test_a_file_that_grows_is_read_again(tmp_path: Path) -> None:
    source = FileSource(saved(table().head(300), tmp_path / "btc.csv"), "bitcoin", FIVE)
    assert len(source.bars(*EVER)) == 300
    saved(table(), tmp_path / "btc.csv")
    assert_same(source.bars(*EVER))


def test_changing_an_answer_does_not_change_the_next(tmp_path: Path) -> None:
    path = saved(table(), tmp_path / "btc.csv")
    answer = read(path)
    answer["close"] = 0.0
    answer.iloc[:, 2] = 0.0
    assert_same(read(path))


# Recorded markets


@pytest.mark.market_data
def test_eight_recorded_years_are_read(market_data: Path) -> None:
    source = FileSource(market_data / "binance_btcusdt_5m_2017_2025h1.parquet", "bitcoin", FIVE)
    bars = source.bars(*EVER)
    assert len(bars) == 826_237
    assert source.now() == datetime(2025, 7, 1, tzinfo=UTC)
    assert bars["timestamp"].is_monotonic_increasing
    assert source.replay_start(48) == datetime(2025, 6, 30, 20, tzinfo=UTC)
    assert source.quote().price == 107146.5


@pytest.mark.market_data
def test_recorded_minutes_make_the_recorded_five_minute_bars(market_data: Path) -> None:
    five = read(market_data / "binance_btcusdt_5m_2017_2025h1.parquet").set_index("timestamp")
    made = read(market_data / "binance_btcusdt_1m_regimes.parquet").set_index("timestamp")
    both = made.index.intersection(five.index)
    assert len(both) > 35_000
    wanted = [*PRICES, "volume"]
    close = np.isclose(made.loc[both, wanted], five.loc[both, wanted], rtol=1e-6).all(axis=1)
    assert close.mean() > 0.999
