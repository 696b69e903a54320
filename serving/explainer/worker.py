"""The explainer's worker process: it may be killed, or end, at any moment; its supervisor starts another."""

from __future__ import annotations

import os
import sys

import uvicorn

from serving import logs
from serving.explainer.app import ExplainerApp
from serving.explainer.explainers import Explainers, fetched_copies, one_folder
from serving.explainer.options import read_options

NICE = 5  # forecasts come first
GRACE_S = 8  # less than the supervisor's
KEEPALIVE_S = 30  # longer than the predictor keeps a connection: it never finds one closed


def main() -> int:
    """Serves until it is told to end, it has grown too large, or its supervisor is gone."""
    options = read_options()
    logs.configure(options.log_level, options.log_format)
    os.nice(NICE)
    find = (
        one_folder(options.bundle, options.bundle_version)
        if options.bundle
        else fetched_copies(options.store_root / "serving" / "bundles")
    )

    def end() -> None:
        server.should_exit = True

    app = ExplainerApp(
        Explainers(find), max_waiting=options.max_waiting, max_memory_mb=options.max_memory_mb, grown=end
    )
    config = uvicorn.Config(
        app.build(),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEPALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, options.parent_pid)
    server.run()
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, parent_pid: int | None) -> None:
        super().__init__(config)
        self._parent_pid = parent_pid

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        orphaned = self._parent_pid not in {None, os.getppid()}
        return await super().on_tick(counter) or orphaned


if __name__ == "__main__":
    sys.exit(main())
