"""Decoded values take the form that an annotation says, or the error says what does not fit."""

from __future__ import annotations

import datetime as dt
import json
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum, Flag, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential._codec import decode, decode_plain, encode
from sequential._typed import return_shape, shape_of
from sequential.errors import AmbiguousUnion, ValueMismatch, ValuesError
from tests.data.hostile_values import GADGETS

UserId = NewType("UserId", int)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(Enum):
    PAIR = (1, 2)
    WORD = "word"
    ONE = 1


class Mode(Flag):
    READ = 1
    WRITE = 2


class Word(StrEnum):
    YES = "yes"


@dataclass
class Line:
    price: Decimal
    count: int = 1


@dataclass(slots=True)
class Order:
    id: UUID
    when: dt.datetime
    lines: list[Line]
    color: Color
    tags: set[str] = field(default_factory=set)
    size: tuple[int, int] = (0, 0)
    note: bytes | None = None
    next: Order | None = None


@attrs.define
class Person:
    name: str
    born: dt.date
    _hidden: int = 0


class Address(msgspec.Struct, rename="camel"):
    street_name: str
    since: dt.date | None = None


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    weight: float


class Point(NamedTuple):
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Invoice(pydantic.BaseModel):
    total: Decimal = pydantic.Field(alias="theTotal")
    color: Color = Color.RED
    line: Line | None = None
    at: dt.datetime | None = None


class Strict(pydantic.BaseModel, strict=True):
    count: int
    color: Color
    when: dt.datetime


class Bird(pydantic.BaseModel):
    kind: Literal["bird"] = "bird"
    wings: int = 2


class Fish(pydantic.BaseModel):
    kind: Literal["fish"] = "fish"
    fins: int = 4


Pet = Annotated[Bird | Fish, pydantic.Field(discriminator="kind")]


@dataclass
class Loose:
    when: str | dt.datetime
    where: Path | str | None = None
    size: Size = Size.ONE
    inner: list[Loose] = field(default_factory=list)
    made: int = field(default=7, init=False)


@attrs.define
class LooseAttrs:
    _when: str | dt.datetime
    pet: Pet


class LooseMovie(TypedDict):
    when: str | dt.date
    where: NotRequired[Path | str]


@dataclass
class WithInit:
    seen: int
    scale: InitVar[int] = 2

    def __post_init__(self, scale: int) -> None:
        self.seen *= scale


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("n must not be negative")


@dataclass
class Broken:
    n: int

    def __post_init__(self) -> None:
        raise RuntimeError("hook")


NOW = dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ID = UUID(int=5)
PRICE = Decimal("1.10")
ORDER = Order(
    ID, NOW, [Line(PRICE, 2)], Color.BLUE, {"a"}, (1, 2), b"x", Order(ID, NOW, [], Color.RED)
)

