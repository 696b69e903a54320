"""MLServer as a peer: an environment of its own, and what starts it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from cryptosentinel.bundle import ONNX_FILE
from side_by_side.asking import MODEL

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / ".venv-mlserver"
LOCKED = ROOT / "requirements" / "mlserver.txt"


def make_environment() -> None:
    """Makes `.venv-mlserver` from its locked requirements, unless it is there.

    Raises:
        SystemExit: it cannot be made.
    """
    state = ENVIRONMENT / ".state"  # written last
    wanted = hashlib.sha256(LOCKED.read_bytes()).hexdigest()
    if state.exists() and state.read_text() == wanted:
        return
    print(f"Making {ENVIRONMENT.name} (290 MB)", file=sys.stderr)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    try:
        subprocess.run([*uv, "venv", "--python", sys.executable, str(ENVIRONMENT)], check=True)
        install = ["pip", "install", "--require-hashes", "--compile-bytecode", "--python", str(_python())]
        subprocess.run([*uv, *install, "-r", str(LOCKED)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"MLServer cannot be installed: {error}. Measure without --mlserver.") from error
    state.write_text(wanted)


def command(bundle: Path, folder: Path, http_port: int, grpc_port: int) -> list[str]:
    """What starts it, with its settings written into `folder`.

    One process, as quiet as the others; its own default hands each request to a second process, which costs one row
    more than it brings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = {"host": "127.0.0.1", "http_port": http_port, "grpc_port": grpc_port, "metrics_endpoint": None}
    server |= {"parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(server))
    model = {"name": MODEL, "implementation": "mlserver_runtime.OnnxRuntime"}
    model |= {"parameters": {"uri": str(bundle / ONNX_FILE)}}
    shutil.copy(HERE / "mlserver_runtime.py", folder)  # it looks for it there
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(_python().with_name("mlserver")), "start", str(folder)]


def _python() -> Path:
    return ENVIRONMENT / "bin" / "python"
