"""The predictor as a process: KServe's model server on our addresses.

    python -m serving.server --bundle /mnt/models
    python -m serving.server --store-root HOME/MARKET --market MARKET --settings JSON

The first serves one folder, the second follows a registry's champion.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import CryptoSentinelError, ServingError

log = logging.getLogger("serving")

GRACE_S = 10  # for requests that were accepted when the process is told to end
Background = Callable[[], Coroutine[Any, Any, None]]


def run_predictor(
    settings: Settings,
    *,
    bundle: Path | None = None,
    bundle_version: int | None = None,
    store_root: Path | None = None,
    market: str = "",
    state: Path | None = None,
    parent_pid: int | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; accepted requests are answered before it ends.

    Args:
        settings: `serving` says where it listens, `storage` which registry is followed.
        bundle: a folder to serve in place of a registry's champion.
        bundle_version: its version, where the folder does not say.
        store_root: with `market`, names the store whose registry is followed, as for `storage.open_storage`.
        market: see `store_root`.
        state: a file to write once it answers, and to remove at the end.
        parent_pid: end when this process, which started us, is gone.

    Raises:
        ServingError: an address cannot be listened on.
        BundleError: there is nothing that could be served.
        StorageError: the registry cannot be read.
    """
    _quiet_logging(settings.log_level)
    listener = _listen(settings.serving.host, settings.serving.http_port, "serving.http_port")
    if settings.serving.grpc_port:
        # Only to say it early and clearly: gRPC opens its own.
        _listen(settings.serving.host, settings.serving.grpc_port, "serving.grpc_port").close()

    from serving.bundles import ChampionFollower, load_served
    from serving.model_server import ForecastServer
    from serving.predictor import ForecastModel

    model = ForecastModel(settings.serving.model_name, settings.forecast)
    background: list[Background] = []
    if bundle is not None:
        model.serve(load_served(bundle, bundle_version))
    elif store_root is not None:
        from cryptosentinel.storage import open_storage

        registry = open_storage(settings.storage, root=store_root, market=market).registry
        follower = ChampionFollower(model, registry, store_root / "serving" / "bundles")
        follower.first()
        background.append(lambda: follower.follow(settings.serving.reload_s))
    else:
        raise ServingError("There is nothing to serve: neither a bundle folder nor a registry was named.")
    if parent_pid is not None:
        background.append(lambda: _end_with(parent_pid))
    server = ForecastServer(model, settings.serving, listener, state, background, grace_s=GRACE_S)
    server.start([model])


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server", description="Serve a forecast bundle with KServe."
    )
    parser.add_argument("--settings", default="{}", help="settings as JSON, over those of the environment")
    parser.add_argument("--bundle", type=Path, help="serve this bundle folder")
    parser.add_argument("--bundle-version", type=int, help="the folder's version in the registry")
    parser.add_argument("--store-root", type=Path, help="follow the champion of the store in this market's folder")
    parser.add_argument("--market", default="", help="the market of that store")
    parser.add_argument("--state", type=Path, help="write this file once it answers")
    parser.add_argument("--parent-pid", type=int, help="end when this process is gone")
    given = parser.parse_args(arguments)
    if (given.bundle is None) == (given.store_root is None):
        parser.error("name either --bundle or --store-root")
    try:
        overrides = json.loads(given.settings)
    except json.JSONDecodeError as error:
        parser.error(f"--settings is no JSON: {error}")
    try:
        run_predictor(
            load_settings(overrides=overrides),
            bundle=given.bundle,
            bundle_version=given.bundle_version,
            store_root=given.store_root,
            market=given.market,
            state=given.state,
            parent_pid=given.parent_pid,
        )
    except CryptoSentinelError as error:
        log.error("failed error=%s", json.dumps(str(error)))  # noqa: TRY400 (it explains itself)
        return error.exit_code
    except KeyboardInterrupt:  # before the server took over
        return 130
    return 0


def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.create_server((host, port), family=family)
        # By this number asyncio knows TCP, and sends answers at once: else each waits 40 ms for another packet.
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=opened.detach())
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServingError(
                f"The predictor cannot start: port {port} on {host} is in use.",
                remedy=f"Stop what uses it, or set {setting} to another port (0: any that is free).",
            ) from error
        raise ServingError(
            f"The predictor cannot listen on {host}:{port}: {error.strerror or error}.",
            remedy=f"Check serving.host and {setting}.",
        ) from error


async def _end_with(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        await asyncio.sleep(0.5)
    log.warning('stopping reason="the process that started the predictor is gone"')
    signal.raise_signal(signal.SIGTERM)


def _quiet_logging(level: str) -> None:
    """Our own lines, and of KServe's and uvicorn's only what is a fault of the server."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    handler.addFilter(_is_no_client_fault)
    for name, threshold in (("serving", level.upper()), ("kserve", "ERROR"), ("uvicorn", "ERROR")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(threshold)

    # KServe's, at the first request; it is not ours to mend.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")


def _is_no_client_fault(record: logging.LogRecord) -> bool:
    """KServe logs every refused request as an error, with a traceback."""
    if not record.exc_info or record.exc_info[1] is None:
        return True
    from serving._kserve import InvalidInput, ModelNotFound, ModelNotReady, UnsupportedProtocol

    faults = (InvalidInput, ModelNotFound, ModelNotReady, UnsupportedProtocol, NotImplementedError)
    return not isinstance(record.exc_info[1], faults)


if __name__ == "__main__":
    sys.exit(main())