# What a tool returns under that annotation: it comes back equal through storage.
RETURNED: list[tuple[object, object]] = [
    (int, 5),
    (float, 1.5),
    (bool, True),
    (str, "x"),
    (None, None),
    (bytes, b"x"),
    (Decimal, PRICE),
    (dt.datetime, NOW),
    (dt.date, NOW.date()),
    (dt.time, NOW.timetz()),
    (dt.timedelta, dt.timedelta(seconds=5)),
    (UUID, ID),
    (Path, Path("a/b")),
    (Path | None, None),
    (UserId, 5),
    (Any, {"a": (1,)}),
    (object, {"a": (1,)}),
    (dict, {"a": 1}),
    (dict[str, Any], {"a": {1}}),
    (list[Any], [(1,)]),
    (dict[str, Decimal], {"a": PRICE}),
    (list[tuple[int, str]], [(1, "a")]),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[Line, Color], (Line(PRICE), Color.RED)),
    (set[str], {"a"}),
    (frozenset[UUID], frozenset({ID})),
    (set[tuple[int, Path]], {(1, Path("a"))}),
    (Mapping[str, int], {"a": 1}),
    (Sequence[Line], [Line(PRICE)]),
    (Color, Color.RED),
    (Size, Size.PAIR),
    (list[Size], [Size.PAIR, Size.ONE, Size.WORD]),
    (Mode, Mode.READ | Mode.WRITE),
    (Word, Word.YES),
    (dict[Word, int], {Word.YES: 1}),
    (Literal["a", 1], 1),
    (Literal[Color.RED], Color.RED),
    (Order, ORDER),
    (dict[str, list[Order]], {"a": [ORDER]}),
    (Person, Person("a", NOW.date(), 3)),
    (Address, Address("Road")),
    (Cat | Dog, Dog(1.5)),
    (Cat | Dog | None, None),
    (list[Cat | Dog], [Cat(9), Dog(2.0)]),
    (Cat | Dog | Path | str, Cat(9)),
    (Cat | Dog | Path | str, Path("a")),
    (Cat | Dog | Path | str, "a"),
    (Point, Point(1, 2)),
    (list[Point], [Point(1)]),
    (Movie, {"title": "x"}),
    (Invoice, Invoice(theTotal=PRICE, line=Line(PRICE), at=NOW)),
    (dict[str, Invoice | None], {"a": Invoice(theTotal=PRICE), "b": None}),
    (Strict, Strict(count=1, color=Color.RED, when=NOW)),
    (Pet, Fish()),
    (list[Pet], [Bird(wings=1), Fish()]),
    (pydantic.RootModel[list[int]], pydantic.RootModel[list[int]]([1])),
    (str | dt.datetime, NOW),
    (str | dt.datetime, "2020-01-02T03:04:05Z"),
    (dt.date | dt.datetime | None, NOW),
    (dt.date | dt.datetime | None, NOW.date()),
    (dict[str, Decimal | str], {"a": PRICE, "b": "1.10"}),
    (list[int] | tuple[int, ...], (1,)),
    (list[int] | tuple[int, ...], [1]),
    (list[int] | set[int] | None, {1}),
    (Color | str, Color.RED),
    (Color | str, "green"),
    (int | Path, Path("a")),
    (Loose, Loose(NOW, Path("a"), Size.PAIR, [Loose("x", "b")])),
    (list[Loose], [Loose("x")]),
    (LooseAttrs, LooseAttrs(NOW, Bird())),
    (LooseMovie, {"when": NOW.date(), "where": Path("a")}),
    (Annotated[int, "about"], 3),
    (Annotated[str | Path, "about"], Path("a")),
]


@pytest.mark.parametrize(("annotation", "value"), RETURNED, ids=lambda item: str(item)[:50])
def test_what_a_tool_returned_comes_back_through_storage(annotation: object, value: object) -> None:
    shape = shape_of(annotation, where="tool a.b result")
    read = shape.read(decode(encode(value)))
    assert read == value
    assert type(read) is type(value)
    assert shape.read(value) == value, "a value of the right type passes"


# What a client sends as plain JSON.
SENT: list[tuple[object, str, object]] = [
    (int, "5", 5),
    (float, "5", 5.0),
    (Decimal, '"1.10"', PRICE),
    (Decimal, "1", Decimal(1)),
    (dt.datetime, '"2020-01-02T03:04:05Z"', NOW),
    (dt.date, '"2020-01-02"', NOW.date()),
    (dt.timedelta, '"PT5S"', dt.timedelta(seconds=5)),
    (UUID, '"00000000-0000-0000-0000-000000000005"', ID),
    (bytes, '"eA=="', b"x"),
    (Path, '"a/b"', Path("a/b")),
    (set[int], "[1, 2]", {1, 2}),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (list[tuple[int, ...]], "[[1, 2], []]", [(1, 2), ()]),
    (Color, '"red"', Color.RED),
    (Size, "[1, 2]", Size.PAIR),
    (Point, "[1]", Point(1)),
    (dict[str, Line], '{"a": {"price": "1.10"}}', {"a": Line(PRICE)}),
    (Address, '{"streetName": "x", "since": "2020-01-02"}', Address("x", NOW.date())),
    (Cat | Dog, '{"type": "dog", "weight": 3}', Dog(3.0)),
    (Invoice, '{"theTotal": "1.10", "color": "blue"}', Invoice(theTotal=PRICE, color=Color.BLUE)),
    (Invoice, '{"total": "1.10"}', Invoice(theTotal=PRICE)),
    (
        Strict,
        '{"count": 1, "color": "red", "when": "2020-01-02T03:04:05Z"}',
        Strict(count=1, color=Color.RED, when=NOW),
    ),
    (Pet, '{"kind": "fish", "fins": 1}', Fish(fins=1)),
    (dt.datetime | None, '"2020-01-02T03:04:05Z"', NOW),
    (int | dt.date, '"2020-01-02"', NOW.date()),
    (WithInit, '{"seen": 3}', WithInit(3)),
    (dict[str, Any], '{"$": "decimal", "v": "1"}', {"$": "decimal", "v": "1"}),
]


