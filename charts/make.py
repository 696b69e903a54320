"""Writes what of the chart is made from elsewhere: `python -m charts.make` (make chart-docs).

README.md's table comes from the comments of values.yaml, and the part `settings` of values.schema.json from the
library's own settings, so that Helm refuses what the library would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cryptosentinel.config import Settings

CHART = Path(__file__).parent / "cryptosentinel"
BEGIN, END = "<!-- begin: values, made by charts/make.py -->", "<!-- end: values -->"

# The chart decides these: they have values of their own. Secrets are left out besides: they belong into `secret`.
RESERVED = {
    *("home", "storage.uri", "storage.options", "dashboard", "market.file"),
    *("monitoring.pushgateway_url", "monitoring.otlp_url", "monitoring.job"),
    *("monitoring.labels", "leases.interval_s"),
    *("rollout.inference_service", "rollout.namespace", "rollout.url"),
    *("serving.host", "serving.http_port", "serving.grpc_port", "serving.reload_s"),
    *("serving.log_format", "serving.explainer_url", "serving.explainer_port"),
    *("kubeflow.url", "kubeflow.namespace", "kubeflow.token_file", "kubeflow.ca_file"),
    *("kubeflow.name", "kubeflow.service_account", "kubeflow.secret", "kubeflow.secret_env"),
    *("kubeflow.image", "kubeflow.drift_image", "kubeflow.image_pull_policy", "kubeflow.image_pull_secrets"),
}
# What the library checks by code, said once more so that Helm checks it too. In a cluster each step is a pod of its
# own: `auto` may find another source in each, and a file is in none.
PATTERNS = {
    "market.source": r"^(coingecko|exchange:[a-z0-9]+|simulated(:[0-9]+)?)$",
    "schedules.*": r"^\S+( \S+){5}$",
}
_KEPT = {
    *("type", "enum", "const", "pattern", "description", "minLength", "maxLength", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}


def settings_schema() -> dict[str, Any]:
    """The JSON schema of the settings that a release may give, without references."""
    whole = Settings.model_json_schema()
    return _plain(whole, whole["$defs"], "")


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str) -> dict[str, Any]:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    plain = {key: value for key, value in schema.items() if key in _KEPT}
    if "properties" in schema:
        below = {key: f"{name}.{key}".lstrip(".") for key in schema["properties"]}
        given = {
            key: value
            for key, value in schema["properties"].items()
            if below[key] not in RESERVED and not _is_secret(value)
        }
        plain["properties"] = {key: _plain(value, definitions, below[key]) for key, value in given.items()}
        plain["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        plain["additionalProperties"] = _plain(schema["additionalProperties"], definitions, name)
    if "items" in schema:
        plain["items"] = _plain(schema["items"], definitions, name)
    if "anyOf" in schema:
        options = [_plain(option, definitions, name) for option in schema["anyOf"]]
        # One type or null: said so, a refusal names the value's fault and not that of every option.
        others = [option for option in options if option != {"type": "null"}]
        if len(others) == 1 and "type" in others[0] and "enum" not in others[0]:
            plain |= others[0] | {"type": [others[0]["type"], *(["null"] if len(options) > 1 else [])]}
        else:
            plain["anyOf"] = options
    for pattern in (PATTERNS.get(name), PATTERNS.get(f"{name.rpartition('.')[0]}.*")):
        if pattern is not None:
            plain["pattern"] = pattern
    return plain


def _is_secret(schema: Mapping[str, Any]) -> bool:
    return any(option.get("writeOnly", False) for option in (schema, *schema.get("anyOf", ())))


@dataclass(frozen=True)
class Value:
    """A row of the table: a value's path, its default as it is shown, and what it is."""

    path: str
    default: str
    text: str


def values() -> Iterator[Value]:
    """Every documented value of values.yaml, in its order.

    Raises:
        ValueError: a value has no comment, neither of its own nor above it, or a comment has no value.
    """
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    covered: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            words = stripped.removeprefix("#").strip()
            if words.startswith("--"):
                comment = [words.removeprefix("--").strip()]
            elif comment:
                comment.append(words)
            continue
        key = re.match(r"( *)([A-Za-z][\w]*):", line)
        if key is None:
            if comment:
                raise ValueError(f"values.yaml:{number}: the comment before it belongs to no value")
            continue
        while stack and stack[-1][0] >= len(key[1]):
            stack.pop()
        if stack and isinstance(_at(defaults, ".".join(name for _, name in stack)), list):
            continue  # inside an object of a list
        path = ".".join([*(name for _, name in stack), key[2]])
        stack.append((len(key[1]), key[2]))
        value = _at(defaults, path)
        if comment:
            shown = next((words.removeprefix("@default --").strip() for words in comment if "@default" in words), None)
            told = " ".join(words for words in comment if "@default" not in words)
            yield Value(path, shown or f"`{json.dumps(value)}`", told)
            if isinstance(value, dict):
                covered.append(f"{path}.")
            comment = []
        elif not isinstance(value, dict) and not path.startswith(tuple(covered)):
            raise ValueError(f"values.yaml:{number}: {path} has no comment")


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def readme(text: str) -> str:
    """The README with the table as it should be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [f"| `{value.path}` | {value.default.replace('|', chr(92) + '|')} | {value.text} |" for value in values()]
    return "\n".join([head + BEGIN, "", "| Value | Default | |", "|---|---|---|", *rows, "", END + tail])


def schema(text: str) -> str:
    """The values' schema with the part `settings` as it should be."""
    whole = json.loads(text)
    whole["properties"]["settings"] = settings_schema()
    return json.dumps(whole, indent=2) + "\n"


def main() -> None:
    """Writes both files where they differ."""
    for path, made in ((CHART / "README.md", readme), (CHART / "values.schema.json", schema)):
        before = path.read_text()
        after = made(before)
        if after != before:
            path.write_text(after)


if __name__ == "__main__":
    main()
