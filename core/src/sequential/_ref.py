"""A handle for a value that stays in storage: what `Ref[T]` is for flows, tools and clients.

Data only. Where a value is put apart, and how it is read again, stands in `_referring`.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from ._steps import Step, ToolStep

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Address(NamedTuple):
    """Where the value of a `Ref` is kept.

    Attributes:
        run_id: The run whose storage has it; it is gone when that run is purged.
        generation: Of the run, when it was stored.
        part: What it is the value of: a step's position and side, or the result.
        digest: Of what is stored.
        size: Bytes of the encoded value.
        codecs: Payload codecs that it went through.
    """

    run_id: str
    generation: int
    part: str
    digest: str
    size: int
    codecs: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What it is the value of, for people."""
        position = self.part.partition(":")[0]
        what = "the result" if position == "result" else f"step {position}"
        return f"{what} of run {self.run_id!r}"


class Ref(Generic[T_co]):
    """A value that stays in storage until it is loaded; the flow has a small handle for it.

    A tool or flow annotated ``-> Ref[T]`` returns ``Ref(value)``, or several of them in
    dicts, lists, tuples and dataclasses. Over 4 KiB the value of each is kept apart, and flows see
    where: replays neither fetch nor decode it. A `Ref` can be given to tools and child runs.
    Smaller values travel in it, and so does what a flow puts into a new one, until it returns it.

    To read it: ``await ref.load()`` in a flow, ``context.load(ref)`` in a tool,
    ``app.load(ref)`` in a client. That fails with `RefGone` once the run that stored it is purged:
    then the value is gone, also for runs that were forked from that one.

    Args:
        value: Anything that can be stored.

    Example:
        >>> @tool("shop", "orders")
        ... def orders(year: int) -> Ref[list[Order]]:
        ...     return Ref(read_orders(year))
        >>> @flow
        ... async def report(year: int) -> Summary:
        ...     found = await orders(year)
        ...     return await summary(found)  # reads them with context.load(found)
    """

    __slots__ = ("_address", "_annotation", "_value")

    def __init__(self, value: T_co) -> None:
        self._value: Any = value
        self._address: Address | None = None
        self._annotation: object = Any

    def load(self) -> Step[T_co]:
        """Make a step that gives the value; ``await`` it, or ``yield from`` it.

        It is recorded as any step, with the value: what a flow has loaded once it has for good.

        Raises:
            ToolError: At the step, of type ``RefGone``: the run that stored it was purged.
        """
        return LoadStep(self)

    def __eq__(self, other: object) -> bool:
        """Tell whether *other* stands for the same stored value, or holds an equal one."""
        if not isinstance(other, Ref):
            return NotImplemented
        return bool(self._address == other._address and self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        if self._address is None:
            return f"Ref({self._value!r:.60})"
        return f"<Ref to {self._address.words}, {self._address.size:,} bytes>"


class LoadStep(ToolStep[T_co]):
    """The reading of *ref* in a flow."""

    __slots__ = ("ref",)

    def __init__(self, ref: Ref[T_co]) -> None:
        super().__init__("sequential", "load", {"ref": ref}, "raise")
        self.ref = ref

    def __repr__(self) -> str:
        return f"load of {self.ref!r}"


# -- for those who keep and read values; flows, tools and clients need none of it


def at(address: Address) -> Ref[Any]:
    """Return what stands for the value at *address*."""
    ref = Ref[Any](None)
    ref._address = address  # noqa: SLF001  (made here)
    return ref


def move(ref: Ref[Any], address: Address) -> None:
    """Let *ref*, which nobody else has, stand for the same value at *address*."""
    ref._value, ref._address = None, address  # noqa: SLF001  (made here)


def read_as(ref: Ref[Any], annotation: object) -> Ref[Any]:
    """Return *ref* with its value to be read as *annotation*."""
    found = Ref[Any](ref._value)  # noqa: SLF001  (made here)
    found._address, found._annotation = ref._address, annotation  # noqa: SLF001
    return found


def address_of(ref: Ref[Any]) -> Address | None:
    """Return where the value of *ref* is kept; None if *ref* holds it."""
    return ref._address  # noqa: SLF001  (made here)


def held_by(ref: Ref[T]) -> T:
    """Return the value of *ref*, which holds it.

    Raises:
        ValueError: It is kept in a storage, which is not at hand here.
    """
    if ref._address is not None:  # noqa: SLF001  (made here)
        msg = f"{ref!r} cannot be read here; load it in a flow, in a tool under way, or by an app"
        raise ValueError(msg)
    value: T = ref._value  # noqa: SLF001
    return value


def annotation_of(ref: Ref[Any]) -> object:
    """Return what the value of *ref* is read as."""
    return ref._annotation  # noqa: SLF001  (made here)


__all__ = [
    "Address",
    "LoadStep",
    "Ref",
    "address_of",
    "annotation_of",
    "at",
    "held_by",
    "move",
    "read_as",
]
