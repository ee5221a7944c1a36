"""The flows and tools of the acceptance tests.

Each execution of a tool makes up a token, says in the effects log that it starts and when its
effect is done, and returns the token. Each flow returns its number and what its steps gave, in
order, so that a checker can tell a run's result from its records alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    Steps,
    ToolContext,
    ToolError,
    flow,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential._events import InvocationFinished
from sequential._outcomes import Lost
from sequential.hookspecs import hookimpl
from tests.acceptance.effects import Effects, Line
from tests.acceptance.failpoints import reach

REGISTRY = Registry()
FLOWS = ("chain", "weave", "rest", "insist", "ask")
TOKEN = 32
"""Characters of a token."""
FAILED = "failed"
"""What a flow notes for a step that failed."""

Result = dict[str, Any]

_soon = RetryPolicy(max_attempts=3, first=0.01, longest=0.02)
_random = random.SystemRandom()  # the same in no two forks
_log: list[Effects] = []
_made: set[str] = set()
"""Tokens that this process made: a flow that is given another one replays."""


def write_to(log: Effects) -> None:
    """Make the tools of this process write to *log*."""
    _log[:] = [log]


def _say(kind: str, token: str, context: ToolContext, name: str) -> None:
    who, call = os.getpid(), (context.attempt, context.epoch, context.fence)
    place = (context.run_id, context.generation, context.position, f"kill.{name}")
    _log[0].write(Line(kind, who, token, *place, *call, context.idempotency_key))


def _begin(context: ToolContext, name: str) -> str:
    token = os.urandom(TOKEN // 2).hex()
    _made.add(token)
    _say("start", token, context, name)
    return token


def _passed(token: str) -> str:
    """Return *token*, which a flow has just been given."""
    if token not in _made:
        reach("flow.replay")
    return token


def _while() -> float:
    return _random.uniform(0.001, 0.012)


def _work(context: ToolContext, name: str) -> str:
    token = _begin(context, name)
    point = "once" if name == "once" else "tool"
    time.sleep(_while())
    reach(f"{point}.before-effect", context.run_id)
    _say("effect", token, context, name)
    reach(f"{point}.after-effect", context.run_id)
    time.sleep(_while() / 3)
    return token


@tool("kill", "work", registry=REGISTRY)
def work(context: ToolContext, number: int) -> str:
    """Do something on the invocation's own thread."""
    return _work(context, "work")


@tool("kill", "timed", timeout=20, registry=REGISTRY)
def timed(context: ToolContext, number: int) -> str:
    """Do something on a thread of its own."""
    return _work(context, "timed")


@tool("kill", "tended", registry=REGISTRY)
async def tended(context: ToolContext, number: int) -> str:
    """Do something on the loop."""
    token = _begin(context, "tended")
    await asyncio.sleep(_while())
    _say("effect", token, context, "tended")
    return token


@tool("kill", "slow", registry=REGISTRY)
def slow(context: ToolContext) -> str:
    """Take longer than a third of the lease, so that it is renewed."""
    token = _begin(context, "slow")
    time.sleep(0.45)
    _say("effect", token, context, "slow")
    return token


@tool("kill", "bulky", registry=REGISTRY)
def bulky(context: ToolContext, number: int) -> str:
    """Return more than stands in a record."""
    return _work(context, "bulky") + "." * 70_000


@tool("kill", "flaky", retry=_soon, registry=REGISTRY)
def flaky(context: ToolContext) -> str:
    """Fail at the first attempt, leaving open whether it acted."""
    if context.attempt == 1:
        _say("fail", _begin(context, "flaky"), context, "flaky")
        raise ConnectionError("the first attempt fails")
    return _work(context, "flaky")


@tool("kill", "picky", retry=_soon, registry=REGISTRY)
def picky(context: ToolContext) -> str:
    """Reject the first attempt: the next one is a new request."""
    if context.attempt == 1:
        _say("fail", _begin(context, "picky"), context, "picky")
        raise Rejected("the first attempt is rejected")
    return _work(context, "picky")


