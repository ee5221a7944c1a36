"""What a class says of its instances' fields, whichever library made the class.

The one file that knows how dataclass, attrs, msgspec and pydantic mark their classes. It imports
none of them: whoever has an instance has the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, is_typeddict

Found = TypeVar("Found")


def name_of(value: object) -> str:
    """Return the name of *value*'s class, without running code of its metaclass."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def remembered(find: Callable[[Any], Found]) -> Callable[[Any], Found]:
    """Return *find* with a memory of 1,024 classes."""
    # Typed by hand: to mypy, a class of unknown metaclass is not hashable.
    return lru_cache(maxsize=1024)(find)


@remembered
def fields_of(kind: Any) -> Callable[[Any], object] | None:
    """Return what reads the fields of an instance of *kind*, or None for no known sort of class."""
    if hasattr(kind, "__struct_fields__"):
        return _struct_fields
    if hasattr(kind, "__pydantic_fields__") and hasattr(kind, "model_dump"):
        # What is computed is left out, so that the model can be made from what is stored.
        return lambda value: value.model_dump(by_alias=False, round_trip=True)
    if hasattr(kind, "__dataclass_fields__"):
        names = [field.name for field in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    else:
        return None
    return lambda value: {name: getattr(value, name) for name in names}


def _struct_fields(value: Any) -> object:
    from msgspec import UNSET

    config = value.__struct_config__
    found = {} if config.tag is None else {config.tag_field: config.tag}
    for name, stored in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        if (item := getattr(value, name)) is not UNSET:
            found[stored] = item
    return list(found.values()) if config.array_like else found


def arguments_by_field(kind: Any) -> dict[str, str] | None:
    """Return the names of the fields of *kind* with those of its constructor's parameters."""
    if is_typeddict(kind):
        return {name: name for name in kind.__annotations__}
    if dataclasses.is_dataclass(kind):
        return {field.name: field.name for field in dataclasses.fields(kind) if field.init}
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: field.alias for field in kind.__attrs_attrs__ if field.init}
    return None
