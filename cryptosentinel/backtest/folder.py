"""What a backtest keeps in its folder between two starts, and what of it can be believed.

Everything is written beside its place and moved there, so that what is there is whole. What is damaged all the same
counts as not there, and is made anew.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from pydantic import BaseModel

from cryptosentinel.backtest.records import BacktestMeta, Training
from cryptosentinel.bundle import Bundle
from cryptosentinel.errors import BundleError, StoreUnavailableError, UserInputError
from cryptosentinel.forecasting.looks import PastVerdict

TAPE, VERSION_0 = "tape", "version-0"
FORECASTS, FIGURES, REPORT = "forecasts.parquet", "figures.json", "report.html"
# Of one training run.
PARTS, BUNDLE, CARD = "parts", "bundle", "MODEL_CARD.md"
_ABOUT, _LOCK, _TRAININGS, _RECORD, _TRAINED = "backtest.json", "lock", "trainings", "record.json", "trained.json"
_OURS = (_ABOUT, _TRAININGS, TAPE, VERSION_0, FORECASTS, FIGURES, REPORT)
# Under which a stretch of forecasts keeps the quantiles that the baselines of the spread begin with.
BASELINES = "baselines"
# What decides which bars are read: where one of these differs, so does their digest.
_CHOOSES_BARS = {"asset", "currency", "market", "interval", "horizon bars", "start", "end", "training.window_days"}
# What the operating system says of a folder that cannot be written (any more).
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


class Trained(BaseModel):
    """What training the parts of one run came to.

    Attributes:
        seconds: what all fits took.
        problem: why there are no parts; empty where there are.
        files: sha256 by path of everything else in the folder of the parts.
    """

    seconds: float
    problem: str = ""
    files: dict[str, str] = {}


class Step(BaseModel):
    """What a training run came to.

    Attributes:
        training: for the report.
        verdict: what the gate's next looks see of it; None where nothing was trained.
        base_rate: share of rises in the rows that choices were made on.
    """

    training: Training
    verdict: PastVerdict | None
    base_rate: float

    @property
    def promoted(self) -> bool:
        """Whether its bundle serves from then on."""
        return self.training.gate.promote


@dataclass(frozen=True)
class Kept:
    """What of a backtest is there, and whole.

    Attributes:
        steps: by training run; None where it must be judged (again).
        served: by training run, whether the forecasts that follow it are there.
    """

    steps: list[Step | None]
    served: list[bool]

    @property
    def done(self) -> int:
        """Training runs with nothing left to do."""
        return sum(step is not None and served for step, served in zip(self.steps, self.served, strict=True))


def check(folder: Path) -> None:
    """Makes sure that the folder can be worked in, and leaves no trace.

    Raises:
        UserInputError: it holds something else than a backtest.
        StoreUnavailableError: it cannot be made or written.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
        foreign = folder.is_dir() and not (folder / _ABOUT).exists() and {path.name for path in folder.iterdir()}
    except OSError as error:
        raise _unwritable(folder, error, "Name another folder with --out.") from error
    if foreign and foreign - {_LOCK, _scratch(folder / _ABOUT).name}:
        raise UserInputError(f"{folder} is not empty, and holds no backtest.", remedy="Name another folder with --out.")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; a process that is killed lets go of it.

    Raises:
        UserInputError: another process holds it.
        StoreUnavailableError: it cannot be made or written, or its disk is full or becomes so in the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK).acquire(timeout=0):
            yield
    except Timeout:
        raise UserInputError(
            f"Another backtest runs in {folder}.", remedy="Wait for it, or name another folder with --out."
        ) from None
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _unwritable(folder, error, "Mend that, or name another folder with --out; what is done stays.") from error


def _unwritable(folder: Path, error: OSError, remedy: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"Cannot write to {folder}: {error.strerror}.", remedy=remedy)