@tool("kill", "broken", registry=REGISTRY)
def broken(context: ToolContext) -> str:
    """Fail always."""
    _say("fail", _begin(context, "broken"), context, "broken")
    raise ValueError("always")


@tool("kill", "once", mode="at-most-once", registry=REGISTRY)
def once(context: ToolContext) -> str:
    """Never run a second time, even if nobody knows what became of the first."""
    return _work(context, "once") + "!"  # tells its result from others without its name


@tool("kill", "poison", registry=REGISTRY)
def poison(context: ToolContext) -> str:
    """Kill the process, every time."""
    _begin(context, "poison")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@tool("kill", "gated", registry=REGISTRY)
def gated(context: ToolContext, gate: str) -> str:
    """Work until the file *gate* is there."""
    token = _begin(context, "gated")
    until = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < until:
        time.sleep(0.01)
    _say("effect", token, context, "gated")
    return token


@flow(name="chain", registry=REGISTRY)
def chain(number: int) -> Steps[Result]:
    """Tool calls and nothing else."""
    reach("flow.begin")
    tokens = ""
    for each in range(5):
        tokens += f"{_passed((yield from work(each)))} "
    return {"number": number, "tokens": tokens.split()}


@flow(name="weave", registry=REGISTRY)
async def weave(number: int) -> Result:
    """Each way in which a tool is run."""
    reach("flow.begin")
    tokens = [_passed(await work(1)), _passed(await tended(2))]
    tokens += [_passed((await bulky(3))[:TOKEN]), await timed(4)]
    return {"number": number, "tokens": tokens}


@flow(name="rest", registry=REGISTRY)
def rest(number: int) -> Steps[Result]:
    """Sleeps and save points between tool calls."""
    tokens = [(yield from work(1))]
    yield from sleep(0.05)
    tokens.append((yield from tended(2)))
    yield from save()
    tokens.append((yield from work(3)))
    yield from sleep(0.01)
    return {"number": number, "tokens": tokens}


@flow(name="insist", registry=REGISTRY)
async def insist(number: int) -> Result:
    """Retries, failures that are caught, and a call that is made at most once."""
    tokens = [await flaky(), await picky()]
    try:
        await broken()
    except ToolError:
        tokens.append(FAILED)
    try:
        tokens.append((await once())[:TOKEN])
    except ToolError:
        tokens.append(FAILED)
    tokens.append(await work(5))
    return {"number": number, "tokens": tokens}


@flow(name="ask", registry=REGISTRY)
def ask(number: int) -> Steps[Result]:
    """A signal between tool calls."""
    tokens = [(yield from work(1))]
    tokens.append((yield from wait_for_signal("go", str)))
    tokens.append((yield from work(2)))
    return {"number": number, "tokens": tokens}


@flow(name="slow", registry=REGISTRY)
def linger(number: int) -> Steps[Result]:
    """Two tool calls that need their leases renewed."""
    tokens = [(yield from slow())]
    tokens.append((yield from slow()))
    return {"number": number, "tokens": tokens}


@flow(name="gate", registry=REGISTRY)
def gate(number: int, path: str) -> Steps[Result]:
    """A tool call that ends when it is allowed to, and one after it."""
    tokens = [(yield from gated(path))]
    tokens.append((yield from work(2)))
    return {"number": number, "tokens": tokens}


@flow(name="doomed", registry=REGISTRY)
def doomed(number: int) -> Steps[str]:
    """A tool call that goes well, and one that no process survives."""
    yield from work(number)
    return (yield from poison())


@flow(name="fall", registry=REGISTRY)
def fall(number: int) -> Steps[Result]:
    """Fail after a step."""
    yield from work(number)
    raise ValueError(f"{number} is not enough")


class Losses:
    """The observer that writes down which invocations found their claim lost."""

    @hookimpl
    def sequential_observe(self, event: object) -> None:
        """Write one line for an invocation that was overtaken."""
        if isinstance(event, InvocationFinished) and isinstance(event.outcome, Lost):
            _log[0].write(Line("lost", os.getpid(), "-", event.run.run_id))
