"""Who runs the pipelines, what they ran, and how to ask for a run: `cryptosentinel up` on this machine, or Kubeflow.

Importing it takes next to nothing, so that whatever runs a pipeline can write down how it goes.
"""

from cryptosentinel.runs.asking import Request, dropped, listening, pending
from cryptosentinel.runs.opening import Runner, runner
from cryptosentinel.runs.processes import is_alive, this_process
from cryptosentinel.runs.recording import Recording
from cryptosentinel.runs.records import KINDS, STEPS_OF, Asked, By, Kind, Run, State, Step

__all__ = [
    "KINDS",
    "STEPS_OF",
    "Asked",
    "By",
    "Kind",
    "Recording",
    "Request",
    "Run",
    "Runner",
    "State",
    "Step",
    "dropped",
    "is_alive",
    "listening",
    "pending",
    "runner",
    "this_process",
]
