"""The Role in docs/rollout.md is what promotions use: the API double refuses more, and here is no less."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cryptosentinel.errors import RolledBackError
from serving.rollout.promotion import roll_out
from tests.rollout.conftest import World, make_workspace
from tests.rollout.rights import Asked, allows, rules


def promote_fail_and_try(world: World) -> None:
    """Everything that asks for something: a canary, a promotion, one that fails, and one that finds a Lease."""
    home = world.workspace.settings.home
    roll_out(make_workspace(home, canary_percent=10, canary_s=0.1), 2)
    world.api.never_ready.add(world.uri(0))
    with pytest.raises(RolledBackError):
        roll_out(make_workspace(home, timeout_s=0.5), 0)


def test_each_right_is_used_and_there_is_no_other(world: World) -> None:
    promote_fail_and_try(world)
    used = {(each.verb, each.group, each.resource, each.name) for each in world.api.asked}
    granted = {
        (verb, group, resource, name)
        for rule in rules()
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    assert used == granted


def test_the_double_refuses_what_the_role_does_not_grant() -> None:
    def granted(asked: Asked) -> bool:
        return any(allows(rule, asked) for rule in rules())

    asked: Callable[[str, str, str], Asked] = lambda verb, resource, name: Asked(  # noqa: E731
        verb, "apps", resource, "release", name
    )
    assert granted(asked("get", "deployments", "cs-predictor"))
    assert not granted(asked("patch", "deployments", "cs-predictor"))
    assert not granted(asked("get", "deployments", "another-predictor"))
    assert not granted(asked("watch", "deployments", ""))
