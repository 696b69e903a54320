"""Bringing a version of the registry to serve in the cluster, and back where it does not.

Nothing here decides which version is good: the gate did. Everything in the cluster goes through `cluster`, what a
finished rollout is stands in `progress`, and the order of things in `promotion`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line imports this package before it knows what is asked
    from cryptosentinel.forecasting import Promote
    from cryptosentinel.workspace import Workspace

__all__ = ["promoter"]


def promoter(workspace: Workspace) -> Promote:
    """How a version becomes champion: where `rollout.inference_service` is set, once it serves there."""
    if workspace.settings.rollout.inference_service is None:
        return workspace.storage.registry.promote
    from serving.rollout.promotion import roll_out  # the Kubernetes client takes a second to import

    def promote(version: int, *, expected: int | None) -> None:
        roll_out(workspace, version, expected=expected or 0)

    return promote
