"""How a step speaks to whoever runs it: lines of its output that begin with a mark, JSON behind it."""

from __future__ import annotations

TOLD_MARK = "STEP-TELLS "
FAILURE_MARK = "STEP-FAILED "
