"""One process at a time in a home folder, and a folder that can be written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryptosentinel.errors import HomeInUseError, StoreUnavailableError
from pipelines import home as homes
from pipelines.home import locked_home

HOLDER = "import sys, time; from pathlib import Path; from pipelines.home import locked_home\n"
HOLDER += "with locked_home(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HomeInUseError, match=rf"process {holder.pid}\) runs in {tmp_path}") as caught:
            locked_home(tmp_path).__enter__()
        assert caught.value.exit_code == 2
        holder.kill()
        holder.wait()
    with locked_home(tmp_path):  # what is killed lets go
        assert (tmp_path / "holder.pid").read_text() == str(os.getpid())


def test_the_folder_is_made_and_may_be_used_again(tmp_path: Path) -> None:
    for _ in range(2):
        with locked_home(tmp_path / "a" / "b"):
            pass


@pytest.mark.parametrize("place", ["", "below"])
def test_a_file_in_the_folders_place_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreUnavailableError, match=r"home folder .*file.* cannot be used: .*\. Mend that, or choose"):
        locked_home(tmp_path / "file" / place).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_with_too_little_space_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "MIN_FREE_BYTES", 2**62)
    with pytest.raises(StoreUnavailableError, match="MB are free on its disk"):
        locked_home(tmp_path).__enter__()


def test_a_disk_that_fills_up_during_the_work_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=f"{tmp_path} cannot be used: No space left"), locked_home(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_has_nothing_to_do_with_the_folder_passes(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError), locked_home(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no")
    with locked_home(tmp_path):
        pass
