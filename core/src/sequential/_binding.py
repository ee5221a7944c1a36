"""How arguments become an input by parameter name, and an input becomes arguments.

Shared by tools and flows. A function whose only parameter is called ``input`` takes the raw
input. Nothing here knows what is done with an input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from . import _typed
from .errors import InputMismatch, ValueMismatch


class Binding:
    """The parameters of one function.

    Attributes:
        where: What the function is called in messages.
        names: Its parameters in order, without the context parameter.
        raw: Whether it takes the raw input.
        context: Name of the parameter that gets the tool's context, if there is one.
    """

    def __init__(self, function: Callable[..., object], where: str, context_type: type) -> None:
        self.where = where
        self.context: str | None = None
        signature = inspect.signature(function)
        hints = _hints(function, where)
        self._required: set[str] = set()
        self._shapes: dict[str, _typed.Shape | None] = {}
        self._open = False
        for name, parameter in signature.parameters.items():
            if hints.get(name) is context_type:
                self.context = name
            else:
                self._add(name, parameter, hints.get(name, Any))
        self.names = tuple(self._shapes)
        self._names = self._shapes.keys()
        self.raw = self.names == ("input",) and not self._open

    def _add(self, name: str, parameter: inspect.Parameter, hint: object) -> None:
        if parameter.kind is parameter.VAR_KEYWORD:
            self._open = True
            return
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InputMismatch(
                self.where,
                f"parameter {parameter} cannot be given by name; inputs are objects of parameters"
                " by name",
            )
        plain = hint in (Any, object, inspect.Parameter.empty)
        shape = None if plain else _typed.shape_of(hint, where=f"{self.where} parameter {name!r}")
        self._shapes[name] = shape
        if parameter.default is parameter.empty:
            self._required.add(name)

    def input_of(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        """Return the input that a call with *args* and *kwargs* means, without defaults."""
        if self.raw:
            return self._raw_input(args, kwargs)
        if len(args) > len(self.names):
            raise InputMismatch(
                self.where, f"{len(args)} values were given for {len(self.names)} parameters"
            )
        given: dict[str, object] = dict(zip(self.names, args, strict=False))
        if not kwargs and len(args) == len(self.names):
            return given
        for name, value in kwargs.items():
            if name in given:
                raise InputMismatch(self.where, f"parameter {name!r} was given twice")
            given[name] = value
        self._check_names(given)
        return given

    def _raw_input(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        if len(args) == 1 and not kwargs:
            return args[0]
        if not args and kwargs.keys() == {"input"}:
            return kwargs["input"]
        if not args and not kwargs and not self._required:
            return {}
        raise InputMismatch(self.where, "it takes exactly one value, its input")

    def arguments_of(self, given: object) -> dict[str, Any]:
        """Return the keyword arguments that *given*, a decoded input, stands for.

        Raises:
            InputMismatch: A name is missing or unknown, or a value does not fit.
        """
        if self.raw:
            given = {"input": given}
        elif not isinstance(given, dict):
            raise InputMismatch(
                self.where,
                f"{self._expected(' an object with')}, not {type(given).__name__}",
            )
        self._check_names(given)
        return {name: self._read(name, value) for name, value in given.items()}

    def _read(self, name: str, value: object) -> object:
        shape = self._shapes.get(name)
        if shape is None:
            return value
        try:
            return shape.read(value)
        except ValueMismatch as error:
            place = "" if error.path == "$" else f" at {error.path}"
            reason = f"parameter {name!r}{place}: {error.reason}"
            raise InputMismatch(self.where, reason) from error

    def _check_names(self, given: Mapping[str, object]) -> None:
        names = given.keys()
        if names == self._names:
            return
        if not self._required <= names:
            missing = [name for name in self.names if name in self._required - names]
            raise InputMismatch(self.where, f"{_listed(missing)} missing; {self._expected()}")
        if not self._open and not names <= self._names:
            unknown = [repr(name) for name in given if name not in self._names]
            raise InputMismatch(
                self.where, f"{', '.join(unknown)} not among its parameters; {self._expected()}"
            )

    def _expected(self, form: str = "") -> str:
        return f"it takes{form} {_listed(list(self.names))}" if self.names else "it takes no input"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _hints(function: Callable[..., object], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InputMismatch(
            where, f"the annotation {error.name!r} cannot be found; import it in the module"
        ) from error
