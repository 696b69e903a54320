"""`python -m serving.explainer`: a supervised worker."""

from __future__ import annotations

import os
import sys

from serving import logs
from serving.explainer.options import read_options
from serving.explainer.supervisor import supervise


def main() -> int:
    """Returns the exit code: 0 once it was told to end."""
    options = read_options()
    logs.configure(options.log_level, options.log_format)
    command = [sys.executable, "-m", "serving.explainer.worker", *sys.argv[1:], "--parent-pid", str(os.getpid())]
    return supervise(command, parent_pid=options.parent_pid)


if __name__ == "__main__":
    sys.exit(main())
