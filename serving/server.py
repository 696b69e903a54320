"""The predictor as a process: KServe's model server on our addresses.

    python -m serving.server --bundle /mnt/models [--bundle INSTEAD]
    python -m serving.server --store-root HOME/MARKET --market MARKET --settings JSON

The first serves one folder (the first named that holds a bundle), the second follows a registry's champion.
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
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import CryptoSentinelError, ServingError
from serving import logs
from serving.logs import fields
from serving.workers import MULTIPROCESS_FOLDER, Workers

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
    worker: int | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; accepted requests are answered before it ends.

    With `serving.workers` above one this process only starts and watches them: see `serving.workers`.

    Args:
        settings: `serving` says where it listens, `storage` which registry is followed.
        bundle: a folder to serve in place of a registry's champion.
        bundle_version: its version, where the folder does not say.
        store_root: with `market`, names the store whose registry is followed, as for `storage.open_storage`.
        market: see `store_root`.
        state: a file to write once it answers, and to remove at the end.
        parent_pid: end when this process, which started us, is gone.
        worker: which of several processes this is; gRPC is answered by the first, 0.

    Raises:
        ServingError: an address cannot be listened on.
        SystemExit: a worker did not start, and said why.
        BundleError: there is nothing that could be served.
        StorageError: the registry cannot be read.
    """
    logs.configure(settings.log_level, settings.serving.log_format)
    host, http_port = settings.serving.host, settings.serving.http_port
    if worker is None:
        listener = _listen(host, http_port, "serving.http_port")
        # gRPC opens its own; only to say it early and clearly, and to know the port before the workers do.
        with _listen(host, settings.serving.grpc_port, "serving.grpc_port") as free:
            grpc_port = free.getsockname()[1]
        if settings.serving.workers > 1:
            ports = {"http_port": listener.getsockname()[1], "grpc_port": grpc_port}
            listener.close()  # it was free
            served = _arguments(settings, ports, bundle, bundle_version, store_root, market)
            workers = Workers(
                served, settings.serving.workers, (host, ports["http_port"]), GRACE_S + 5, state, parent_pid
            )
            if exit_code := workers.run():
                raise SystemExit(exit_code)
            return
        os.environ.pop(MULTIPROCESS_FOLDER, None)  # there is nothing to add up

    from serving import tracing
    from serving.bundles import BundleFolder, ChampionFollower, Source, load_served
    from serving.handover import handover_for
    from serving.model_server import ForecastServer
    from serving.predictor import ForecastModel

    model = ForecastModel(settings.serving.model_name, settings.forecast, handover=handover_for(settings.serving))
    background: list[Background] = []
    source: Source
    if bundle is not None:
        source = BundleFolder(model, bundle, bundle_version)
        model.serve(load_served(bundle, bundle_version))
    elif store_root is not None:
        try:
            from cryptosentinel.storage import open_storage
        except ModuleNotFoundError as error:
            raise ServingError(
                f"A registry cannot be followed here: there is no {error.name}.",
                remedy="Serve a folder with --bundle, or install requirements/main.txt.",
            ) from error
        registry = open_storage(settings.storage, root=store_root, market=market).registry
        source = follower = ChampionFollower(model, registry, store_root / "serving" / "bundles")
        follower.first()
        background.append(lambda: follower.follow(settings.serving.reload_s))
    else:
        raise ServingError("There is nothing to serve: neither a bundle folder nor a registry was named.")
    if parent_pid is not None:
        background.append(lambda: _end_with(parent_pid))
    if worker is not None:  # not before it can answer: the kernel shares connections out among those that listen
        listener = _listen(host, http_port, "serving.http_port", shared=True)
    server = ForecastServer(
        model,
        settings.serving,
        listener,
        state,
        background,
        grace_s=GRACE_S,
        worker=worker,
        source=source if settings.serving.repository_api else None,
    )
    provider = tracing.start() if settings.serving.tracing else None
    try:
        server.start([model])
    finally:
        if provider is not None:
            provider.shutdown()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server", description="Serve a forecast bundle with KServe."
    )
    parser.add_argument("--settings", default="{}", help="settings as JSON, over those of the environment")
    parser.add_argument(
        "--bundle", type=Path, action="append", help="serve this folder; of several, the first that holds a bundle"
    )
    parser.add_argument("--bundle-version", type=int, help="the folder's version in the registry")
    parser.add_argument("--store-root", type=Path, help="follow the champion of the store in this market's folder")
    parser.add_argument("--market", default="", help="the market of that store")
    parser.add_argument("--state", type=Path, help="write this file once it answers")
    parser.add_argument("--parent-pid", type=int, help="end when this process is gone")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if (given.bundle is None) == (given.store_root is None):
        parser.error("name either --bundle or --store-root")
    try:
        overrides = json.loads(given.settings)
    except json.JSONDecodeError as error:
        parser.error(f"--settings is no JSON: {error}")
    logs.configure("info", "text")  # until the settings are read
    bundle = None
    if given.bundle:
        from serving.bundles import first_bundle

        bundle = first_bundle(given.bundle)
    try:
        run_predictor(
            load_settings(overrides=overrides),
            bundle=bundle,
            bundle_version=given.bundle_version,
            store_root=given.store_root,
            market=given.market,
            state=given.state,
            parent_pid=given.parent_pid,
            worker=given.worker,
        )
    except CryptoSentinelError as error:
        log.error(logs.FAILED, extra=fields(error=str(error)))  # noqa: TRY400 (it explains itself)
        return error.exit_code
    except KeyboardInterrupt:  # before the server took over
        return 130
    return 0


def _listen(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.create_server((host, port), family=family, reuse_port=shared)
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


def _arguments(
    settings: Settings,
    ports: dict[str, int],
    bundle: Path | None,
    bundle_version: int | None,
    store_root: Path | None,
    market: str,
) -> list[str]:
    """Of the command line of a worker."""
    serving = settings.serving.model_copy(update=ports)
    arguments = ["--settings", settings.model_copy(update={"serving": serving}).public_json()]
    if bundle is not None:
        arguments += ["--bundle", str(bundle)]
    if bundle_version is not None:
        arguments += ["--bundle-version", str(bundle_version)]
    if store_root is not None:
        arguments += ["--store-root", str(store_root), "--market", market]
    return arguments


async def _end_with(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        await asyncio.sleep(0.5)
    log.warning("stopping", extra=fields(reason="the process that started the predictor is gone"))
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    # As the first process of a container it would not notice, until the server listens for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
