"""`run/predictor.json` in a market's folder: where its predictor answers, while it does."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cryptosentinel.errors import ServingError
from cryptosentinel.runs import is_alive, this_process


class PredictorState(BaseModel):
    """A predictor that answers.

    Attributes:
        started_at: of the process, in seconds since 1970: a process id alone may be another process's by now.
        url: for REST, e.g. `http://127.0.0.1:8085`.
        grpc: for gRPC, e.g. `127.0.0.1:8086`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    pid: int
    started_at: float
    url: str
    grpc: str
    model_name: str

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        return is_alive({"pid": self.pid, "started_at": self.started_at})


def state_path(root: Path) -> Path:
    """The state file in a market's folder."""
    return root / "run" / "predictor.json"


def read_state(root: Path) -> PredictorState | None:
    """The predictor of a market's folder, or None; a file that a dead one left behind counts for nothing."""
    try:
        state = PredictorState.model_validate_json(state_path(root).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise ServingError(f"{state_path(root)} cannot be read: {error.strerror}.") from error
    return state if state.alive else None


def write_state(path: Path, *, url: str, grpc: str, model_name: str) -> None:
    """Says that this process answers; readers see the whole file or none.

    Raises:
        ServingError: the file cannot be written.
    """
    state = PredictorState(**this_process(), url=url, grpc=grpc, model_name=model_name)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(state.model_dump_json(), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ServingError(
            f"{path} cannot be written: {error.strerror}.", remedy="Set `home` to a folder that can be written."
        ) from error


def remove_state(path: Path) -> None:
    """Takes back what `write_state` wrote, unless another process has written since."""
    try:
        state = PredictorState.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return
    if state.pid == os.getpid():
        path.unlink(missing_ok=True)
