"""Whether a value fits a JSON schema that a wait was stored with, as far as the schema is plain.

Reads what msgspec writes for the types that it knows, and lets msgspec judge each plain part, so
that nothing is refused here which the flow would take. What it does not know it lets pass: the flow
reads the value once more. Knows no runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

_DEEPEST: Final = 64
"""A schema may point at itself; values are not deeper than this either."""

_VALUE_TYPES: Final = (Decimal, bytes, datetime, date, time, timedelta, UUID)
_PLAIN: Final = {"integer": int, "number": float, "boolean": bool, "null": None}
_FORMATS: Final[Mapping[str, Any]] = {
    "decimal": Decimal, "uuid": UUID, "duration": timedelta,
    "date": date, "time": time, "date-time": datetime,
}  # fmt: skip
_LIMITS: Final = {
    "minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of", "minLength": "min_length", "maxLength": "max_length",
    "pattern": "pattern",
}  # fmt: skip


class Misfit(NamedTuple):
    """The first part of a value that does not fit: *path* such as ``$.lines[2].price``."""

    path: str
    reason: str


def misfit(schema: str, value: object) -> Misfit | None:
    """Return the first part of *value*, as decoded, that does not fit *schema*; None if it fits.

    *schema* is JSON text; an empty one, and one that cannot be read, fit everything.
    """
    try:
        whole = json.loads(schema) if schema else {}
    except ValueError:
        return None
    definitions = whole.get("$defs") if isinstance(whole, dict) else None
    return next(_Reading(definitions or {}).misfits(whole, value, "$", 0), None)


class _Reading:
    """One schema, held against one value."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._by_type: dict[str, Callable[..., Iterator[Misfit]]] = {
            "object": self._object,
            "array": self._array,
            "string": self._plain,
            **dict.fromkeys(_PLAIN, self._plain),
        }

    def misfits(self, schema: Any, value: Any, path: str, depth: int) -> Iterator[Misfit]:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            schema = self._definitions.get(reference.rpartition("/")[2])
            yield from self.misfits(schema, value, path, depth + 1)
        elif isinstance(schema.get("anyOf"), list):
            yield from self._any(schema["anyOf"], value, path, depth + 1)
        elif isinstance(schema.get("enum"), list):
            if not any(_is_same(value, each) for each in schema["enum"]):
                yield Misfit(path, f"Expected one of {json.dumps(schema['enum'])}")
        elif isinstance(found := schema.get("type"), str) and found in self._by_type:
            yield from self._by_type[found](schema, value, path, depth + 1)

    def _any(self, arms: list[Any], value: Any, path: str, depth: int) -> Iterator[Misfit]:
        found = [next(self.misfits(arm, value, path, depth), None) for arm in arms]
        if all(found):
            # What lies deepest is most likely what was meant.
            yield max((each for each in found if each is not None), key=lambda each: len(each.path))

    def _object(self, schema: Any, value: Any, path: str, depth: int) -> Iterator[Misfit]:
        if not isinstance(value, dict):
            yield _other("object", value, path)
            return
        known = schema.get("properties") or {}
        for name in schema.get("required") or ():
            if name not in value:
                yield Misfit(path, f"Object missing required field `{name}`")
        rest = schema.get("additionalProperties")
        for name, part in value.items():
            if rest is False and name not in known:
                yield Misfit(path, f"Object contains unknown field `{name}`")
            yield from self.misfits(known.get(name, rest), part, f"{path}.{name}", depth)

    def _array(self, schema: Any, value: Any, path: str, depth: int) -> Iterator[Misfit]:
        if not isinstance(value, list | tuple | set | frozenset):
            yield _other("array", value, path)
            return
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if not least <= len(value) <= most:
            yield Misfit(path, f"Expected `array` of length {least} to {most}, got {len(value)}")
        first = schema.get("prefixItems") or []
        for index, part in enumerate(value):
            inner = first[index] if index < len(first) else schema.get("items")
            yield from self.misfits(inner, part, f"{path}[{index}]", depth)

    def _plain(self, schema: Any, value: Any, path: str, _: int) -> Iterator[Misfit]:
        import msgspec

        named = schema["type"]
        kind = _FORMATS.get(schema.get("format", ""), str) if named == "string" else _PLAIN[named]
        if kind is str and isinstance(value, _VALUE_TYPES):
            return  # their schema is that of the text that they also are
        limits = {ours: schema[each] for each, ours in _LIMITS.items() if each in schema}
        try:
            msgspec.convert(value, Annotated[kind, msgspec.Meta(**limits)] if limits else kind)
        except ValueError as error:
            yield Misfit(path, str(error))
        except TypeError:
            return  # a limit of a kind that msgspec does not write


def _other(wanted: str, value: Any, path: str) -> Misfit:
    return Misfit(path, f"Expected `{wanted}`, got `{type(value).__name__}`")


def _is_same(value: Any, member: Any) -> bool:
    return bool(value == member) and isinstance(value, bool) is isinstance(member, bool)
