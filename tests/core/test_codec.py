"""What goes into storage comes out as it was, or is refused with the place and the reason."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import subprocess
import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sequential import _codec
from sequential._codec import decode, decode_plain, encode, encode_canonical, is_class_instance
from sequential.errors import NotDecodable, NotEncodable
from tests.data.hostile_values import (
    DAMAGED,
    GADGETS,
    REFUSED,
    REFUSED_BODIES,
    RaisingBase,
    nested,
)


def same(left: object, right: object) -> bool:
    """Equal, with equal types all the way down, and minus zero is not zero."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        # The canonical form tells 1 from True, and does not depend on order.
        return left == right and encode_canonical(left) == encode_canonical(right)
    if isinstance(left, float | Decimal):
        return repr(left) == repr(right)
    return left == right


zones = st.none() | st.timedeltas(
    min_value=dt.timedelta(hours=-23), max_value=dt.timedelta(hours=23)
).map(dt.timezone)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**4299) + 1, max_value=10**4300 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.uuids()
    | st.text().map(Path)
    | st.text().map(PurePosixPath)
    | st.text().map(PureWindowsPath)
)
hashables = st.recursive(
    scalars,
    lambda inner: st.frozensets(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)
keys = st.sampled_from(["$", "v", "dict", ""]) | st.text()
values = st.recursive(
    hashables | st.sets(hashables, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
@example(dt.datetime(2000, 1, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))))
@example(dt.time(0, tzinfo=dt.timezone(dt.timedelta(microseconds=-1))))
def test_every_supported_value_comes_back_equal_and_of_its_type(value: object) -> None:
    assert same(decode(encode(value)), value)
    assert same(decode(encode(decode(encode(value)))), value)


@given(values)
def test_what_is_stored_is_json_by_the_letter(value: object) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    sys.set_int_max_str_digits(5000)
    try:
        json.loads(encode(value).decode(), parse_constant=refuse)
    finally:
        sys.set_int_max_str_digits(4300)


def reversed_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: reversed_order(value[key]) for key in reversed(value)}
    if isinstance(value, list | tuple):
        return type(value)(map(reversed_order, value))
    if isinstance(value, set | frozenset):
        return type(value)(reversed([reversed_order(item) for item in value]))
    return value


@given(values)
def test_the_canonical_form_does_not_depend_on_order(value: object) -> None:
    assert encode_canonical(value) == encode_canonical(reversed_order(value))
    # Not `==`: 1 and True, equal in Python, are two values here.
    assert decode(encode_canonical(value)) == value


def test_the_canonical_form_of_a_set_is_that_of_other_processes() -> None:
    program = (
        "from sequential._codec import encode_canonical as e;"
        "print(e({'b': {'x', 'y', ('z', 1), None, 3.5}, 'a': frozenset({b'1', b'2'})}))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in "123"
    }
    assert len(seen) == 1


