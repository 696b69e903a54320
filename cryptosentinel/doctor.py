"""What a machine needs to run this, whether it is there, and how to mend what is not.

Asks and reports; it changes nothing, makes no folder and prints nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

from cryptosentinel.config import DriftSettings, Settings
from cryptosentinel.errors import CryptoSentinelError, RateLimitedError, UserInputError

ROOT = Path(__file__).resolve().parents[1]
FREE_DISK_GB = 2.0
MEMORY_GB = 2.0
CLOCK_TOLERANCE_S = 60.0
ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        detail: what was found.
        remedy: what to do about it, where it is not `ok`.
        required: without it the main job does not run; the rest makes it better.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


def checks(settings: Settings) -> list[Check]:
    """Looks at everything, in the order in which to mend it. Takes a few seconds where the network is away."""
    source = check_source(settings)
    live = source.ok and settings.market.source in {"auto", "coingecko"}
    found = [
        check_python(),
        check_packages(ROOT / "requirements" / "main.txt"),
        check_drift_environment(settings.drift),
        check_home(settings.home),
        check_disk(settings.home),
        check_memory(),
        *check_ports(settings),
        source,
        check_clock(f"{settings.market.coingecko.base_url}/ping" if live else None),
        *check_stores(settings),
    ]
    return [replace(check, remedy="") if check.ok else check for check in found]


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Python is 3.11 or newer."""
    found = ".".join(map(str, version))
    return Check("Python", version >= (3, 11), found, "Install Python 3.11 or newer, then run `make setup`.")


def check_packages(lock: Path) -> Check:
    """What the lock names is installed, in the locked version; another version is a warning."""
    if not lock.is_file():
        return Check("packages", True, "not compared: there is no lock beside this installation")
    # Packages for some machines only have a marker behind the version, and are left out.
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", lock.read_text(encoding="utf-8"), re.MULTILINE))
    found = {name: _installed(name) for name in locked}
    missing = [name for name, version in found.items() if version is None]
    others = [f"{name} {found[name]} (locked: {version})" for name, version in locked.items() if found[name] != version]
    if missing:
        return Check("packages", False, f"missing: {_some(missing)}", "Run `make setup`.")
    if others:
        return Check("packages", False, _some(others), "Run `make setup`.", required=False)
    return Check("packages", True, f"{len(locked)} as locked")


