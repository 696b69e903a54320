"""Opening a store: where it lies, and whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from cryptosentinel import __version__
from cryptosentinel.config import StorageSettings
from cryptosentinel.errors import SettingsError, StoreFormatError
from cryptosentinel.storage import open_storage
from tests.storage.builders import bars, open_delta


def marker(folder: Path) -> Path:
    return folder / "store" / "store.json"


def test_a_store_lies_inside_home_or_where_the_settings_say(tmp_path):
    assert open_delta(tmp_path / "home").uri == str(tmp_path / "home" / "store")
    for uri in (str(tmp_path / "else where"), f"file://{tmp_path / 'third'}"):
        store = open_storage(StorageSettings(uri=uri), root=tmp_path / "home", market="m")
        store.features.write_bars(bars([0]))
        assert Path(store.uri, "bars").is_dir()


def test_the_marker_is_written_once(tmp_path):
    open_delta(tmp_path)
    first = marker(tmp_path).read_text()
    assert json.loads(first) | {"format_version": 1, "market": "bitcoin-usd-5m"} == json.loads(first)
    assert json.loads(first)["written_by"] == f"cryptosentinel {__version__}"
    open_delta(tmp_path)
    assert marker(tmp_path).read_text() == first


def test_a_marker_that_a_kill_kept_from_being_written_is_the_first_openers(tmp_path):
    open_delta(tmp_path)
    first = marker(tmp_path).read_text()
    marker(tmp_path).unlink()
    with pytest.raises(SettingsError, match="bitcoin-usd-5m"):
        open_delta(tmp_path, market="ethereum-usd-5m")
    assert marker(tmp_path).read_text() == first


def test_another_markets_store_is_refused(tmp_path):
    open_delta(tmp_path)
    with pytest.raises(SettingsError, match="the market bitcoin-usd-5m, but the settings ask for ethereum-usd-5m"):
        open_delta(tmp_path, market="ethereum-usd-5m")


def test_an_unknown_format_version_is_refused_with_who_wrote_it(tmp_path):
    open_delta(tmp_path)
    content = {"format_version": 2, "market": "bitcoin-usd-5m", "written_by": "cryptosentinel 9.9"}
    marker(tmp_path).write_text(json.dumps(content))
    with pytest.raises(StoreFormatError, match=r"format version 2, written by cryptosentinel 9\.9.*Use the release"):
        open_delta(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format_version": "new", "market": "m"}', "\x00\xff"])
def test_a_damaged_marker_is_refused_and_left_alone(tmp_path, content):
    open_delta(tmp_path)
    marker(tmp_path).write_bytes(content.encode("latin-1"))
    with pytest.raises(StoreFormatError, match=r"store\.json.*is damaged"):
        open_delta(tmp_path)
    assert marker(tmp_path).read_bytes() == content.encode("latin-1")


def test_an_option_that_makes_writers_lose_rows_is_refused(tmp_path):
    options = {"AWS_S3_ALLOW_UNSAFE_RENAME": "true"}
    with pytest.raises(SettingsError, match="ALLOW_UNSAFE_RENAME"):
        open_storage(StorageSettings(uri="s3://bucket/prefix", options=options), root=tmp_path, market="m")


def test_a_folder_whose_name_delta_lake_would_misread_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="%41"):
        open_delta(tmp_path / "100%41")
    open_delta(tmp_path / "100% süß").features.write_bars(bars([0]))


def test_maintaining_a_store_maintains_all_its_tables(tmp_path):
    store = open_delta(tmp_path)
    for number in (0, 1, 30):
        store.features.write_bars(bars([number]))
    store.maintain()
    assert len(DeltaTable(str(tmp_path / "store" / "bars")).file_uris()) == 2