def test_object_keys_keep_their_order() -> None:
    assert encode({"b": 1, "a": (1,), "c": 2}) == b'{"b":1,"a":{"$":"tuple","v":[1]},"c":2}'
    assert encode_canonical({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


def test_the_value_given_is_never_changed() -> None:
    value = {"a": [(1,), {"$": 1}], "b": {Decimal(1)}, "c": [[1], [Decimal(2)]]}
    before = repr(value)
    encode(value)
    assert repr(value) == before


# -- what becomes plainer


class Color(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


class Pair(NamedTuple):
    left: int
    right: Decimal


@dataclass(slots=True)
class Data:
    price: Decimal
    tags: set[str] = field(default_factory=set)
    _hidden: int = 1
    made: int = field(default=2, init=False)


@attrs.define
class Attrs:
    price: Decimal
    _hidden: int = 1


class Struct(msgspec.Struct, rename="camel", tag="struct", omit_defaults=True):
    unit_price: Decimal
    note: str | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True):
    left: int
    right: Decimal


class Model(pydantic.BaseModel):
    price: Decimal = pydantic.Field(alias="thePrice")
    secret: str = pydantic.Field(default="x", exclude=True)

    @pydantic.computed_field
    def double(self) -> Decimal:
        return self.price * 2


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "hostile"


class Number(int):
    def __int__(self) -> int:
        return 0

    def __index__(self) -> int:
        return 0


class Real(float):
    def __float__(self) -> float:
        return 0.0


class Moment(dt.datetime):
    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return "now"


PRICE = Decimal("1.10")
ordered: OrderedDict[str, int] = OrderedDict(b=1, a=2)
ordered.move_to_end("b")

BECOMES: list[tuple[object, object]] = [
    (Color.RED, "red"),
    (Color.PAIR, (1, 2)),
    ({"level": Level.LOW}, {"level": 1}),
    ([Word.YES], ["yes"]),
    ({Word.YES: 1}, {"yes": 1}),
    (Text("x"), "x"),
    ({Text("k"): Text("v")}, {"k": "v"}),
    (Number(5), 5),
    (Real(1.5), 1.5),
    (Moment(2020, 1, 2), dt.datetime(2020, 1, 2)),  # noqa: DTZ001
    (ordered, {"a": 2, "b": 1}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (Pair(1, PRICE), (1, PRICE)),
    ({Pair(1, PRICE)}, {(1, PRICE)}),
    (bytearray(b"x"), b"x"),
    (memoryview(b"x"), b"x"),
    (Data(PRICE, {"a"}), {"price": PRICE, "tags": {"a"}, "_hidden": 1, "made": 2}),
    ([Attrs(PRICE)], [{"price": PRICE, "_hidden": 1}]),
    (Struct(PRICE), {"type": "struct", "unitPrice": PRICE}),
    (Row(1, PRICE), [1, PRICE]),
    ({"m": Model(thePrice=PRICE)}, {"m": {"price": PRICE}}),
    (pydantic.RootModel[list[int]]([1]), [1]),
    (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
]


@pytest.mark.parametrize(("value", "plain"), BECOMES, ids=lambda value: type(value).__name__)
def test_instances_of_classes_are_stored_as_plain_data(value: object, plain: object) -> None:
    stored = encode(value)
    assert same(decode(stored), plain)
    assert type(value).__module__ != __name__ or type(value).__name__.encode() not in stored


def test_a_class_instance_can_be_told_without_a_walk() -> None:
    instances = [Data(PRICE), Attrs(PRICE), Struct(PRICE), Model(thePrice=PRICE), Color.RED]
    for value in instances:
        assert is_class_instance(value)
        assert is_class_instance([value])
        assert is_class_instance({"a": value})
    for plain in (1, "x", {}, [], {"a": 1}, [1], PRICE, (1,), {1}, b"", object(), Data):
        assert not is_class_instance(plain)


# -- what is refused


@pytest.mark.parametrize(
    ("make", "path", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
@pytest.mark.parametrize("write", [encode, encode_canonical])
def test_what_cannot_be_stored_is_refused_with_its_place(
    make: Callable[[], object], path: str, reason: str, write: Callable[[object], bytes]
) -> None:
    value = make()
    with pytest.raises(NotEncodable) as caught:
        write(value)
    if "bytes" not in reason:  # where exactly the room ends is not promised
        assert caught.value.path == path
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_the_path_leads_to_the_refused_part() -> None:
    order = {"items": [{"price": 1.0}, {"price": 2.0}, {"two words": (1, {"x": float("nan")})}]}
    with pytest.raises(NotEncodable) as caught:
        encode(order)
    assert caught.value.path == '$.items[2]["two words"][1].x'
    assert caught.value.type_name == "float"


def test_interrupts_are_not_taken_for_refusals() -> None:
    for interrupt in (KeyboardInterrupt, SystemExit, MemoryError):

        class Interrupting(list[int]):
            raised = interrupt

            def __iter__(self) -> Any:
                raise self.raised

        with pytest.raises(interrupt):
            encode([Interrupting([1])])


def test_the_limit_is_exact() -> None:
    assert encode("abc", limit=5) == b'"abc"'
    for value in ("abcd", [1, 2, 3, 4], {"a": 1}, "é" * 2, Decimal(1)):
        size = len(encode(value))
        assert len(encode(value, limit=size)) == size
        with pytest.raises(NotEncodable, match=f"more than {size - 1} bytes"):
            encode(value, limit=size - 1)


def test_a_shared_value_is_refused_soon() -> None:
    value: object = 1
    for _ in range(50):
        value = [value, value]
    # Walked to its end it would take longer than anybody waits: the time of this process counts.
    started = time.process_time()
    with pytest.raises(NotEncodable):
        encode(value, limit=2**20)
    assert time.process_time() - started < 10


def test_64_levels_are_stored_and_read() -> None:
    tagged: object = {"$": 1}
    for _ in range(63):
        tagged = (tagged,)
    for value in (nested(64), tagged):
        assert same(decode(encode(value)), value)


# -- reading


@pytest.mark.parametrize("data", [row[1] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_damaged_values_are_refused(data: bytes) -> None:
    with pytest.raises(NotDecodable) as caught:
        decode(data)
    assert len(str(caught.value)) < 300


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_but_the_declared_error(data: bytes) -> None:
    for read in (decode, decode_plain):
        with suppress(NotDecodable):
            read(data)


stored_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["$", "v", "a"]), inner, max_size=3)
        | st.fixed_dictionaries(
            {"$": st.sampled_from([*_codec._TEXTS, *_codec._COLLECTIONS, "timedelta"]), "v": inner}
        )
    ),
    max_leaves=10,
)


@given(stored_json)
def test_no_tags_raise_anything_but_the_declared_error(value: object) -> None:
    try:
        read = decode(json.dumps(value).encode())
    except NotDecodable:
        return
    assert same(decode(encode(read)), read)


PLAIN = (dict, list, tuple, set, frozenset, str, int, float, bool, type(None), Path)


def assert_plain(value: object) -> None:
    assert type(value) in PLAIN or isinstance(value, Path)
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) is str
            assert_plain(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            assert_plain(item)


# An audit hook cannot be taken away again: there is one, and it looks when it is told to.
_watched: list[str] | None = None
_FORBIDDEN = ("import", "exec", "compile", "open", "subprocess.", "os.", "socket.", "ctypes.")


def _audit(event: str, _: object) -> None:
    if _watched is not None and event.startswith(_FORBIDDEN):
        _watched.append(event)


sys.addaudithook(_audit)


@pytest.mark.parametrize("data", GADGETS)
def test_a_gadget_is_plain_data_or_refused_and_runs_nothing(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode(b"1")
    seen: list[str] = []
    monkeypatch.setitem(globals(), "_watched", seen)
    results = []
    for read in (decode, decode_plain):
        try:
            results.append(read(data))
        except NotDecodable:
            continue
    monkeypatch.undo()
    assert seen == []
    for result in results:
        assert_plain(result)


# -- JSON from clients


@pytest.mark.parametrize(
    ("data", "reason"), [row[1:] for row in REFUSED_BODIES], ids=[row[0] for row in REFUSED_BODIES]
)
def test_json_from_clients_is_strict(data: bytes, reason: str) -> None:
    with pytest.raises(NotDecodable) as caught:
        decode_plain(data)
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 300


def test_text_from_clients_is_as_strict() -> None:
    for text in ("\ufeff{}", '"\ud800"', "", '{"a":1,"a":1}'):
        with pytest.raises(NotDecodable):
            decode_plain(text)
    assert decode_plain(' {"a": [1, -0.0, "\\u0000", "\\ud83d\\ude00"]} ') == {
        "a": [1, -0.0, "\x00", "😀"]
    }


def test_a_clients_dollar_keys_are_data() -> None:
    sent = b'{"$": "decimal", "v": "1.10"}'
    value = decode_plain(sent)
    assert value == {"$": "decimal", "v": "1.10"}
    assert decode(encode(value)) == value


@given(values)
def test_what_clients_may_send_is_what_json_reads(value: object) -> None:
    stored = encode(value)
    assert same(decode_plain(stored), json.loads(stored))


def test_importing_the_codec_imports_nothing_from_outside() -> None:
    program = (
        "import sys, sequential._codec, sequential._typed;"
        "print(sorted({'msgspec', 'pydantic', 'attr', 'attrs'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "[]"


def test_a_hostile_base_exception_is_not_an_exception() -> None:
    assert not issubclass(RaisingBase, Exception)  # else the hostile list would test too little


def test_uuid_and_path_are_tagged() -> None:
    value = [UUID(int=1), Path("a/b"), dt.timedelta(days=-1, microseconds=3)]
    assert encode(value) == (
        b'[{"$":"uuid","v":"00000000-0000-0000-0000-000000000001"},{"$":"path","v":"a/b"},'
        b'{"$":"timedelta","v":[-1,0,3]}]'
    )


# -- paths that only odd moments take ------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "given", "expected"),
    [
        ("encode", {"b": 1}, b'{"b":1}'),
        ("encode_canonical", {"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        ("decode", b'{"b":1}', {"b": 1}),
    ],
)
def test_any_of_the_three_may_be_the_first_that_a_process_calls(
    first: str, given: object, expected: object
) -> None:
    # A module of its own, as a new process would have it: the JSON library is loaded at first use.
    spec = importlib.util.spec_from_file_location("sequential._codec_anew", _codec.__file__)
    assert spec is not None
    assert spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert getattr(anew, first)(given) == expected
    assert anew.decode(anew.encode_canonical(anew.decode(anew.encode(given)))) == given


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, "fine", [], {"x": "y"}], "b": {"c": ["fine", "\ud800"]}}, "$.b.c[1]"),
        ({"a": (1, "fine"), "b": ({"c": 2}, "\udfff")}, "$.b[1]"),
        ({"$": {"$": "fine", "v": 1}, "b": {"\ud800": 1}}, None),
    ],
    ids=["lists and dicts", "tags", "a key"],
)
def test_half_a_surrogate_pair_is_found_behind_fine_text(value: object, path: str | None) -> None:
    with pytest.raises(NotEncodable, match="surrogate") as refused:
        encode(value)
    assert path is None or path in str(refused.value)


def test_a_value_that_cannot_be_read_is_refused_with_what_reading_it_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spent(value: object, limit: int) -> object:
        raise RecursionError

    monkeypatch.setattr(_codec, "plain_of", spent)
    with pytest.raises(NotEncodable, match="reading it raised RecursionError"):
        encode([1])