def check_drift_environment(settings: DriftSettings) -> Check:
    """The environment of alibi-detect is there and runs."""
    from cryptosentinel.drift import find_python

    name, python = "drift environment", find_python(settings)
    remedy = "SciPy looks for drift without it. `make setup-drift` makes it; `drift.python` names another interpreter."
    if python is None:
        return Check(name, settings.detector != "tabular", "absent: SciPy looks for drift", remedy, required=False)
    command = [str(python), "-c", "import importlib.metadata; print(importlib.metadata.version('alibi-detect'))"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return Check(name, False, f"{python} has no alibi-detect", remedy, required=False)
    return Check(name, True, f"alibi-detect {asked.stdout.strip()}, {python}", required=False)


def check_home(home: Path) -> Check:
    """The home folder can be written, or made."""
    where = home.absolute()
    remedy = "Choose another folder: CRYPTOSENTINEL_HOME=/a/folder/of/yours, or give yourself the right to write there."
    try:
        with tempfile.TemporaryFile(dir=_existing(where)):
            pass
    except OSError as error:
        return Check("home folder", False, f"cannot write in {_existing(where)}: {error.strerror or error}", remedy)
    return Check("home folder", True, f"{where}{'' if where.is_dir() else ', made when first needed'}")


def check_disk(home: Path) -> Check:
    """There is room for bars, features and bundles."""
    free_gb = shutil.disk_usage(_existing(home.absolute())).free / 1e9
    remedy = f"Make room: {FREE_DISK_GB:g} GB, or choose a `home` on another disk."
    return Check("disk", free_gb >= FREE_DISK_GB, f"{free_gb:.1f} GB free", remedy)


def check_memory(available_gb: float | None = None) -> Check:
    """There is memory for a training run on the default window."""
    have_gb = _available_gb() if available_gb is None else available_gb
    remedy = f"A training run takes up to {MEMORY_GB:g} GB: close something, or lower `training.window_days`."
    return Check("memory", have_gb >= MEMORY_GB, f"{have_gb:.1f} GB available", remedy, required=False)


def check_ports(settings: Settings) -> Iterator[Check]:
    """The ports are free, or our own servers have them already; 0 is any free port."""
    serving, dashboard = settings.serving, settings.dashboard
    predictor = f"http://{serving.host}:{serving.http_port}/v2/models/{serving.model_name}"
    board = f"http://{dashboard.host}:{dashboard.port}/_stcore/health"
    asked_for: dict[int, str] = {}
    for setting, host, port, ours in (
        ("serving.http_port", serving.host, serving.http_port, predictor),
        ("serving.grpc_port", serving.host, serving.grpc_port, predictor),
        ("dashboard.port", dashboard.host, dashboard.port, board),
    ):
        name, remedy = f"port {port} ({setting})", f"Stop what has it, or choose another: {setting}=0 is any free port."
        if port and port in asked_for:
            yield Check(name, False, f"{asked_for[port]} is the same", remedy)
        elif (problem := _bind_problem(host, port)) is None:
            yield Check(name, True, "free")
        elif _answers(ours):
            yield Check(name, True, "CryptoSentinel is running on it")
        else:
            yield Check(name, False, problem, remedy)
        asked_for[port] = setting


def check_source(settings: Settings) -> Check:
    """The market that the settings name answers."""
    from cryptosentinel.market.coingecko import CoinGeckoSource
    from cryptosentinel.market.exchange import ExchangeSource

    kind, _, rest = settings.market.source.partition(":")
    name = f"market ({settings.market.source})"
    if kind == "simulated":
        return Check(name, True, "prices are invented", required=False)
    if kind == "file":
        path = Path(rest).expanduser()
        detail = f"{path} is there" if path.is_file() else f"there is no file {path.absolute()}"
        return Check(name, path.is_file(), detail, "Give the path of a Parquet or CSV file of bars.")
    once = {"timeout_s": ANSWER_WITHIN_S, "max_attempts": 1}
    market = settings.market.model_copy(
        update={
            "coingecko": settings.market.coingecko.model_copy(update={**once, "budget_s": ANSWER_WITHIN_S}),
            "exchange": settings.market.exchange.model_copy(update=once),
        }
    )
    try:
        (ExchangeSource(rest, market) if kind == "exchange" else CoinGeckoSource(market)).ping()
    except RateLimitedError:
        return Check(name, True, "answers, and asks for patience", required=False)
    except CryptoSentinelError as error:
        meanwhile = " `auto` takes simulated prices meanwhile." if kind == "auto" else ""
        remedy = error.remedy or "Check the connection, or set market.source=file:<path> or market.source=simulated."
        return Check(name, False, error.message + meanwhile, remedy, required=isinstance(error, UserInputError))
    return Check(name, True, "answers", required=False)


def check_clock(url: str | None) -> Check:
    """The clock agrees with the server's behind `url`; without one, it is at least later than this program's files."""
    import httpx

    remedy = "Set the clock; forecasts are made and settled by it."
    now = time.time()
    try:
        stamp = httpx.get(url, timeout=ANSWER_WITHIN_S).headers.get("date") if url else None
        skew_s = now - parsedate_to_datetime(stamp).timestamp() if stamp else None
    except (httpx.HTTPError, ValueError):
        skew_s = None
    if skew_s is not None:
        return Check("clock", abs(skew_s) <= CLOCK_TOLERANCE_S, f"{abs(skew_s):.0f} s from a server's", remedy)
    behind = now < Path(__file__).stat().st_mtime - CLOCK_TOLERANCE_S
    return Check("clock", not behind, "it is set before this program was installed" if behind else "plausible", remedy)


def check_stores(settings: Settings) -> Iterator[Check]:
    """Every store in the home folder, or the one at `storage.uri`, can be read and has a known format."""
    from cryptosentinel.storage.opening import MARKER

    if settings.storage.uri is None:
        markers = [*settings.home.glob(f"store/{MARKER}"), *settings.home.glob(f"*/store/{MARKER}")]
    elif "://" not in settings.storage.uri:
        markers = list(Path(settings.storage.uri).expanduser().glob(MARKER))
    else:
        yield Check("store", True, f"{settings.storage.uri} is looked at when it is opened", required=False)
        return
    if not markers:
        yield Check("store", True, "none yet, made when first needed")
    for marker in sorted(markers):
        yield _check_store(settings, marker)


def _check_store(settings: Settings, marker: Path) -> Check:
    from cryptosentinel.storage import open_storage

    folder = marker.parent
    try:
        market = json.loads(marker.read_bytes()).get("market", "")
    except (OSError, ValueError, AttributeError):
        market = ""  # opening it says what is wrong
    try:
        store = settings.storage.model_copy(update={"uri": str(folder)})
        open_storage(store, root=settings.home, market=market)
    except CryptoSentinelError as error:
        return Check("store", False, error.message, error.remedy)
    return Check("store", True, f"{folder} holds {market}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _some(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if os.access(parent, os.F_OK))


def _available_gb() -> float:
    """Memory that can be had: free or held by caches, and what a container allows."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists() and (match := re.search(r"MemAvailable: +(\d+) kB", meminfo.read_text())):
        limits.append(int(match[1]) * 1024)
    if container.exists() and (allowed := container.read_text().strip()).isdigit():
        limits.append(int(allowed))
    return min(limits) / 1e9


def _bind_problem(host: str, port: int) -> str | None:
    """Why a server could not listen there; None where it could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections linger
            server.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.HTTPError:
        return False