@pytest.mark.parametrize(("annotation", "sent", "value"), SENT, ids=lambda item: str(item)[:50])
def test_plain_json_of_a_client_is_converted(annotation: object, sent: str, value: object) -> None:
    read = shape_of(annotation, where="flow a").read(decode_plain(sent))
    assert read == value
    assert type(read) is type(value)


MISFITS: list[tuple[object, object, str, str]] = [
    (int, "1", "$", "expected `int`, got `str`"),
    (int, 1.0, "$", "got `float`"),
    (int, True, "$", "got `bool`"),
    (bool, 1, "$", "got `int`"),
    (str, 1, "$", "got `int`"),
    (float, "1.5", "$", "got `str`"),
    (None, 1, "$", "got `int`"),
    (str, None, "$", "got `null`"),
    (Decimal, "one", "$", "decimal"),
    (dt.datetime, "soon", "$", "RFC3339"),
    (list[int], [1, "2"], "$[1]", "expected `int`"),
    (dict[str, list[int]], {"a": [1, "x"]}, "$[...][1]", "expected `int`"),
    (list[Line], [{"price": PRICE}, {}], "$[1]", "price"),
    (Order, {"id": 5}, "$.id", "uuid"),
    (Color, "green", "$", "green"),
    (Size, "other", "$", "not a valid Size"),
    (list[Size], ["word", {}], "$[1]", "not a valid Size"),
    (Literal["a"], "b", "$", "b"),
    (Literal[Color.RED], "blue", "$", "one of"),
    (Movie, {"year": 1}, "$", "title"),
    (LooseMovie, {}, "$", "when"),
    (Loose, {"when": 5}, "$.when", "fits no part of str | datetime.datetime"),
    (Loose, {"when": "x", "inner": [{"when": 5}]}, "$.inner[0].when", "fits no part"),
    (Loose, {}, "$", "when"),
    (Loose, "x", "$", "got `str`"),
    (Invoice, {"total": "x"}, "$.total", "decimal"),
    (list[Invoice], [{"total": 1}, {"total": []}], "$[1].total", "ecimal"),
    (Strict, {"count": "1", "color": "red", "when": NOW}, "$.count", "integer"),
    (Pet, {"kind": "bat"}, "$", "bat"),
    (list[Pet], [{}], "$[0]", "kind"),
    (Positive, {"n": -1}, "$", "n must not be negative"),
    (list[Positive], [{"n": -1}], "$[0]", "n must not be negative"),
    (Broken, {"n": -1}, "$", "RuntimeError: hook"),
    (Path, 5, "$", "int cannot be made a"),
    (complex, "1j", "$", "str cannot be made a complex"),
    (int | Path, [], "$", "list fits no part"),
]


@pytest.mark.parametrize(
    ("annotation", "value", "path", "reason"), MISFITS, ids=lambda item: str(item)[:40]
)
def test_a_misfit_is_one_sentence_with_the_place(
    annotation: object, value: object, path: str, reason: str
) -> None:
    shape = shape_of(annotation, where="tool a.b result")
    with pytest.raises(ValueMismatch) as caught:
        shape.read(value)
    assert caught.value.where == "tool a.b result"
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)


@dataclass
class Card:
    number: str


@dataclass
class Cash:
    amount: int


@attrs.define
class Cheque:
    bank: str


class Cover(TypedDict):
    title: str


@dataclass
class Payment:
    by: Card | Cash


@dataclass
class Basket:
    payments: list[Payment]


AMBIGUOUS: list[object] = [
    Card | Cash,
    Card | Cash | None,
    list[Card | Cash],
    dict[str, tuple[Card | Cash, ...]],
    Card | Cheque,
    Card | dict[str, Any],
    Movie | Cover,
    Bird | Fish,
    list[Bird | Fish | None],
    Bird | Card,
    Cat | Card,
    Payment,
    Basket,
    Annotated[Card | Cash, "about"],
]


