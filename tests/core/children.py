"""A fleet in one thread for tests of child runs: whatever is due is carried on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sequential import Registry, RunCancelled, Steps, flow, sleep, tool
from sequential._model import OPEN_STATUSES, At, Run
from sequential._requests import Request
from sequential._storage import Query
from sequential.errors import StorageError
from sequential.testing._faulty import FaultyStorage
from sequential.testing._stage import Stage as Processes
from tests.fix_stage import Stage

MOST = 2_000
"""Invocations after which a fleet is taken for one that gets nowhere."""


class Fleet:
    """One deployment and the process that carries all its runs on.

    Attributes:
        requests: How many requests were answered so far.
        doom: After which of them the process is lost; *next_doom* says after which the next is.
        losses: How often one was.
        seen: Told each request before it is answered.
    """

    def __init__(self, stage: Stage) -> None:
        self.clock = stage.clock
        storage = stage.storage
        # What goes wrong does so for the process, not for who looks on.
        inner = storage.inner if isinstance(storage, FaultyStorage) else storage
        self.stage = Processes(stage.registry, inner, stage.clock)
        self.process = self.stage.process(storage)
        self.requests = 0
        self.doom: int | None = None
        self.losses = 0
        self.next_doom: Callable[[], int | None] = lambda: None
        self.seen: Callable[[Request], object] = lambda _: None

    def run(self, run_id: str = "r") -> Run:
        """Return the stored record."""
        return self.stage.run(run_id)

    def children(self, run_id: str = "r") -> list[Run]:
        """Return the children of the run, in the order of their ids."""
        found = self.stage.storage.find(Query(parent=run_id, limit=1000)).runs
        return sorted(found, key=lambda run: run.run_id)

    def carry(self, *, patient: bool = True) -> None:
        """Carry on whatever is due until nothing is, and, if *patient*, will be for an hour."""
        for _ in range(MOST):
            due = self.stage.storage.due(1000, None, 0.0)
            open_ = [run_id for run_id in due if self.is_to_do(run_id)]
            if open_:
                for run_id in open_:
                    self.invoke(run_id)
            elif not patient or not self.sleep():
                return
        raise AssertionError(f"the fleet gets nowhere: {self.run()}")

    def is_to_do(self, run_id: str) -> bool:
        """Tell whether there is more to do at the run than to purge it."""
        run = self.run(run_id)
        return run.status in OPEN_STATUSES or run.notice

    def sleep(self) -> bool:
        """Let time pass until something is due; tell whether anything will be within an hour."""
        runs = self.stage.storage.find(Query(limit=1000)).runs
        wakes = [run.wake.time for run in runs if isinstance(run.wake, At)]
        waits = [wake - self.clock.now() for wake in wakes]
        soon = [wait for wait in waits if 0 < wait < 3600]
        if soon:
            self.clock.advance(min(soon))
        return bool(soon)

    def invoke(self, run_id: str) -> None:
        """Make one invocation, which may be the last of its process."""
        invocation = self.process.invoke(run_id)
        while invocation.advance():
            if invocation.request is not None:
                self.seen(invocation.request)
            self.requests += 1
            if self.requests == self.doom:
                self.doom = self.next_doom()
                self.losses += 1
                invocation.crash()
                self.process.forget()
                self.process = self.stage.process()
                return
        # A worker goes on when a storage fails it, and looks at the run again.
        if not isinstance(invocation.error, StorageError | None):
            raise invocation.error


@dataclass
class Invoice:
    """What a child returns."""

    number: int
    lines: list[str]


class Shop:
    """Flows and tools of the tests, and how often each tool was called."""

    def __init__(self, registry: Registry) -> None:
        self.calls: Counter[str] = Counter()
        self.broken = False

        @tool("t", "work", registry=registry)
        def work(number: int) -> int:
            self.calls[f"work {number}"] += 1
            if self.broken:
                raise ConnectionError("no answer")
            return number * number

        @tool("t", "undo", registry=registry)
        def undo(number: int) -> None:
            self.calls[f"undo {number}"] += 1

        @flow(name="square", registry=registry)
        async def square(number: int) -> int:
            return await work(number)

        @flow(name="slow", registry=registry)
        async def slow(number: int) -> int:
            try:
                await sleep(600)
                return await work(number)
            except RunCancelled:
                await undo(number)
                raise

        @flow(name="invoice", registry=registry)
        def invoice(number: int) -> Steps[Invoice]:
            yield from work(number)
            return Invoice(number, ["a", "b"])

        self.work, self.undo = work, undo
        self.square, self.slow, self.invoice = square, slow, invoice
