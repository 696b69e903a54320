"""A store that cannot be reached, read or written says so, names the place and what to do, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryptosentinel.config import StorageSettings
from cryptosentinel.errors import StorageError, StoreConflictError, StoreUnavailableError
from cryptosentinel.storage import DeltaFeatureStore, delta, open_storage
from tests.storage.builders import SPEC, bars, bundle, features, open_delta

REPOSITORY = Path(__file__).parents[2]

# Run inside a user namespace of its own, where an ordinary user may mount; {folder} holds a store with 10 bars.
FULL = """
mount -t tmpfs -o size=600k tmpfs {folder}
{python} - <<'END'
from pathlib import Path
from cryptosentinel.errors import StoreUnavailableError
from tests.storage.builders import SPEC, bars, features, open_delta
store = open_delta(Path("{folder}")).features
store.write_bars(bars(range(10)))
import numpy as np
chance = np.random.default_rng(0)
try:
    for number in range(200):
        store.write_features(features(range(number * 2000, number * 2000 + 2000), chance.normal(size=2000)), SPEC)
except StoreUnavailableError as error:
    print("refused:", error)
assert len(store.read_bars("bitcoin")) == 10
rows = store.read_features("bitcoin", SPEC)
assert len(rows) % 2000 == 0 and len(rows) > 0, len(rows)
try:
    open_delta(Path("{folder}/second"))
except StoreUnavailableError as error:
    print("refused:", error)
END
"""
READ_ONLY = """
mount --bind {folder} {folder}
mount -o remount,bind,ro {folder}
{python} - <<'END'
from pathlib import Path
from cryptosentinel.errors import StoreUnavailableError
from tests.storage.builders import bars, bundle, open_delta
store = open_delta(Path("{folder}"))
assert len(store.features.read_bars("bitcoin")) == 10
for attempt in (lambda: store.features.write_bars(bars(range(20))), lambda: open_delta(Path("{folder}/second")),
                lambda: store.registry.register(Path("{bundle}"), metrics={{}}, verdict="")):
    try:
        attempt()
    except StoreUnavailableError as error:
        print("refused:", error)
END
"""


def in_a_namespace(script: str) -> list[str]:
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("this machine lets no user mount in a namespace of its own")
    answer = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return [line for line in answer.stdout.splitlines() if line.startswith("refused:")]


def test_a_full_disk_is_named_and_what_was_stored_stays(tmp_path):
    lines = in_a_namespace(FULL.format(folder=tmp_path, python=sys.executable))
    assert len(lines) == 2
    assert all("no space left" in line and str(tmp_path) in line and "Free some space" in line for line in lines)


def test_a_read_only_folder_is_named_and_can_be_read(tmp_path):
    home = tmp_path / "home"
    open_delta(home).features.write_bars(bars(range(10)))
    made = bundle(tmp_path / "made")
    lines = in_a_namespace(READ_ONLY.format(folder=home, python=sys.executable, bundle=made))
    assert len(lines) == 3
    assert all("may not be written to" in line and str(home) in line and "write access" in line for line in lines)


def test_a_limit_on_file_size_is_an_error_and_leaves_a_readable_table(tmp_path):
    open_delta(tmp_path).features.write_bars(bars(range(10)))
    script = f"""
import resource, numpy as np
from pathlib import Path
from cryptosentinel.errors import StoreUnavailableError
from tests.storage.builders import SPEC, features, open_delta
store = open_delta(Path({str(tmp_path)!r})).features
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    store.write_features(features(range(20_000), np.random.default_rng(0).normal(size=20_000)), SPEC)
except StoreUnavailableError as error:
    print("refused:", error)
"""
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "no space left" in answer.stdout
    store = open_delta(tmp_path).features
    assert len(store.read_bars("bitcoin")) == 10
    assert store.read_features("bitcoin", SPEC).empty
    assert store.write_features(features(range(3)), SPEC).inserted == 3


@pytest.mark.parametrize("place", ["/proc/cryptosentinel", "/sys/kernel/cryptosentinel"])
def test_a_place_where_nothing_can_be_made_is_named(place):
    with pytest.raises(StoreUnavailableError, match=f"{place}.*`home` or `storage.uri`|{place}.*Check that"):
        open_delta(Path(place))


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreUnavailableError, match=r"home.*not a folder.*move it away"):
        open_delta(tmp_path / "home")


def test_a_file_in_the_place_of_a_table_is_named(tmp_path):
    store = DeltaFeatureStore(str(tmp_path))
    (tmp_path / "bars").write_text("not a table")
    for attempt in (lambda: store.write_bars(bars([0])), lambda: store.read_bars("bitcoin"), store.version):
        with pytest.raises(StoreUnavailableError, match="bars is not a folder"):
            attempt()


def test_a_folder_that_is_not_a_table_is_named_and_left_alone(tmp_path):
    store = DeltaFeatureStore(str(tmp_path))
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "prices.csv").write_text("1,2")
    for attempt in (lambda: store.write_bars(bars([0])), lambda: store.read_bars("bitcoin")):
        with pytest.raises(StoreUnavailableError, match=r"bars is not a Delta Lake table: it holds prices\.csv"):
            attempt()
    assert [path.name for path in (tmp_path / "bars").iterdir()] == ["prices.csv"]


def test_a_damaged_log_is_an_error_of_one_line(tmp_path):
    store = DeltaFeatureStore(str(tmp_path))
    store.write_bars(bars([0]))
    (tmp_path / "bars" / "_delta_log" / f"{1:020}.json").write_text("{half")
    with pytest.raises(StorageError, match="bars cannot be read") as error:
        store.read_bars("bitcoin")
    assert "\n" not in str(error.value)
    assert "<unknown>" not in str(error.value)


def test_an_object_store_that_does_not_answer_is_named(tmp_path):
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # the discard port: nothing listens
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "max_retries": "0",
    }
    with pytest.raises(StoreUnavailableError, match=r"s3://bucket/prefix.*`storage\.options`") as error:
        open_storage(StorageSettings(uri="s3://bucket/prefix", options=options), root=tmp_path, market="m")
    assert "hidden-secret" not in str(error.value)


def test_a_scheme_that_nobody_knows_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="nowhere://bucket"):
        open_storage(StorageSettings(uri="nowhere://bucket"), root=tmp_path, market="m")


def test_a_write_that_always_loses_the_race_gives_up_with_a_conflict(tmp_path, monkeypatch):
    store = DeltaFeatureStore(str(tmp_path))
    store.write_bars(bars([0]))
    scan, rival = delta.scan, iter(range(1000, 2000))

    def somebody_is_faster(table, columns=None, where=()):
        rows = scan(table, columns, where)
        monkeypatch.setattr(delta, "scan", scan)
        DeltaFeatureStore(str(tmp_path)).write_bars(bars([next(rival)]))
        monkeypatch.setattr(delta, "scan", somebody_is_faster)
        return rows

    monkeypatch.setattr(delta, "scan", somebody_is_faster)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with pytest.raises(StoreConflictError, match="bars"):
        store.write_bars(bars([1]))
    monkeypatch.undo()
    assert 1 < next(rival) - 1000 <= 60
    assert bars([1])["timestamp"][0] not in set(store.read_bars("bitcoin")["timestamp"])
    assert store.write_bars(bars([1])).inserted == 1
