"""A store of five methods, whatever its style: get, set, delete, get_result and set_result.

Owns how states and results look in such a store, as plain data, and how what its owner wrote as
async is waited for. What is played over it is not known here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from ._attempts import Settled
from ._model import Status, StepOutcome
from ._steps import ToolStep
from .errors import ConfigError, RecordCorrupt

T = TypeVar("T")

MISSING: Any = object()
"""Stands for a result that the store does not have; None is a result."""

MOST_STEPS = 50_000
"""Steps of one run: the state of a store holds them all."""

_NONE = {"$": "none", "v": None}
"""What is saved for None: a store that has nothing under a key may say None too."""

_CALLER: ContextVar[Any] = ContextVar("sequential_callers_loop", default=None)
"""The event loop of whoever awaits, or None for the process's own."""


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def settle(value: Any) -> Any:
    """Return *value*, or what it comes to if it is awaitable; blocks this thread meanwhile."""
    if not inspect.isawaitable(value):
        return value
    # Only who is async pays for importing asyncio.
    import asyncio

    from ._loop import _LOOP

    loop = _CALLER.get() or _LOOP.get()
    return asyncio.run_coroutine_threadsafe(_awaited(value), loop).result()


def on_loop_of_caller(loop: object, function: Callable[[], T]) -> T:
    """Return what *function* returns; what it has to await is awaited on *loop* (None: our own)."""
    token = _CALLER.set(loop)
    try:
        return function()
    finally:
        _CALLER.reset(token)


class State(NamedTuple):
    """What the store has of a run. *input* and *result* are typed JSON; None if it has none."""

    step: int
    flow: str | None
    input: bytes | None
    result: bytes | None


class Store:
    """The five methods of *storage*, in snake_case or camelCase, sync or async.

    Raises:
        ConfigError: One of them is not there.
    """

    def __init__(self, storage: object) -> None:
        self._get = _method(storage, "get")
        self._set = _method(storage, "set")
        self._delete = _method(storage, "delete")
        self._get_result = _method(storage, "get_result", "getResult")
        self._set_result = _method(storage, "set_result", "setResult")

    def get(self, run_id: str) -> State | None:
        """Return what is stored of the run, or None.

        Raises:
            RecordCorrupt: It is not what `set` was given.
        """
        found = settle(self._get(run_id))
        if found is None or found == {}:
            return None
        if not isinstance(found, Mapping):
            raise RecordCorrupt(run_id, f"get returned {found!r:.80}, not an object with 'step'")
        flow = found.get("flow")
        kept = "result" in found and found.get("status") == Status.COMPLETED
        return State(
            _number(run_id, found.get("step", 0)),
            None if flow is None else str(flow),
            _json(run_id, "input", found["input"]) if "input" in found else None,
            _json(run_id, "result", found["result"]) if kept else None,
        )

    def set(self, run_id: str, step: int, flow: str, given: bytes, **more: object) -> None:
        """Store that *step* steps are done."""
        state = {"step": step, "flow": flow, "input": json.loads(given), **more}
        settle(self._set(run_id, state))

    def delete(self, run_id: str) -> None:
        """Forget the run and its results."""
        settle(self._delete(run_id))

    def result(self, run_id: str, step: int) -> Any:
        """Return the saved result of a step, or `MISSING`."""
        try:
            found = settle(self._get_result(run_id, step))
        except KeyError:
            return MISSING
        return MISSING if found is None else found

    def set_result(self, run_id: str, step: int, result: object) -> None:
        """Save the result of a step: plain data, as JSON knows it, and never None."""
        settle(self._set_result(run_id, step, result))


def _method(storage: object, *names: str) -> Callable[..., Any]:
    for name in names:
        found: Callable[..., Any] | None = getattr(storage, name, None)
        if callable(found):
            return found
    remedy = f"it has no method {names[0]!r}; a store has get, set, delete, get_result, set_result"
    raise ConfigError("storage", storage, remedy)


def _number(run_id: str, step: Any) -> int:
    # DynamoDB answers with Decimals, JavaScript wrote floats.
    try:
        number = int(step)
        if number == step and 0 <= number <= MOST_STEPS:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise RecordCorrupt(
        run_id, f"its step is {step!r:.80}; it must be a whole number from 0 to {MOST_STEPS}"
    )


def _json(run_id: str, what: str, stored: object) -> bytes:
    try:
        return json.dumps(stored, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"its {what} came back from the store as something that JSON has not: {error}"
        raise RecordCorrupt(run_id, reason) from error


# -- results, as they are saved ----------------------------------------------------------------


def to_save(settled: Settled, step: ToolStep[Any]) -> object:
    """Return plain data for what a tool call came to.

    A failure is an object with ``__error``; so a tool's own result that looks like one is saved in
    the codec's tagged form of an object, from which it is read back as itself.
    """
    data: Any = json.loads(settled.data)
    if settled.outcome is StepOutcome.ERROR:
        # An empty text would read as "no error" in a flow that asks `if result["__error"]`.
        said = {"__error": data.pop("message") or data["type"]}
        return said if step.errors == "return" else {**said, **data, "attempts": settled.attempts}
    if isinstance(data, dict) and "__error" in data:
        return {"$": "dict", "v": data}
    return _NONE if data is None else data


def from_saved(run_id: str, number: int, saved: Any) -> Settled:
    """Return what `to_save` was given, of the step *number*.

    Raises:
        RecordCorrupt: It is no plain data.
    """
    if saved == _NONE:
        return Settled(StepOutcome.VALUE, b"null")
    if not (isinstance(saved, Mapping) and "__error" in saved):
        return Settled(StepOutcome.VALUE, _json(run_id, f"result of step {number}", saved))
    error = {
        "type": saved.get("type", "Exception"),
        "message": str(saved["__error"]),
        "data": saved.get("data"),
        "retryable": saved.get("retryable", True),
    }
    data = _json(run_id, f"result of step {number}", error)
    return Settled(StepOutcome.ERROR, data, _number(run_id, saved.get("attempts", 1)))
