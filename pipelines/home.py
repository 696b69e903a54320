"""The home folder: one `up` at a time, and a folder that can be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cryptosentinel.errors import HomeInUseError, StoreUnavailableError

# A cycle writes about 100 MB with a 90-day window; beginning with less would end half way.
MIN_FREE_BYTES = 200_000_000
# What the operating system says of a folder that cannot be written (any more).
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Holds a home folder for this process; a process that is killed lets go of it.

    Raises:
        HomeInUseError: another process holds it.
        StoreUnavailableError: the folder cannot be made or written, or its disk is full or becomes so in the block.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        holder = _read(home / "holder.pid")
        raise HomeInUseError(
            f"Another cryptosentinel{f' (process {holder})' if holder else ''} runs in {home}.",
            remedy="Stop it first, or give this one another folder with --home.",
        ) from None
    except OSError as error:
        raise _unusable(home, error.strerror or str(error)) from error
    try:
        free = shutil.disk_usage(home).free
        if free < MIN_FREE_BYTES:
            raise _unusable(home, f"only {free / 1e6:.0f} MB are free on its disk, at least 200 MB are needed")
        (home / "holder.pid").write_text(str(os.getpid()), encoding="ascii")
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _unusable(home, error.strerror or str(error)) from error
    finally:
        lock.release()


def _unusable(home: Path, why: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"The home folder {home} cannot be used: {why}.",
        remedy="Mend that, or choose another folder with --home or CRYPTOSENTINEL_HOME.",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