def claimed_by(folder: Path, meta: BacktestMeta) -> bool:
    """Whether the folder holds this very backtest, begun or finished.

    Raises:
        UserInputError: it holds another one.
    """
    try:
        text = (folder / _ABOUT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    try:
        before = BacktestMeta.model_validate_json(text)
    except ValueError:
        return False  # damaged: nobody knows what the rest belongs to
    differing = [n for n in BacktestMeta.model_fields if n != "command" and getattr(before, n) != getattr(meta, n)]
    if differing:
        names = list(_differences(before, meta, differing))
        if _CHOOSES_BARS.intersection(names):
            names = [name for name in names if name != "data digest"]
        raise UserInputError(
            f"{folder} holds another backtest: {' and '.join(names)} {'differs' if len(names) == 1 else 'differ'}.",
            remedy="Name another folder with --out, or start over with --fresh.",
        )
    return True


def claim(folder: Path, meta: BacktestMeta, *, fresh: bool) -> None:
    """Notes in the folder what it holds; what is there goes if it is not to be used.

    Raises:
        UserInputError: it holds another one, and would not be begun anew.
    """
    if not (fresh and (folder / _ABOUT).is_file()) and claimed_by(folder, meta):
        return
    for name in _OURS[1:]:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write(folder / _ABOUT, meta.model_dump_json(indent=2))


def sweep(folder: Path) -> None:
    """Removes what processes that were killed left behind: half of a training run, and parts of a whole one."""
    for path in (folder / _TRAININGS).glob(f"*/{PARTS}-*"):
        shutil.rmtree(path)
    for path in (folder / _TRAININGS).glob(f"*/{PARTS}"):
        if read_step(path.parent) is not None:
            shutil.rmtree(path)


def place_of(folder: Path, number: int) -> Path:
    """The folder of a training run."""
    return folder / _TRAININGS / f"{number:04}"


def survey(folder: Path, count: int) -> Kept:
    """What of `count` training runs is there, and whole.

    A bundle that has to serve or to be compared with, but is not there any more, takes its training run with it.
    """
    places = [place_of(folder, number) for number in range(count)]
    kept = Kept([read_step(place) for place in places], [read_stretch(place) is not None for place in places])
    needed: set[int | None] = set()
    for number in reversed(range(count)):
        step = kept.steps[number]
        if step is not None and number in needed and not _loads(places[number] / BUNDLE):
            step = kept.steps[number] = None
        if step is None:
            needed.add(_champion(kept.steps[:number]))
        elif not kept.served[number]:
            needed.add(_champion(kept.steps[: number + 1]))
    return kept


def read_step(place: Path) -> Step | None:
    """What a training run came to; None where that is not known."""
    try:
        return Step.model_validate_json((place / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_step(place: Path, step: Step) -> None:
    """Keeps what a training run came to; its parts are not needed any more."""
    place.mkdir(parents=True, exist_ok=True)
    write(place / _RECORD, step.model_dump_json(indent=2))
    shutil.rmtree(place / PARTS, ignore_errors=True)


def read_stretch(place: Path) -> pd.DataFrame | None:
    """The forecasts from one training run to the next; None where they are not there."""
    try:
        frame = pd.read_parquet(place / FORECASTS)
    except (OSError, ValueError):
        return None
    return frame if BASELINES in frame.attrs else None


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes a frame as Parquet, whole or not at all."""
    with whole(path) as scratch:
        frame.to_parquet(scratch)


def read_trained(place: Path) -> Trained | None:
    """What training came to; None where a part is missing or damaged."""
    folder = place / PARTS
    try:
        trained = Trained.model_validate_json((folder / _TRAINED).read_text(encoding="utf-8"))
        return trained if _digests(folder) == trained.files else None
    except (OSError, ValueError):
        return None


def write_trained(place: Path, parts: Path, seconds: float, problem: str = "") -> Trained:
    """Moves a folder of parts to its place."""
    trained = Trained(seconds=seconds, problem=problem, files=_digests(parts))
    (parts / _TRAINED).write_text(trained.model_dump_json(), encoding="utf-8")
    shutil.rmtree(place / PARTS, ignore_errors=True)  # damaged, else nobody would have trained
    parts.replace(place / PARTS)
    return trained


def write(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what then becomes the file, whole or not at all."""
    yield _scratch(path)
    _scratch(path).replace(path)


def _scratch(path: Path) -> Path:
    return path.with_suffix(".new")


def _champion(steps: Sequence[Step | None]) -> int | None:
    """The newest training run whose bundle serves, or may once it is made anew."""
    return next((n for n in reversed(range(len(steps))) if (s := steps[n]) is None or s.promoted), None)


def _loads(path: Path) -> bool:
    try:
        Bundle.load(path)
    except BundleError:
        return False
    return True


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _TRAINED)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _differences(before: BacktestMeta, meta: BacktestMeta, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name != "settings":
            yield name.replace("_", " ")
            continue
        for group in sorted(before.settings.keys() | meta.settings.keys()):
            one, other = before.settings.get(group), meta.settings.get(group)
            if isinstance(one, dict) and isinstance(other, dict):
                yield from (
                    f"{group}.{key}" for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)
                )
            elif one != other:
                yield group
