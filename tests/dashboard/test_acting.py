"""Who may do more than look."""

from __future__ import annotations

import pytest

from cryptosentinel.config import DashboardSettings, load_settings
from dashboard.acting import LOCAL_USER, permission

IN_A_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def settings(**values: object) -> DashboardSettings:
    return DashboardSettings(actions=True, **values)


def test_a_dashboard_only_shows_unless_it_is_told_otherwise() -> None:
    default = load_settings(environ={}).dashboard
    refused = permission(default, {"X-Forwarded-User": "ada"}, {})
    assert not refused.granted
    assert "CRYPTOSENTINEL_DASHBOARD_ACTIONS=on" in refused.refused


@pytest.mark.parametrize("variable", ["CRYPTOSENTINEL_DASHBOARD_ACTIONS", "CRYPTOSENTINEL_DASHBOARD__ACTIONS"])
def test_the_switch_may_be_written_either_way(variable: str) -> None:
    assert load_settings(environ={variable: "on"}).dashboard.actions


def test_on_a_machine_of_ones_own_nobody_is_asked_who_they_are() -> None:
    assert permission(settings(), {}, {}).user == LOCAL_USER


def test_in_a_cluster_nobody_acts_without_a_proxy_that_says_who_they_are() -> None:
    refused = permission(settings(), {"X-Forwarded-User": "mallory"}, IN_A_CLUSTER)
    assert not refused.granted
    assert "dashboard.authProxy" in refused.refused


@pytest.mark.parametrize("environ", [{}, IN_A_CLUSTER])
@pytest.mark.parametrize("header", ["X-Forwarded-User", "x-forwarded-user"])
def test_behind_a_proxy_only_who_is_signed_in_acts(environ: dict[str, str], header: str) -> None:
    behind = settings(user_header="X-Forwarded-User")
    assert permission(behind, {header: "ada"}, environ).user == "ada"
    assert "Sign in" in permission(behind, {}, environ).refused
    assert "Sign in" in permission(behind, {header: "  "}, environ).refused
    assert "Sign in" in permission(behind, {"X-Forwarded-Email": "ada@example.org"}, environ).refused
