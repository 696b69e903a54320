"""Which image the components run in."""

from __future__ import annotations

import os

from cryptosentinel import __version__

# The tag names Python because the local runner, which needs no image, warns of one that does not.
PIPELINE_IMAGE = os.environ.get("PIPELINE_IMAGE", f"cryptosentinel/pipeline:{__version__}-python3.11")
# The same, and beside it the environment of alibi-detect.
DRIFT_IMAGE = os.environ.get("DRIFT_IMAGE", f"cryptosentinel/drift:{__version__}-python3.11")
