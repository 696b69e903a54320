"""The explainer's command line, which the supervisor checks and its worker obeys."""

from __future__ import annotations

import argparse
from pathlib import Path

PORT = 8087
# What one request may hold.
MAX_ROWS, MAX_LIME_ROWS = 16, 1


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; ends the process where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.explainer",
        description="Explain the forecasts of the bundle that the predictor beside this process serves.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--bundle",
        type=Path,
        action="append",
        help="explain this folder, whatever comes to lie there; of several, the first that holds a bundle",
    )
    what.add_argument("--store-root", type=Path, help="explain the bundles that this market's predictor has fetched")
    parser.add_argument("--bundle-version", type=int, help="the folder's version, where it does not say")
    parser.add_argument("--host", default="127.0.0.1", help="containers of one pod share 127.0.0.1 (the default)")
    parser.add_argument("--port", type=_port, default=PORT, help=f"default {PORT}")
    parser.add_argument("--max-waiting", type=_positive, default=8, help="requests at once; more are refused with 503")
    parser.add_argument(
        "--max-memory-mb", type=_positive, default=1536, help="a worker that has grown beyond it is replaced"
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    parser.add_argument("--parent-pid", type=_positive, help="end when this process is gone")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    # Not 0: the predictor has to know the port, and a worker that starts again must get the same.
    if not 1 <= (port := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port from 1 to 65535")
    return port


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number
