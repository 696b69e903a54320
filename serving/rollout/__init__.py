"""Bringing a version of the registry to serve in the cluster, and back where it does not.

Nothing here decides which version is good: the gate did. Everything in the cluster goes through `cluster`, what a
finished rollout is stands in `progress`, and the order of things in `promotion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptosentinel.errors import CryptoSentinelError

if TYPE_CHECKING:  # the command line imports this package before it knows what is asked
    from cryptosentinel.forecasting import Promote
    from cryptosentinel.workspace import Workspace

__all__ = ["in_use", "promoter"]


def promoter(workspace: Workspace) -> Promote:
    """How a version becomes champion: where `rollout.inference_service` is set, once it serves there."""
    if workspace.settings.rollout.inference_service is None:
        return workspace.storage.registry.promote
    from serving.rollout.promotion import roll_out  # the Kubernetes client takes a second to import

    def promote(version: int, *, expected: int | None) -> None:
        roll_out(workspace, version, expected=expected or 0)

    return promote


def in_use(workspace: Workspace) -> Mapping[int, str] | str:
    """The versions that serve in the cluster or are tried there, and where; or why that is not known."""
    if workspace.settings.rollout.inference_service is None:
        return {}
    from serving.rollout.promotion import served

    try:
        return served(workspace)
    except CryptoSentinelError as error:
        return f"it is not known what serves: {error.message}"
