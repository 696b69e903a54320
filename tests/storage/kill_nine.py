"""Kills a writer with SIGKILL at random moments and checks after each kill that the store kept its word.

    python tests/storage/kill_nine.py --kills 200 --seed 1

The writer upserts features, writes bars, registers bundles, moves the champion alias and maintains the store, and says
on stdout what it is about to do and what was reported stored. After each kill: every row reported stored is there with
its value; the write under way is there whole or not at all; no key is there twice; every version reported registered is
there; the champion loads and all its digests are right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cryptosentinel.config import StorageSettings
from cryptosentinel.storage import Storage, open_storage

ASSET, SPEC = "bitcoin", "0123456789abcdef"
# Bars of half an hour, so that a few thousand of them cross months.
START, STEP = pd.Timestamp("2025-01-20", tz="UTC"), pd.Timedelta("30min")
OPERATIONS = ("features", "bars", "register", "promote", "maintain")
WEIGHTS = (10, 6, 2, 2, 1)


def open_store(home: Path) -> Storage:
    return open_storage(StorageSettings(), root=home, market="bitcoin-usd-30m-test")


def bars(first: int, last: int, value: float) -> pd.DataFrame:
    """Bars number `first` to before `last`, each with a close of its own that `value` decides."""
    close = [value + number / 1e6 for number in range(first, last)]
    times = [START + number * STEP for number in range(first, last)]
    figures = dict.fromkeys(("open", "high", "low", "close"), close)
    return pd.DataFrame({"asset": ASSET, "timestamp": times, **figures, "volume": 1.0, "source": "test"})


def features(first: int, last: int, value: float) -> pd.DataFrame:
    rows = bars(first, last, value)
    return rows[["asset", "timestamp"]].assign(**{f"f{i}": rows["close"] * (i + 1) for i in range(12)})


def make_bundle(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    files = {"inference.onnx": (name * 20_000).encode(), "models/a.json": name.encode()}
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"name": name, "sha256": digests}))
    return folder


def write_forever(home: Path, seed: int, begin: int) -> None:
    """The writer. `begin` numbers its first operation, so that no two writers store the same value."""
    chance = random.Random(seed)
    store = open_store(home)
    for number in range(begin, begin + 1_000_000):
        kind = chance.choices(OPERATIONS, WEIGHTS)[0]
        # Mostly the growing edge, sometimes a correction of the past.
        last = number * 3 + 20 if chance.random() < 0.8 else chance.randint(20, number * 3 + 20)
        plan = {"kind": kind, "first": max(0, last - chance.randint(1, 60)), "last": last, "value": float(number)}
        print(json.dumps({"trying": plan}), flush=True)
        result = perform(store, home, plan)
        print(json.dumps({"stored": {**plan, "result": result}}), flush=True)


def perform(store: Storage, home: Path, plan: dict[str, Any]) -> Any:
    first, last, value = plan["first"], plan["last"], plan["value"]
    if plan["kind"] == "features":
        return store.features.write_features(features(first, last, value), SPEC).version
    if plan["kind"] == "bars":
        return store.features.write_bars(bars(first, last, value)).version
    if plan["kind"] == "register":
        bundle = make_bundle(home / "made" / str(value), str(value))
        return store.registry.register(bundle, metrics={"rmse": value}, verdict="").version
    if plan["kind"] == "promote":
        champion, versions = store.registry.champion(), store.registry.versions()
        if not versions:
            return None
        store.registry.promote(versions[-1].version, expected=champion.version if champion else None)
        return versions[-1].version
    return store.maintain()


@dataclass
class Ledger:
    """What the writers reported, and so what the store owes.

    Attributes:
        owed: for bars and features, the value that each row number was last reported stored with.
        trying: what was begun and not reported stored.
    """

    owed: dict[str, dict[int, float]] = field(default_factory=lambda: {"bars": {}, "features": {}})
    versions: set[int] = field(default_factory=set)
    champion: int | None = None
    trying: dict[str, Any] | None = None
    next_number: int = 0
    stored: Counter[str] = field(default_factory=Counter)

    def note(self, line: str) -> None:
        try:
            report = json.loads(line)
        except json.JSONDecodeError:
            return  # cut short by the kill
        if plan := report.get("trying"):
            self.trying, self.next_number = plan, int(plan["value"]) + 1
            return
        done, self.trying = report["stored"], None
        self.stored[done["kind"]] += 1
        if done["kind"] in self.owed:
            self.owed[done["kind"]].update(dict.fromkeys(range(done["first"], done["last"]), done["value"]))
        elif done["kind"] == "register":
            self.versions.add(done["result"])
        elif done["kind"] == "promote":
            self.champion = done["result"]

    def accept(self, kind: str, rows: pd.DataFrame, column: str) -> Iterator[str]:
        """What is wrong with the rows found; a write under way that is there whole becomes owed."""
        numbers = ((rows["timestamp"] - START) // STEP).astype(int)
        found = dict(zip(numbers, rows[column], strict=True))
        if len(found) != len(rows):
            yield f"{kind}: {len(rows) - len(found)} keys are there twice"
        owed = dict(self.owed[kind])
        if self.trying and self.trying["kind"] == kind:
            under_way = dict.fromkeys(range(self.trying["first"], self.trying["last"]), self.trying["value"])
            probe = self.trying["first"]
            if found.get(probe) == self.trying["value"] + probe / 1e6:
                owed.update(under_way)
        if lost := owed.keys() - found.keys():
            yield f"{kind}: {len(lost)} rows reported stored are lost"
        if extra := found.keys() - owed.keys():
            yield f"{kind}: {len(extra)} rows are there that were never whole"
        wrong = [number for number in owed.keys() & found.keys() if found[number] != owed[number] + number / 1e6]
        if wrong:
            yield f"{kind}: {len(wrong)} rows have another value than reported"
        self.owed[kind] = owed


def check(home: Path, ledger: Ledger) -> list[str]:
    """What the store does not keep of what was reported; nothing, if all is well."""
    store = open_store(home)
    problems = list(ledger.accept("bars", store.features.read_bars(ASSET), "close"))
    problems += ledger.accept("features", store.features.read_features(ASSET, SPEC, columns=["f0"]), "f0")
    versions = [model.version for model in store.registry.versions()]
    if versions != list(range(len(versions))):
        problems.append(f"registry: versions are {versions}")
    if lost := ledger.versions - set(versions):
        problems.append(f"registry: versions {lost} reported registered are lost")
    champion = store.registry.champion()
    if champion is None:
        return [*problems, "registry: there is no champion"] if versions else problems
    under_way = ledger.trying is not None and ledger.trying["kind"] == "promote"
    if ledger.champion not in {None, champion.version} and not under_way:
        problems.append(f"registry: the champion is {champion.version}, reported was {ledger.champion}")
    ledger.champion = champion.version
    with tempfile.TemporaryDirectory() as folder:
        bundle = store.registry.fetch(champion.version, Path(folder))
        for path, digest in json.loads((bundle / "manifest.json").read_text())["sha256"].items():
            if hashlib.sha256((bundle / path).read_bytes()).hexdigest() != digest:
                problems.append(f"registry: {path} of the champion is damaged")
    return problems


def kill_once(home: Path, ledger: Ledger, chance: random.Random) -> None:
    """Starts a writer, kills it at a random moment after its first words, and notes what it said."""
    command = [sys.executable, __file__, "--writer", str(home), "--begin", str(ledger.next_number)]
    command += ["--seed", str(chance.randrange(2**32))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        if not first:
            raise RuntimeError(f"the writer ended by itself with exit code {writer.wait()}")
        timer = threading.Timer(chance.uniform(0, 0.7), writer.kill)
        timer.start()
        for line in [first, *writer.stdout]:
            ledger.note(line)
        timer.join()
    if writer.returncode != -9:
        raise RuntimeError(f"the writer failed by itself with exit code {writer.returncode}")


def run(home: Path, kills: int, seed: int) -> tuple[list[str], Ledger, Counter[str]]:
    """Kills writers and checks; the problems found, the ledger, and during what each kill came."""
    chance, ledger, during = random.Random(seed), Ledger(), Counter[str]()
    problems: list[str] = []
    for number in range(kills):
        kill_once(home, ledger, chance)
        during[ledger.trying["kind"] if ledger.trying else "between"] += 1
        problems += [f"after kill {number + 1}: {problem}" for problem in check(home, ledger)]
    return problems, ledger, during


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.writer:
        write_forever(arguments.writer, arguments.seed, arguments.begin)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        problems, ledger, during = run(Path(home), arguments.kills, arguments.seed)
    rows = {kind: len(owed) for kind, owed in ledger.owed.items()}
    print(f"{arguments.kills} kills in {time.monotonic() - began:.0f} s, during: {dict(during)}")
    print(f"reported stored: {dict(ledger.stored)}; rows: {rows}; versions: {len(ledger.versions)}")
    print("\n".join(problems) or "nothing lost, nothing twice, the champion always loadable")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
