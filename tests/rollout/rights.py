"""A request in the words of RBAC, and the Role that docs/rollout.md has for promotions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.rollout.objects import NAME, Json

DOCS = Path(__file__).parents[2] / "docs" / "rollout.md"
_PATH = re.compile(r"/(?:api/v1|apis/([^/]+)/[^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?$")


@dataclass(frozen=True)
class Asked:
    """One request, in the words of RBAC."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    dry_run: bool = False


def asked_of(method: str, path: str, query: dict[str, str]) -> Asked:
    match = _PATH.match(path)
    assert match, path
    group, namespace, resource, name = (part or "" for part in match.groups())
    if method == "GET" and not name:
        verb = "watch" if query.get("watch", "").lower() == "true" else "list"
        # The API server takes the name from the selector, where that is all it selects.
        selected = query.get("fieldSelector", "")
        name = selected.removeprefix("metadata.name=") if selected.startswith("metadata.name=") else ""
    else:
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}[method]
    return Asked(verb, group, resource, namespace, name, dry_run="dryRun" in query)


def rules() -> list[Json]:
    """The Role of docs/rollout.md, with the InferenceService's name in it."""
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return list(yaml.safe_load(text.replace("NAME", NAME))["rules"])


def allows(rule: Json, asked: Asked) -> bool:
    names = rule.get("resourceNames")
    return (
        asked.verb in rule["verbs"]
        and asked.group in rule["apiGroups"]
        and asked.resource in rule["resources"]
        and (names is None or asked.name in names)
    )
