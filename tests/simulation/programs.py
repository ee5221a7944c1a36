"""Small flow programs as data: one interpreter, in both styles.

A program is a list of operations, the input of a run; some operations have programs of their own,
which are branches. What disturbs the run, and what it must come to, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import StrEnum
from functools import cache, partial
from itertools import count
from typing import Any

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    Steps,
    ToolContext,
    ToolError,
    continue_as_new,
    deprecate_patch,
    det,
    flow,
    gather,
    map_tool,
    patched,
    race,
    run_child,
    save,
    sleep,
    start_child,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.errors import ChildCancelled, ChildFailed
from sequential.refs import Ref
from tests.simulation.asking import STEPS, add_asking, begin_anew
from tests.simulation.references import PAD, STEPLESS, digest_of, filled, returned
from tests.simulation.turns import ANSWERS, noted, turned

Op = list[Any]
Program = list[Op]
STYLES = ("generator", "coroutine")
EXTRA: Op = ["add", -1]
"""What changed code asks for first, and no program does."""


class Code(StrEnum):
    """Which version of the code a process has."""

    OLD = "old"
    COMPATIBLE = "compatible"
    """Each flow is rewritten in the other style; the steps are the same."""
    CHANGED = "changed"
    """Each flow asks for one step more, before all others."""
    PATCHED = "patched"
    """Each flow goes the new way of its turns where it may: in runs that have not come so far."""
    AFTER = "after"
    """Each flow goes it, and says that runs of the old way are not expected any more."""
    MISSING = "missing"
    """One of the flows is gone."""
    TOOLLESS = "toolless"
    """One of the tools is gone."""

    @property
    def family(self) -> str | None:
        """Codes of one family can carry on each other's histories, those of two never.

        None is that of code which carries on those of both.
        """
        if self in (Code.PATCHED, Code.AFTER):
            return None  # which they do carry on is looked at in `patching`
        return "new" if self is Code.CHANGED else "old"

    def fits(self, family: str | None) -> bool:
        """Tell whether a history of *family* can be carried on; None is that without any step."""
        return family is None or self.family in (None, family)


BREAKING = (Code.OLD, Code.COMPATIBLE, Code.CHANGED, Code.MISSING, Code.TOOLLESS)
"""What is deployed where a flow is changed just so."""
PATCHING = (Code.OLD, Code.COMPATIBLE, Code.PATCHED, Code.PATCHED, Code.AFTER, Code.TOOLLESS)
"""What is deployed where the change is patched."""


@cache
def registry(code: Code = Code.OLD) -> Registry:
    """Return, once made, the interpreter in both styles and its tools, in this version."""
    known = Registry()
    _add_tools(known, code)
    first, second = STYLES if code is not Code.COMPATIBLE else reversed(STYLES)
    _add_coroutine(known, second, code)
    if code is not Code.MISSING:
        _add_generator(known, first, code)
    return known


def _add_tools(known: Registry, code: Code) -> None:  # noqa: C901  (a list of small functions)
    add_asking(known)
    policy = RetryPolicy(max_attempts=3, first=4.0, jitter=False)

    @tool("t", "undo", registry=known)
    def undo(number: int) -> int:
        return number

    @tool("t", "fail", registry=known)
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    @tool("t", "broken", registry=known)
    def broken(context: ToolContext, number: int) -> int:
        if number % 2 or not context.generation:
            raise ValueError(f"no {number}")
        return number

    @tool("t", "flaky", retry=policy, registry=known)
    def flaky(context: ToolContext, number: int, failures: int) -> int:
        if context.attempt <= failures:
            raise ConnectionError("no answer") if context.attempt % 2 else Rejected("not now")
        return number

    @tool("t", "once", mode="at-most-once", registry=known)
    def once(number: int) -> int:
        return number

    @tool("t", "token", registry=known)
    def token() -> int:
        return next(_TOKENS[0])

    @tool("t", "big", registry=known)
    def big(context: ToolContext, number: int) -> Ref[str]:
        whose = f"{context.run_id} {context.generation} {context.position} {context.fence}"
        return Ref(f"{whose} {next(_TOKENS[0])} {PAD if number % 4 else ''}")

    @tool("t", "use", retry=policy, registry=known)
    def use(context: ToolContext, ref: Ref[Any]) -> str:
        return digest_of(context.load(ref))

    @tool("t", "draw", registry=known)
    def draw(number: float) -> float:
        return number

    @tool("t", "poison", registry=known)
    def poison(number: int) -> int:
        return number

    @tool("t", "secret", registry=known)
    def secret(text: str) -> int:
        return len(text)

    if code is not Code.TOOLLESS:

        @tool("t", "add", registry=known)
        def add(number: int) -> int:
            return number


def restart_tokens() -> None:
    """Let the tool ``token``, which returns another number each time, begin from 1 again."""
    _TOKENS[0] = count(1)
    begin_anew()
    ANSWERS.clear()


_TOKENS = [count(1)]


def _called(name: str) -> Callable[..., Any]:
    return lambda number: tool_call("t", name, {"number": number})


_STEPS: dict[str, Callable[..., Any]] = {
    **STEPS,
    "add": _called("add"),
    "undo": _called("undo"),
    "fail": _called("fail"),
    "stop": _called("broken"),
    "once": _called("once"),
    "poison": _called("poison"),
    "big": _called("big"),
    "use": lambda ref: tool_call("t", "use", {"ref": ref}),
    "load": lambda ref: ref.load(),
    "return": lambda number: tool_call("t", "fail", {"number": number}, errors="return"),
    "flaky": lambda number, failures: tool_call(
        "t", "flaky", {"number": number, "failures": failures}
    ),
    "secret": lambda text: tool_call("t", "secret", {"text": text}),
    "token": lambda: tool_call("t", "token"),
    "sleep": sleep,
    "save": save,
    "wait": lambda name: wait_for_signal(name, int),
    "wait_for": lambda name, limit: wait_for_signal(name, int, timeout=limit, default=None),
    "continue": continue_as_new,
    "child": lambda flow, program, run_id, on_cancel: run_child(
        flow, program, run_id=run_id, on_cancel=on_cancel
    ),
    "start": lambda flow, program, run_id: start_child(flow, program, run_id=run_id),
    # An input that comes out otherwise on replay is another step.
    "draw": lambda: tool_call("t", "draw", {"number": det.random()}),
}


def _step_of(op: Op, branch: Callable[[Program], Any] | None = None) -> Any:
    kind, *rest = op
    if branch is None or kind in _STEPS:
        return _STEPS[kind](*rest)
    if kind == "race":
        return race(*_branches(rest[0], branch))
    if kind == "map":
        return map_tool(_STEPS["add"], rest[0], max_concurrency=rest[1])
    return gather(*_branches(rest[0], branch), errors=rest[1], max_concurrency=rest[2])


def is_bare(branch: Program | Op) -> bool:
    """Tell whether *branch* is an operation itself, and not a program."""
    return isinstance(branch[0], str)


def _branches(given: list[Program | Op], branch: Callable[[Program], Any]) -> list[Any]:
    return [_step_of(each) if is_bare(each) else branch(each) for each in given]


def _shown(value: Any) -> Any:
    if isinstance(value, ToolError):
        return [value.type, value.attempts]
    if isinstance(value, ChildFailed):
        return [value.type, 1]
    if isinstance(value, ChildCancelled):
        return [RunCancelled.__name__, 1]
    return [_shown(each) for each in value] if isinstance(value, (tuple, list)) else value


def _without_step(op: Op) -> list[Any]:
    if op[0] == "det":
        return [det.random()]
    return op[1:]


def _generator(program: Program, code: Code) -> Generator[Any, Any, list[Any]]:
    got: list[Any] = []
    branch = partial(_generator, code=code)
    try:
        for op in turned(program, partial(_goes_new_way, code=code)):
            if op[0] in STEPLESS:
                got += _without_step(op)
                continue
            try:
                got.append(_shown((yield _step_of(filled(op, got), branch))))
            except (ToolError, ChildFailed, ChildCancelled) as error:
                if op[0] == "stop":
                    raise
                got.append(_shown(error))
    except RunCancelled:
        yield _step_of(["undo", len(got)])
        raise
    return got


async def _coroutine(program: Program, code: Code) -> list[Any]:
    got: list[Any] = []
    branch = partial(_coroutine, code=code)
    try:
        for op in turned(program, partial(_goes_new_way, code=code)):
            if op[0] in STEPLESS:
                got += _without_step(op)
                continue
            try:
                got.append(_shown(await _step_of(filled(op, got), branch)))
            except (ToolError, ChildFailed, ChildCancelled) as error:
                if op[0] == "stop":
                    raise
                got.append(_shown(error))
    except RunCancelled:
        await _step_of(["undo", len(got)])
        raise
    return got


def _goes_new_way(patch: str, code: Code) -> bool:
    if code is Code.PATCHED:
        return noted(patch, new=patched(patch))
    if code is not Code.AFTER:
        return False
    try:
        deprecate_patch(patch)
    except RuntimeError:
        noted(patch, new=False)
        raise
    return noted(patch, new=True)


def _add_generator(known: Registry, name: str, code: Code) -> None:
    @flow(name=name, registry=known)
    def generator(input: Program) -> Steps[Any]:
        more = code is Code.CHANGED
        got = yield from _generator([EXTRA, *input] if more else input, code)
        return returned(input, got[1:] if more else got)


def _add_coroutine(known: Registry, name: str, code: Code) -> None:
    @flow(name=name, registry=known)
    async def coroutine(input: Program) -> Any:
        more = code is Code.CHANGED
        got = await _coroutine([EXTRA, *input] if more else input, code)
        return returned(input, got[1:] if more else got)
