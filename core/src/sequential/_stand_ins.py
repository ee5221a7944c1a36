"""Annotations made readable for msgspec: a stand-in for each part that it refuses.

Knows msgspec's and pydantic's rules and imports both only when used. Knows nothing of functions
and their signatures, nor where a value came from.
"""

from __future__ import annotations

import json
import threading
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ._fields import arguments_by_field, fields_of, name_of
from ._ref import Ref, read_as
from .errors import AmbiguousUnion, ValueMismatch

# msgspec looks into a class at its first use, and two threads that do so at once crash the
# interpreter. Reentrant: a field's type is prepared while its class's is.
PREPARING: Final = threading.RLock()


def convert(value: object, annotation: Any) -> Any:
    """Return *value* in the form of *annotation*, which `Preparation` made; ValueError if not."""
    import msgspec

    return msgspec.convert(value, annotation, dec_hook=_hook)


def json_schema(annotation: Any) -> str:
    """Return the JSON schema of *annotation*, which `Preparation` made, as ASCII text.

    Raises:
        TypeError: A part of it is a class that msgspec does not know.
    """
    import msgspec.json

    return json.dumps(msgspec.json.schema(annotation), separators=(",", ":"))


def _hook(kind: Any, value: Any) -> Any:
    """Read *value* as *kind*, a class that msgspec does not know; ValueError if it does not fit."""
    if isinstance(kind, _StandIn):
        try:
            return kind.read(value)
        except ValueError as error:
            # An error of msgspec's own would pass through it without the place being added.
            raise ValueError(str(error)) from None
    if hasattr(kind, "__pydantic_validator__"):
        return _validated(_adapter(kind), value)
    target = get_origin(kind) or kind
    if target is Ref:
        return _read_ref(get_args(kind), value)
    if isinstance(value, target):
        return value
    if issubclass(target, PurePath) and type(value) is str:
        return target(value)
    raise ValueError(f"{name_of(value)} cannot be made a {target.__name__}; use a dataclass")


def _read_ref(arguments: tuple[Any, ...], value: Any) -> Ref[Any]:
    """Read *value* as a `Ref`; plain data that it could stand for becomes one that holds it."""
    (annotation,) = arguments or (Any,)
    if isinstance(value, Ref):
        return read_as(value, annotation)
    with PREPARING:
        prepared = Preparation("a Ref").of(annotation)
    try:
        convert(value, prepared)
    except ValueError as error:
        raise ValueError(str(error)) from None  # see `_hook`
    return read_as(Ref(value), annotation)


class _StandIn(type):
    """The class of classes that stand, inside an annotation, for a part that we read ourselves."""

    read: Callable[[Any], Any]

    def __instancecheck__(cls, instance: object) -> bool:
        return True  # msgspec asks it of what `read` returned


def _stand_in(read: Callable[[Any], Any]) -> _StandIn:
    return _StandIn("StandIn", (), {"read": staticmethod(read)})


def _accepted(annotation: Any) -> bool:
    import msgspec.json

    try:
        msgspec.json.Decoder(annotation, dec_hook=_hook)
    except TypeError:
        return False
    return True


_UNIONS: Final = (Union, types.UnionType)


