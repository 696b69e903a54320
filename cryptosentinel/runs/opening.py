"""Who runs the pipelines of a market: `Runner`, and which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cryptosentinel.runs.local import LocalRunner
from cryptosentinel.runs.records import Asked, Kind, Run

if TYPE_CHECKING:
    from cryptosentinel.workspace import Workspace


class Runner(Protocol):
    """Whoever runs the pipelines of a market.

    Attributes:
        name: in words: `this machine`, `Kubeflow Pipelines`.
        url: of its own pages; empty where it has none.
    """

    name: str
    url: str

    def refusal(self, kind: Kind) -> str:
        """Why a run cannot be asked for now, and what to do instead, in Markdown; empty where it can."""

    def ask(self, kind: Kind, user: str) -> Asked:
        """Asks for a run; where one of the kind is under way, joins it.

        Raises:
            StoreUnavailableError: the request cannot be written.
            KubeflowError: Kubeflow cannot be asked.
        """

    def answer(self, asked: Asked) -> Run | None:
        """The run that answers a request, as it is now; None while that waits."""

    def runs(self, limit: int = 200) -> list[Run]:
        """The newest runs, the newest first.

        Raises:
            KubeflowError: Kubeflow cannot be asked.
        """

    def log(self, run: Run, most: int = 200_000) -> str:
        """The end of a run's log, at most `most` bytes.

        Raises:
            UserInputError: it is gone.
            KubeflowError: Kubeflow cannot be asked.
        """


def runner(workspace: Workspace) -> Runner:
    """Who runs the pipelines of a market, by its settings: Kubeflow where `kubeflow.url` is set, else this machine."""
    if workspace.settings.kubeflow.url is not None:
        from cryptosentinel.runs.kubeflow import KubeflowRunner

        return KubeflowRunner(workspace.settings.kubeflow)
    return LocalRunner(workspace.root)
