"""Which image the components run in."""

from __future__ import annotations

import os

# The name is Python's so that the local runner, which runs it without any image, does not warn of a foreign one.
PIPELINE_IMAGE = os.environ.get("PIPELINE_IMAGE", "cryptosentinel/pipeline-python:dev")
