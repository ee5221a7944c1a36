"""How arguments become an input by parameter name, and an input becomes arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from sequential import ToolContext
from sequential._binding import Binding
from sequential.errors import InputMismatch


@dataclass
class Point:
    x: int
    y: int = 0


def bound(function: Any) -> Binding:
    return Binding(function, "tool api.f", ToolContext)


def two(id: int, name: str = "x") -> None: ...


def raw(input: dict[str, int]) -> None: ...


def open_ended(id: int, **others: Any) -> None: ...


def rich(point: Point, day: date) -> None: ...


def nothing() -> None: ...


def in_the_middle(id: int, context: ToolContext, name: str) -> None: ...


def test_positions_and_names_make_one_input_without_defaults() -> None:
    binding = bound(two)
    assert binding.input_of((1,), {}) == {"id": 1}
    assert binding.input_of((1, "y"), {}) == binding.input_of((), {"name": "y", "id": 1})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "'id' missing; it takes 'id', 'name'"),
        ((1, "a", 2), {}, "3 values were given for 2 parameters"),
        ((1,), {"id": 2}, "parameter 'id' was given twice"),
        ((1,), {"nme": "a"}, "'nme' not among its parameters; it takes 'id', 'name'"),
    ],
)
def test_a_call_that_does_not_fit_says_what_would(
    args: tuple[object, ...], kwargs: dict[str, object], said: str
) -> None:
    with pytest.raises(InputMismatch) as caught:
        bound(two).input_of(args, kwargs)
    assert str(caught.value) == f"the input does not fit tool api.f: {said}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "1"}, "parameter 'id'"),
        ({"id": 1.5}, "parameter 'id'"),
        ({"id": None}, "parameter 'id'"),
        ({"id": 1, "name": 2}, "parameter 'name'"),
        ({"id": 1, "other": 2}, "'other' not among"),
        ({}, "'id' missing"),
        ([1], "not list"),
        (1, "not int"),
        (None, "not NoneType"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(given: object, said: str) -> None:
    with pytest.raises(InputMismatch, match=said):
        bound(two).arguments_of(given)


def test_an_input_that_is_no_object_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputMismatch) as caught:
        bound(two).arguments_of(1)
    said = "it takes an object with 'id', 'name', not int"
    assert str(caught.value) == f"the input does not fit tool api.f: {said}"


def test_an_input_is_converted_to_the_annotations() -> None:
    given = {"point": {"x": 1}, "day": "2030-01-02"}
    assert bound(rich).arguments_of(given) == {"point": Point(1), "day": date(2030, 1, 2)}


def test_a_function_of_one_parameter_named_input_takes_the_raw_input() -> None:
    binding = bound(raw)
    assert binding.raw
    assert (
        binding.input_of(({"a": 1},), {}) == binding.input_of((), {"input": {"a": 1}}) == {"a": 1}
    )
    assert binding.arguments_of({"a": 1}) == {"input": {"a": 1}}
    with pytest.raises(InputMismatch, match="exactly one value"):
        binding.input_of((1, 2), {})
    with pytest.raises(InputMismatch, match="exactly one value"):
        binding.input_of((), {"other": 1})
    with pytest.raises(InputMismatch):
        binding.arguments_of({"a": "b"})


def test_a_raw_input_with_a_default_may_be_left_out() -> None:
    def optional(input: Any = None) -> None: ...

    assert bound(optional).input_of((), {}) == {}
    with pytest.raises(InputMismatch):
        bound(raw).input_of((), {})


def test_other_names_go_to_the_keyword_parameter() -> None:
    binding = bound(open_ended)
    assert binding.input_of((1,), {"a": 2}) == {"id": 1, "a": 2}
    assert binding.arguments_of({"id": 1, "a": 2}) == {"id": 1, "a": 2}


def test_the_context_is_found_by_its_annotation_and_is_no_part_of_the_input() -> None:
    binding = bound(in_the_middle)
    assert binding.context == "context"
    assert binding.names == ("id", "name")
    assert binding.input_of((1, "a"), {}) == {"id": 1, "name": "a"}
    with pytest.raises(InputMismatch, match="'context' not among"):
        binding.arguments_of({"id": 1, "name": "a", "context": 1})


def test_a_context_beside_a_raw_input_leaves_it_raw() -> None:
    def both(context: ToolContext, input: Any) -> None: ...

    assert bound(both).raw
    assert bound(both).input_of(([1],), {}) == [1]


def test_a_function_without_parameters_takes_an_empty_object_and_nothing_else() -> None:
    assert bound(nothing).arguments_of({}) == {}
    with pytest.raises(InputMismatch, match="it takes no input"):
        bound(nothing).arguments_of({"id": 1})


def test_parameters_that_cannot_be_given_by_name_are_refused_at_once() -> None:
    def starred(*ids: int) -> None: ...

    def positional(id: int, /) -> None: ...

    for function in (starred, positional):
        with pytest.raises(InputMismatch, match="cannot be given by name"):
            bound(function)


def test_an_annotation_that_cannot_be_found_is_named() -> None:
    def lost(id: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InputMismatch, match="annotation 'Nowhere' cannot be found"):
        bound(lost)
