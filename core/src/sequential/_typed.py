"""From decoded plain values to what an annotation says.

Owns what an annotation and a signature ask for, and the one sentence about what does not fit. How
msgspec is made to read an annotation is known to `_stand_ins`; JSON text is known to `_codec`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Any,
    Final,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from ._fields import name_of
from ._stand_ins import PREPARING, Preparation, convert, json_schema
from .errors import AmbiguousUnion, ValueMismatch

# Types that a decoded value either has or has not: then nothing is asked of msgspec.
_PLAIN: Final = frozenset(
    {str, int, float, bool, bytes, dict, list, tuple, set, frozenset}
    | {Decimal, datetime, date, time, timedelta, UUID, type(None)}
)
_ANYTHING: Final = (Any, object, inspect.Parameter.empty)
_SCHEMA_LIMIT: Final = 4096  # bytes; it stands in the record of the run
_UNWRAPPED: Final = (Awaitable, Coroutine, Generator)


class Shape:
    """One annotation, ready to read values by.

    Attributes:
        where: What the annotation belongs to, for messages.
        annotation: The annotation itself.
    """

    __slots__ = ("_exact", "_type", "annotation", "where")

    def __init__(self, annotation: object, where: str) -> None:
        self.where = where
        self.annotation = annotation
        self._exact = _exact(annotation)
        self._type: Any = None
        if self._exact is None and annotation not in _ANYTHING:
            # A field may name a class that its module has not defined yet: then at the first read.
            with suppress(NameError), PREPARING:
                self._type = Preparation(where).of(annotation)

    def read(self, value: object) -> Any:
        """Return *value*, as decoded, in the form that the annotation says.

        What has that form already passes unchanged. JSON's forms of value types (text for a
        datetime or Decimal, a list for a set) are converted; ``"1"`` is never taken for 1.

        Raises:
            ValueMismatch: It does not fit, or code of the annotated class refuses it.
        """
        if type(value) is self._exact or self.annotation in _ANYTHING:
            return value
        try:
            if self._type is None:
                with PREPARING:
                    self._type = Preparation(self.where).of(self.annotation)
            return convert(value, self._type)
        except (ValueMismatch, AmbiguousUnion):
            raise
        except ValueError as error:
            raise self._mismatch(str(error)) from error
        except Exception as error:
            raise self._mismatch(f"reading it raised {name_of(error)}: {error}") from error

    def schema(self) -> str:
        """Return the JSON schema of what can be read, as text.

        Empty where everything can, where msgspec does not know the type, and beyond 4 KiB.
        """
        if self.annotation in _ANYTHING:
            return ""
        with PREPARING:
            try:
                text = json_schema(self._type or self.annotation)
            except (TypeError, ValueError):
                return ""
        return text if len(text) <= _SCHEMA_LIMIT else ""

    def _mismatch(self, text: str) -> ValueMismatch:
        # msgspec appends the place, once for each stand-in on the way: the innermost first.
        reason, *places = text.split(" - at `")
        path = "$" + "".join(place.rstrip("`").removeprefix("$") for place in reversed(places))
        return ValueMismatch(self.where, path, reason[:1].lower() + reason[1:])


def shape_of(annotation: object, *, where: str) -> Shape:
    """Return the shape of *annotation*.

    Args:
        where: What the annotation belongs to, for messages: ``tool api.user result``.

    Raises:
        AmbiguousUnion: It has a union of classes that plain JSON cannot tell apart.
        ValueMismatch: Values cannot be read by it at all.
    """
    return Shape(annotation, where)


def return_shape(
    function: Callable[..., object], *, where: str | None = None, without: tuple[type, ...] = ()
) -> Shape | None:
    """Return the shape of what *function* gives in the end, or None without an annotation.

    The value of a coroutine and the return value of a generator count, not the object itself;
    types in *without* are left out of a union, since they are answers of another kind.

    Raises:
        AmbiguousUnion: It has a union of classes that plain JSON cannot tell apart.
        ValueMismatch: A name in the annotation cannot be found.
    """
    place = f"{where or getattr(function, '__qualname__', repr(function))} result"
    plain = inspect.unwrap(function)
    try:
        # Only this one annotation: a parameter's may name what only type checkers import.
        alone = types.SimpleNamespace(
            __annotations__={"return": plain.__annotations__["return"]},
            __type_params__=getattr(plain, "__type_params__", ()),
        )
        hint = get_type_hints(alone, getattr(plain, "__globals__", {}), include_extras=True)
    except (KeyError, AttributeError):
        return None
    except NameError as error:
        reason = f"the annotation {error.name!r} cannot be found; import it in the module"
        raise ValueMismatch(place, "$", reason) from error
    annotation = _left_over(_unwrapped(hint["return"]), without)
    return None if annotation is None else shape_of(annotation, where=place)


def _unwrapped(annotation: Any) -> Any:
    """Return what is left of *annotation* without generators and awaitables; None for nothing."""
    while (get_origin(annotation) or annotation) in _UNWRAPPED:
        arguments = get_args(annotation)
        if not arguments:
            return None
        annotation = arguments[-1]
    return None if annotation in (typing.Never, typing.NoReturn) else annotation


def _left_over(annotation: Any, without: tuple[type, ...]) -> Any:
    """Return *annotation* without the types in *without*; None when nothing is left of it."""
    if annotation in without:
        return None
    if not without or get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    left = tuple(each for each in get_args(annotation) if each not in without)
    return typing.Union[left] if left else None  # noqa: UP007  (made of a tuple)


def _exact(annotation: Any) -> type | None:
    """Return the type whose instances fit *annotation* whatever they hold, if there is one."""
    if isinstance(annotation, type) and (annotation in _PLAIN or issubclass(annotation, Enum)):
        return annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if (origin is list and arguments[0] in _ANYTHING) or (
        origin is dict and arguments[0] is str and arguments[1] in _ANYTHING
    ):
        return typing.cast("type", origin)
    return None
