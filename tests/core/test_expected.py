"""Whether a value fits a stored JSON schema: never stricter than the flow that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest

from sequential import _codec, _typed
from sequential._expected import misfit
from sequential.errors import ValuesError


class Level(StrEnum):
    LOW = "low"
    HIGH = "high"


@dataclass
class Line:
    article: str
    price: Decimal
    more: list[Line] = field(default_factory=list)


class Loose(TypedDict, total=False):
    n: int


class Sealed(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, msgspec.Meta(ge=1, le=9)]
    word: Annotated[str, msgspec.Meta(max_length=3)] = ""


ANNOTATIONS: Sequence[Any] = (
    int, float, bool, str, None, bytes, Decimal, UUID, date, datetime, timedelta, dict, list,
    int | None, Line | None, list[Line], dict[str, Line], tuple[int, str], tuple[int, ...],
    set[int], Literal["a", 3], Level, Loose, Sealed, Any,
)  # fmt: skip
VALUES: Sequence[Any] = (
    None, True, 3, 3.0, 3.5, 10**30, "a", "low", "1.10", "2030-01-02", "PT1S",
    "2030-01-02T03:04:05+00:00", "00000000-0000-0000-0000-000000000001", "YQ==", b"a",
    Decimal("1.10"), UUID(int=1), date(2030, 1, 2), datetime(2030, 1, 2, tzinfo=UTC),
    timedelta(seconds=1), [], [1], [1, "a"], (1, "a"), {1, 2}, {}, {"n": 1}, {"n": 0},
    {"n": 1, "word": "long"}, {"n": 1, "x": 1}, {"article": "a", "price": "1.10"},
    {"article": "a", "price": 1}, {"article": 1, "price": "1.10"},
    {"article": "a", "price": "1", "more": [{"article": "b", "price": "x"}]}, {"a": {"price": 1}},
)  # fmt: skip


def decoded(value: object) -> object:
    return _codec.decode(_codec.encode(value))


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_nothing_is_refused_that_the_flow_would_take(annotation: Any) -> None:
    shape = _typed.shape_of(annotation, where="signal")
    schema, judged = shape.schema(), {True: 0, False: 0}
    for value in map(decoded, VALUES):
        try:
            shape.read(value)
        except ValuesError:
            judged[False] += misfit(schema, value) is not None
        else:
            assert misfit(schema, value) is None, value
            judged[True] += 1
    assert judged[True]
    # An annotation without a schema, and one that takes everything, refuse nothing.
    assert judged[False] > 5 or not schema


@pytest.mark.parametrize(
    ("annotation", "value", "path", "reason"),
    [
        (int, "5", "$", "Expected `int`, got `str`"),
        (list[Line], [{"article": "a"}], "$[0]", "Object missing required field `price`"),
        (Line, {"article": "a", "price": "x"}, "$.price", "Invalid decimal string"),
        (Line | None, {"article": 1, "price": 1}, "$.article", "Expected `str`, got `int`"),
        (Sealed, {"n": 10}, "$.n", "Expected `int` <= 9"),
        (Sealed, {"n": 1, "x": 2}, "$", "Object contains unknown field `x`"),
        (Sealed, {"n": 1, "word": "long"}, "$.word", "Expected `str` of length <= 3"),
        (Literal["a", "b"], "c", "$", 'Expected one of ["a", "b"]'),
        (tuple[int, str], [1], "$", "Expected `array` of length 2 to 2, got 1"),
        (dict[str, int], {"a": "b"}, "$.a", "Expected `int`, got `str`"),
        (list[int], {}, "$", "Expected `array`, got `dict`"),
        (Line, [], "$", "Expected `object`, got `list`"),
    ],
    ids=str,
)
def test_the_place_and_the_reason_are_named(
    annotation: Any, value: Any, path: str, reason: str
) -> None:
    found = misfit(_typed.shape_of(annotation, where="signal").schema(), value)
    assert found is not None
    assert (found.path, found.reason) == (path, reason)


@pytest.mark.parametrize(
    "schema",
    [
        "", "{", "[]", "null", "{}", '{"type":"else"}', '{"type":["null"]}', '{"$ref":"#/$defs/X"}',
        '{"$ref":"#/$defs/X","$defs":{"X":{"$ref":"#/$defs/X"}}}', '{"anyOf":{}}',
    ],
)  # fmt: skip
def test_a_schema_that_says_nothing_known_refuses_nothing(schema: str) -> None:
    assert misfit(schema, {"a": 1}) is None
