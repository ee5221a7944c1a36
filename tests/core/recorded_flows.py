"""Flows of both styles, and how the histories under ``histories/`` were recorded with them.

Every release adds a folder; none is ever written anew. A flow here may only change as a user's flow
may under open runs. To record those of a new version: ``python -m tests.core.recorded_flows``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

from sequential import (
    Registry,
    Rejected,
    RetryPolicy,
    RunCancelled,
    Sequential,
    Steps,
    ToolError,
    continue_as_new,
    det,
    flow,
    save,
    sleep,
    tool,
    wait_for_signal,
)
from sequential.testing import FakeClock
from sequential.testing._play import KeptMemory

FOLDER = Path(__file__).parent / "histories"
REGISTRY = Registry()


@dataclass(frozen=True)
class Price:
    amount: Decimal
    until: date


@tool("shop", "price", registry=REGISTRY)
def price(item: str) -> Price:
    return Price(Decimal("1.10") * len(item), date(2026, 3, 1))


@tool("shop", "odd", registry=REGISTRY)
def odd(values: Any) -> Any:
    return values


@tool("shop", "large", registry=REGISTRY)
def large(size: int) -> str:
    return "ü" * size


@tool("shop", "length", registry=REGISTRY)
def length(text: str) -> int:
    return len(text)


@tool("shop", "refuse", registry=REGISTRY)
def refuse(reason: str) -> None:
    raise Rejected(reason, data={"code": 7}, retryable=False)


PATIENT = RetryPolicy(max_attempts=3, first=3_600, jitter=False)


@tool("shop", "slow", registry=REGISTRY, retry=PATIENT)
def slow() -> str:
    raise TimeoutError("too slow")


@tool("shop", "traced", registry=REGISTRY, ignore=("trace",))
def traced(item: str, trace: str) -> str:
    return item


VALUES = {
    "tuple": (1, 2.5, None, True),
    "set": {3, 1, 2},
    "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "took": timedelta(days=1, seconds=2),
    "id": UUID(int=7),
    "bytes": b"\x00\xff",
    "$": "a key of ours",
    "big": 2**70,
    "text": "Grüße \u2028 \U0001f40d",
}


@flow(registry=REGISTRY)
async def order(item: str, count: int = 1) -> dict[str, Any]:
    found = await price(item)
    key = det.uuid4()
    await odd({"key": str(key), "at": det.now(), "draw": det.random()})
    answer = await wait_for_signal("paid", bool, timeout=timedelta(days=3), default=False)
    await save()
    await sleep(timedelta(hours=1))
    values = await odd(VALUES)
    assert values == VALUES
    return {"total": found.amount * count, "until": found.until, "paid": answer}


@flow(registry=REGISTRY)
def order_by_yield(input: dict[str, Any]) -> Steps[Any]:
    found = yield {"__tool": ["shop", "price", {"item": input["item"]}]}
    refused = yield {"__tool": ["shop", "refuse", {"reason": "sold out"}]}
    assert refused == {"__error": "sold out"}
    yield {"__save": True}
    answer = yield wait_for_signal("paid", bool)
    yield traced("pear", trace=str(det.uuid4()))
    return [str(found.amount), answer]


@flow(registry=REGISTRY)
async def failing(reason: str) -> None:
    try:
        await refuse("first")
    except ToolError as error:
        if (error.type, error.data) != ("Rejected", {"code": 7}):
            raise
    await refuse(reason)


@flow(registry=REGISTRY)
def heavy(size: int) -> Steps[int]:
    text = yield from large(size)
    return (yield from length(text))


@flow(registry=REGISTRY)
async def patient() -> str:
    return await slow()


@flow(registry=REGISTRY)
def cleaning() -> Steps[str]:
    try:
        yield sleep(3_600)
    except RunCancelled:
        yield from odd("clean up")
        raise
    return "rested"


@flow(registry=REGISTRY)
async def counting(left: int = 3) -> int:
    await odd([left, det.random()])
    if left:
        await continue_as_new({"left": left - 1})
    return left


Recording = Callable[[Sequential, FakeClock, str], None]


def started(name: str, given: object = None, *, executed: bool = True) -> Recording:
    def record(app: Sequential, clock: FakeClock, run_id: str) -> None:
        app.start(name, given, run_id=run_id)
        if executed:
            app.execute(run_id)

    return record


def paid(name: str, given: object) -> Recording:
    def record(app: Sequential, clock: FakeClock, run_id: str) -> None:
        started(name, given)(app, clock, run_id)
        while app.get(run_id).result is None:
            if "paid" in [found.name for found in app.get(run_id).open.values()]:
                app.signal(run_id, "paid", True)
            clock.advance(3_600)
            app.execute(run_id)

    return record


def stopped(name: str, *, hard: bool) -> Recording:
    def record(app: Sequential, clock: FakeClock, run_id: str) -> None:
        started(name)(app, clock, run_id)
        (app.terminate if hard else app.cancel)(run_id)
        app.execute(run_id)

    return record


def retried(app: Sequential, clock: FakeClock, run_id: str) -> None:
    started("failing", {"reason": "second"})(app, clock, run_id)
    app.retry(run_id)
    app.execute(run_id)


def forked(app: Sequential, clock: FakeClock, run_id: str) -> None:
    paid("order", {"item": "fig"})(app, clock, "source")
    app.fork("source", "2", edit=(False,), new_id=run_id)
    for _ in range(4):
        clock.advance(3_600)
        app.execute(run_id)


def counted(app: Sequential, clock: FakeClock, run_id: str) -> None:
    app.run("counting", run_id=run_id)


RECORDINGS: dict[str, Recording] = {
    "created": started("order", {"item": "pear"}, executed=False),
    "waiting-for-a-signal": started("order", {"item": "pear", "count": 3}),
    "completed": paid("order", {"item": "pear", "count": 3}),
    "completed-by-yield": paid("order_by_yield", {"item": "fig"}),
    "waiting-by-yield": started("order_by_yield", {"item": "fig"}),
    "failed": started("failing", {"reason": "for good"}),
    "failed-twice": retried,
    "large-values": started("heavy", {"size": 33_000}),
    "between-attempts": started("patient"),
    "sleeping": started("cleaning"),
    "cancelled": stopped("cleaning", hard=False),
    "terminated": stopped("cleaning", hard=True),
    "continued-as-new": counted,
    "forked": forked,
}


def record(name: str) -> str:
    """Record the history *name* with the code of today, and return its file's text."""
    clock = FakeClock()
    with Sequential(
        KeptMemory(clock), plugins=[], registry=REGISTRY, pause="when-waiting", clock=clock
    ) as app:
        RECORDINGS[name](app, clock, name)
        return app.export(name)


if __name__ == "__main__":
    own = FOLDER / version("sequential-core")
    own.mkdir()
    for each in RECORDINGS:
        (own / f"{each}.json").write_text(record(each), "utf-8")