@pytest.mark.parametrize("annotation", AMBIGUOUS, ids=str)
def test_a_union_of_classes_without_a_tag_is_refused_at_once(annotation: object) -> None:
    with pytest.raises(AmbiguousUnion, match="tag field") as caught:
        shape_of(annotation, where="tool a.b result")
    assert caught.value.where == "tool a.b result"


def test_a_value_of_the_right_type_is_not_copied() -> None:
    for annotation, value in (
        (dict, {"a": 1}),
        (dict[str, Any], {"a": 1}),
        (list[object], [1]),
        (Order, ORDER),
        (Invoice, Invoice(theTotal=PRICE)),
        (Loose, Loose("x")),
        (Any, object()),
    ):
        assert shape_of(annotation, where="x").read(value) is value


def test_a_class_may_name_one_that_is_defined_later() -> None:
    namespace: dict[str, Any] = {"dataclass": dataclass, "__name__": "later"}
    exec("@dataclass\nclass Early:\n    late: 'Late'\n", namespace)
    early = namespace["Early"]
    early.__module__ = __name__
    shape = shape_of(early, where="x")
    with pytest.raises(ValueMismatch, match="Late"):
        shape.read({"late": {"number": "1"}})
    globals()["Late"] = Card
    try:
        assert shape.read({"late": {"number": "1"}}).late == Card("1")
    finally:
        del globals()["Late"]


# -- return annotations


def plain() -> Line: ...  # type: ignore[empty-body]


async def asynchronous() -> Line: ...  # type: ignore[empty-body]


def awaitable() -> Awaitable[Line]: ...  # type: ignore[empty-body]


def coroutine() -> Coroutine[Any, Any, Line]: ...  # type: ignore[empty-body]


def generator() -> Generator[Any, Any, Line]: ...  # type: ignore[empty-body]


T = typing.TypeVar("T")
Steps = Generator[Any, Any, T]


def steps() -> Steps[Line]: ...  # type: ignore[empty-body]


def other_parameters_unknown(a: Nowhere) -> Line: ...  # type: ignore[name-defined, empty-body]  # noqa: F821


@pytest.mark.parametrize(
    "function",
    [plain, asynchronous, awaitable, coroutine, generator, steps, other_parameters_unknown],
)
def test_the_annotation_of_what_comes_in_the_end_counts(function: Callable[..., object]) -> None:
    shape = return_shape(function)
    assert shape is not None
    assert shape.annotation is Line
    assert shape.read({"price": "1.10"}) == Line(PRICE)
    assert shape.where == f"{function.__name__} result"


def unannotated():  # type: ignore[no-untyped-def]  # noqa: ANN201
    ...


def bare_generator() -> Generator:  # type: ignore[type-arg, empty-body]
    ...


def never() -> typing.NoReturn:
    raise AssertionError


def test_without_an_annotation_there_is_no_shape() -> None:
    for function in (unannotated, bare_generator, never, len, print, lambda: 1):
        assert return_shape(function) is None


def anything() -> Any: ...


def nothing() -> None: ...


def test_any_and_none_are_annotations_too() -> None:
    shape = return_shape(anything)
    assert shape is not None
    assert shape.read({"a": (1,)}) == {"a": (1,)}
    shape = return_shape(nothing)
    assert shape is not None
    assert shape.read(None) is None


def lost() -> Missing: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_name_that_cannot_be_found_is_named_with_its_tool() -> None:
    with pytest.raises(ValueMismatch, match="'Missing' cannot be found") as caught:
        return_shape(lost, where="tool a.b")
    assert caught.value.where == "tool a.b result"


# -- whatever comes

SHAPES = [shape_of(row[0], where="x") for row in RETURNED]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["price", "id", "when", "type", "kind", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(json_values, st.sampled_from(SHAPES))
def test_nothing_but_the_declared_error_is_raised(value: object, shape: Any) -> None:
    with suppress(ValuesError):
        shape.read(value)


def test_gadgets_are_data_for_every_annotation() -> None:
    for data in GADGETS:
        for shape in SHAPES:
            try:
                shape.read(json.loads(data))
            except ValueMismatch:
                continue
