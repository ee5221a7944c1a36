"""From the JSON schema of an expected value to the fields of a form, and from answers to a value.

As far as the schema is simple: an object of plain fields, or one plain value. For everything else
there is one field that takes JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "integer", "number", "boolean", "choice", "json"]

WHOLE = ""
"""Name of the only field of a form for a value that is no object."""

_KINDS: Mapping[str, Kind] = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "boolean",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        name: Key in the object; `WHOLE` for a value that is no object.
        kind: What it takes.
        required: Whether it may not be left empty.
        choices: What a choice chooses from.
        default: What it begins with; None for empty.
        note: What the schema says about it.
    """

    name: str
    kind: Kind
    required: bool = True
    choices: Sequence[Any] = ()
    default: Any = None
    note: str = ""


def fields_of(schema: str) -> list[Field]:
    """Return the fields of a form for values of *schema*, JSON text; one of JSON if unsure."""
    anything = [Field(WHOLE, "json", note="any JSON value")]
    try:
        whole = json.loads(schema) if schema else {}
    except ValueError:
        return anything
    if not isinstance(whole, dict):
        return anything
    found = _resolved(whole, whole)
    if found.get("type") != "object" or not isinstance(found.get("properties"), dict):
        field = _field(WHOLE, found, whole, required=True)
        return [field]
    required = found.get("required", [])
    return [
        _field(str(name), _resolved(part, whole), whole, required=name in required)
        for name, part in found["properties"].items()
    ]


def value_of(fields: Sequence[Field], answers: Mapping[str, Any]) -> Any:
    """Return the value that *answers*, by the names of *fields*, make.

    Raises:
        ValueError: An answer is missing or is no JSON; the message names its field.
    """
    if len(fields) == 1 and fields[0].name == WHOLE:
        return _answer(fields[0], answers.get(WHOLE))
    value = {}
    for field in fields:
        given = answers.get(field.name)
        if given in (None, "") and not field.required:
            continue
        value[field.name] = _answer(field, given)
    return value


def _answer(field: Field, given: Any) -> Any:
    shown = field.name or "the value"
    if field.kind != "json":
        if given is None:
            raise ValueError(f"{shown} is missing; fill it in")
        return int(given) if field.kind == "integer" else given
    try:
        return json.loads(given or "")
    except ValueError as error:
        raise ValueError(f'{shown} is no JSON: {error}; text stands in "quotes"') from None


def _resolved(part: Any, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Follow references inside the schema, a few at most: one may point at itself."""
    for _ in range(8):
        if not isinstance(part, dict) or "$ref" not in part:
            break
        at: Any = whole
        for key in str(part["$ref"]).removeprefix("#/").split("/"):
            at = at.get(key) if isinstance(at, dict) else None
        part = at
    return part if isinstance(part, dict) else {}


def _field(
    name: str, part: Mapping[str, Any], whole: Mapping[str, Any], *, required: bool
) -> Field:
    default, note = part.get("default"), str(part.get("description", ""))[:200]
    choices = part.get("enum")
    if isinstance(choices, list) and choices:
        return Field(name, "choice", required, choices, default, note)
    options = part.get("anyOf")
    if isinstance(options, list):
        kinds = [_resolved(each, whole) for each in options]
        plain = [each for each in kinds if each.get("type") != "null"]
        if len(plain) == 1 and len(kinds) == 2:
            return _field(name, {**plain[0], "default": default}, whole, required=False)
    kind = _KINDS.get(str(part.get("type")), "json")
    if kind == "json":
        default = None if default is None else json.dumps(default)
    return Field(name, kind, required, (), default, note)