class Preparation:
    """Makes, of one annotation, one that msgspec accepts."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._classes: dict[type, _StandIn] = {}

    def of(self, annotation: Any) -> Any:
        """Return *annotation* itself if msgspec accepts it, else one with stand-ins in it."""
        if hasattr(annotation, "__pydantic_validator__"):
            return _stand_in(partial(_validated, _adapter(annotation)))
        if _accepted(annotation):
            return annotation
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is None:
            return self._alone(annotation)
        return self._composed(annotation, origin, arguments)

    def _composed(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if origin is Annotated:
            return self._annotated(annotation, arguments[0], annotation.__metadata__)
        if origin in _UNIONS:
            return self._union(annotation, list(arguments))
        if origin is Literal:
            return _stand_in(partial(_read_literal, arguments))
        return self._generic(annotation, origin, arguments)

    def _alone(self, annotation: Any) -> Any:
        if isinstance(annotation, type):
            return self._class(annotation)
        if hasattr(annotation, "__value__"):  # a `type` statement's alias
            return self.of(annotation.__value__)
        raise self._unreadable(annotation)

    def _annotated(self, annotation: Any, inner: Any, metadata: tuple[Any, ...]) -> Any:
        if any(getattr(item, "discriminator", None) for item in metadata):
            return _stand_in(partial(_validated, _adapter_of(annotation)))
        return self.of(inner)

    def _generic(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(origin, type):
            made = origin[tuple(self._argument(item) for item in arguments)]  # type: ignore[index]
            if _accepted(made):
                return made
        raise self._unreadable(annotation)

    def _argument(self, argument: Any) -> Any:
        return argument if argument is ... else self.of(argument)

    def _union(self, annotation: Any, arms: list[Any]) -> _StandIn:
        classes = [arm for arm in arms if _is_object(arm)]
        if len(classes) > 1:
            together: Any = Union.__getitem__(tuple(classes))
            if not _accepted(together):
                raise AmbiguousUnion(self._where, _text(annotation))
            arms = [together, *(arm for arm in arms if arm not in classes)]
        prepared = [(arm, self.of(arm)) for arm in arms]
        return _stand_in(partial(_read_union, _text(annotation), prepared))

    def _class(self, kind: Any) -> _StandIn:
        if issubclass(kind, Enum):
            return _stand_in(partial(_read_enum, kind))
        if kind in self._classes:
            return self._classes[kind]
        names = arguments_by_field(kind)
        if names is None:
            raise self._unreadable(kind)
        # Noted before its fields are read, since they may name the class itself.
        stand_in = self._classes[kind] = _stand_in(lambda value: value)
        hints = get_type_hints(kind, include_extras=True)
        needed = getattr(kind, "__required_keys__", ())
        mirror = TypedDict(  # type: ignore[misc]
            kind.__name__,
            {
                name: (Required if name in needed else NotRequired)[self.of(_bare(hints[name]))]
                for name in names
            },
        )
        stand_in.read = partial(_read_class, kind, mirror, names)
        return stand_in

    def _unreadable(self, annotation: Any) -> ValueMismatch:
        reason = f"values cannot be read by {_text(annotation)}; use a dataclass or plain types"
        return ValueMismatch(self._where, "$", reason)


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation)


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def _is_object(arm: Any) -> bool:
    """Tell whether values of *arm* are objects in JSON."""
    if get_origin(arm) is Annotated:
        return any(map(_is_object, get_args(get_args(arm)[0]) or (get_args(arm)[0],)))
    kind = get_origin(arm) or arm
    if not isinstance(kind, type):
        return False
    return is_typeddict(kind) or fields_of(kind) is not None or issubclass(kind, Mapping)


def _read_class(kind: Any, mirror: Any, names: dict[str, str], value: Any) -> Any:
    if not is_typeddict(kind) and isinstance(value, kind):
        return value
    found = convert(value, mirror)
    return kind(**{names[name]: item for name, item in found.items()})


def _read_enum(kind: type[Enum], value: Any) -> Enum:
    return kind(tuple(value) if type(value) is list else value)


def _read_literal(members: tuple[Any, ...], value: Any) -> Any:
    for member in members:
        stored = member.value if isinstance(member, Enum) else member
        if value is member or (type(value) is type(stored) and value == stored):
            return member
    raise ValueError(f"Expected one of {members}")


def _read_union(text: str, arms: list[tuple[Any, Any]], value: Any) -> Any:
    """Read *value* by the first arm that fits: enums, then its very type, then in order."""

    def rank(arm: Any) -> int:
        kind = get_origin(arm) or arm
        if kind is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
            return 0
        return 1 if kind is type(value) else 2

    for _, prepared in sorted(arms, key=lambda pair: rank(pair[0])):
        try:
            return convert(value, prepared)
        except ValueError:
            continue
    raise ValueError(f"{name_of(value)} fits no part of {text}")


# -- pydantic, which is there whenever one of its classes is


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> Any:
    return _adapter_of(kind)


def _adapter_of(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _validated(adapter: Any, value: Any) -> Any:
    """Read *value* by the model's own rules, fields by name or alias."""
    import pydantic
    from pydantic_core import to_json

    by: dict[str, Any] = {"by_alias": True, "by_name": True}
    if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11):
        by = {}  # there a model with aliases needs populate_by_name
    try:
        return adapter.validate_python(value, **by)
    except pydantic.ValidationError as error:
        first = error
    try:
        # A strict model takes text for an enum or a datetime from JSON only.
        return adapter.validate_json(to_json(value), **by)
    except ValueError:
        detail = first.errors(include_url=False, include_input=False, include_context=False)[0]
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in detail["loc"])
        raise ValueError(f"{detail['msg']} - at `${place}`") from None
