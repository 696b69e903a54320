"""How settings are read from a file, the environment and the command line, and how a wrong one is named.

Knows none of the settings: `settings` hands over the model that they must fit. No value comes into a message unless
the model says that it is no secret.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from cryptosentinel.errors import SettingsError

Name = tuple[str, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

# What Kubernetes tells every pod about a Service whose name begins with ours; none of it is a setting.
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)")
# What pydantic says in its own words, in ours.
_WORDS = {
    "string_type": "must be text (put it in quotes)",
    "tuple_type": "must be a list, e.g. [a, b]",
}


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Attributes:
        values: by name (dots lead into groups); a value may be a mapping of further ones.
        spell: how a person writes a setting there, given its name with dots.
        place: where that is, as it follows the name in a sentence.
    """

    values: Mapping[Any, Any]
    spell: Callable[[str], str]
    place: str

    def named(self, name: Name) -> str:
        """A setting as it was written, and where."""
        return f"'{self.spell('.'.join(map(str, name)))}' {self.place}"


def file_layer(path: Path) -> Layer:
    """The settings of a YAML file; an empty file has none.

    Raises:
        SettingsError: it cannot be read, is not YAML, gives one name twice, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"Cannot read the settings file {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError:
        raise SettingsError(f"The settings file {path} is not text in UTF-8.") from None
    values = _load_yaml(text, f"The settings file {path} is not YAML")
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"The settings file {path} must hold names and values, not one {type(values).__name__}.")
    return Layer(values or {}, str, f"in {path}")


def environment_layer(environ: Mapping[str, str], prefix: str, not_settings: frozenset[str]) -> Layer:
    """The settings among the environment variables: those with the prefix, but for `not_settings`.

    Raises:
        SettingsError: what looks like a list or a mapping is not one.
    """
    values = {
        name.removeprefix(prefix).lower().replace("__", "."): read_text(text, f"'{name}' in the environment")
        for name, text in sorted(environ.items())
        if name.startswith(prefix) and name not in not_settings and not _is_service_link(name, text)
    }
    return Layer(values, lambda dotted: f"{prefix}{dotted.replace('.', '__').upper()}", "in the environment")


def read_text(text: str, named: str) -> Any:
    """A value given as text: what begins with a bracket is a list or a mapping in YAML, all else stays text.

    The model makes numbers of it where it wants numbers; YAML would also make one of a key such as ``0123``.

    Raises:
        SettingsError: what begins with a bracket is not YAML; the message has `named` in it, never the text.
    """
    if not text.lstrip().startswith(("[", "{")):
        return text
    return _load_yaml(text, f"{named} begins like a list or a mapping, but is not one")


def merge(model: type[ModelT], layers: list[Layer]) -> ModelT:
    """The model, with its defaults overlaid by the layers in turn.

    Raises:
        SettingsError: some settings are unknown or malformed; one line for each.
    """
    problems: list[str] = []
    given: dict[Name, tuple[Layer, Any]] = {}
    for layer in layers:
        for key, value in layer.values.items():
            name = tuple(key.split(".")) if isinstance(key, str) else (key,)
            for leaf, leaf_value in _leaves(model, name, value, layer, problems):
                given.pop(leaf, None)  # so that the order of `given` is the order of precedence
                given[leaf] = layer, leaf_value
    try:
        merged = model(**_nested({name: value for name, (_, value) in given.items()}))
    except ValidationError as error:
        problems += [_explain(model, problem, given) for problem in error.errors(include_url=False)]
    if problems:
        raise SettingsError("\n".join(problems)) from None
    return merged


def names(model: type[BaseModel], prefix: Name = ()) -> Iterator[Name]:
    """The name of every setting of a model."""
    for name, field in model.model_fields.items():
        if _is_group(field.annotation):
            yield from names(field.annotation, (*prefix, name))
        else:
            yield (*prefix, name)


def is_secret(model: type[BaseModel], name: Name) -> bool:
    """Whether the setting of this name is a secret, or a mapping of secrets."""
    kind = _kind(model, name)
    return SecretStr in (kind, *get_args(kind))


class _OnceLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a name given twice, where YAML would silently forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load_yaml(text: str, complaint: str) -> Any:
    try:
        return yaml.load(text, _OnceLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        # Neither the line nor the alias, anchor or tag that PyYAML stumbled over: it may be a secret without quotes.
        problem = re.sub(r"\b(alias|anchor|tag|handle) .*", r"\1", error.problem or "it ends too early")
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise SettingsError(f"{complaint}: {problem}{where}.") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # control characters; dates and numbers that are none
        raise SettingsError(f"{complaint}: it holds something that cannot be read; put text in quotes.") from None


def _is_service_link(name: str, text: str) -> bool:
    return bool(_SERVICE_LINK.search(name)) or (name.endswith("_PORT") and "://" in text)


def _is_group(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind(model: Any, name: Name) -> Any:
    """The type of what has this name in the model; None where nothing has."""
    for part in name:
        if _is_group(model) and part in model.model_fields:
            model = model.model_fields[part].annotation
        elif get_origin(model) is dict and isinstance(part, str):
            model = get_args(model)[1]
        else:
            return None
    return model


def _leaves(
    model: type[BaseModel], name: Name, value: Any, layer: Layer, problems: list[str]
) -> Iterator[tuple[Name, Any]]:
    kind = _kind(model, name)
    if kind is None:
        problems.append(f"Unknown setting {layer.named(name)}.{_suggestion(model, name, layer)}")
    elif not _is_group(kind) and get_origin(kind) is not dict:
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(model, (*name, key), inner, layer, problems)
    elif value is not None and value != "":  # a group whose every line is commented out is no mistake
        example = next(names(kind, name)) if _is_group(kind) else (*name, "NAME")
        problems.append(
            f"Setting {layer.named(name)} is a group and has no value of its own; "
            f"set '{layer.spell('.'.join(example))}' or another of it."
        )


def _suggestion(model: type[BaseModel], name: Name, layer: Layer) -> str:
    known = {".".join(setting): setting for setting in names(model)}
    close = difflib.get_close_matches(".".join(map(str, name)), known, n=1)
    return f" Did you mean '{layer.spell(close[0])}'?" if close else " `cryptosentinel settings` lists all of them."


def _nested(values: Mapping[Name, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for (*groups, leaf), value in values.items():
        group = result
        for part in groups:
            group = group.setdefault(part, {})
        group[leaf] = value
    return result


def _explain(model: type[BaseModel], problem: Any, given: Mapping[Name, tuple[Layer, Any]]) -> str:
    location = [str(part).lower() for part in problem["loc"]]
    written = {name: [part.lower() for part in name] for name in given}
    # What is wrong is in a setting, or a whole mapping is, of which each entry was written as a setting of its own.
    inside = [name for name, parts in written.items() if parts == location[: len(parts)]]
    name = max(inside, key=len, default=()) or next(n for n, p in written.items() if p[: len(location)] == location)
    layer, value = given[name]
    if value is None or value == "":
        return f"Setting {layer.named(name)} is empty; give it a value or leave it out."
    said = problem["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    said = _WORDS.get(problem["type"], said.replace("Input should", "must"))
    item = "".join(f" (item {part + 1})" for part in problem["loc"] if isinstance(part, int))
    shown = "" if is_secret(model, name) else f" (given: {_SHORT.repr(problem['input'])})"
    return f"Setting {layer.named(name)}{item} {said}{shown}."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
