"""Who may do more than look. Reading is open to whoever reaches the dashboard; what changes something is not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptosentinel.config import DashboardSettings

# Who acts on a machine of their own, where nobody is asked who they are.
LOCAL_USER = "local"


@dataclass(frozen=True)
class Permission:
    """Whether a viewer may act.

    Attributes:
        user: who acts, for the record; empty where they may not.
        refused: why not, in a sentence; empty where they may.
    """

    user: str = ""
    refused: str = ""

    @property
    def granted(self) -> bool:
        """Whether they may."""
        return bool(self.user)


def permission(
    settings: DashboardSettings, headers: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> Permission:
    """Whether who sent `headers` may act.

    A header is believed because the settings name it: whoever sets `dashboard.user_header` says that nobody reaches the
    dashboard but through the proxy that writes it.

    Args:
        settings: the switch, and the header's name.
        headers: of the viewer's connection, by names in any case.
        environ: of this process; Kubernetes names its API there.
    """
    if not settings.actions:
        return Permission(refused="This dashboard only shows: CRYPTOSENTINEL_DASHBOARD_ACTIONS=on lets it act.")
    if settings.user_header is None:
        if "KUBERNETES_SERVICE_HOST" in environ:
            return Permission(
                refused="In a cluster only signed-in users may act: put a proxy in front (`dashboard.authProxy` of the "
                "chart) and name its header in `dashboard.user_header`."
            )
        return Permission(LOCAL_USER)
    named = {name.lower(): value.strip() for name, value in headers.items()}
    user = named.get(settings.user_header.lower(), "")
    return Permission(user) if user else Permission(refused="Sign in to act: who asks is not known.")
