"""Ten thousand resumes through a hostile queue, to a worker and a Lambda function at once.

All of it in one thread and on virtual time, so that a seed is a whole story: while one of the two
carries a run on, the other one gets messages between its commits. The code that sends, receives,
answers and sweeps is the production code.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sequential import Registry, Sequential, Steps, ToolContext, flow, tool
from sequential._memory import MemoryStorage
from sequential.outcomes import Completed
from sequential.storage import Run, Stale, Status, StepRecord
from sequential.testing import FakeClock
from sequential_sqs.aws_lambda import lambda_handler
from sequential_sqs.consumer import Consumer
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import SqsSettings
from tests.sqs.event_source import EventSource
from tests.sqs.hostile_queue import HALF_A_MONTH, MALFORMED, HostileQueue

RUNS, STEPS = 400, 10
SETTINGS = SqsSettings("flows", dead="late")
SWEEP = 30.0


class Interrupted(MemoryStorage):
    """A storage between whose commits something else happens."""

    meanwhile: Callable[[], None]

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        self.meanwhile()
        answer = super().commit(run, expect, steps)
        self.meanwhile()
        return answer


class Campaign:
    """Runs, a queue that is hostile to them, and two who listen to it."""

    def __init__(self, seed: int, runs: int) -> None:
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.queue = HostileQueue(self.clock, self.chance)
        self.storage = Interrupted(self.clock)
        self.storage.meanwhile = self.meanwhile
        self.calls: Counter[tuple[str, int]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.nested = False
        self.worker, self.function = self.opened(), self.opened()
        self.consumer = Consumer(self.queue, SETTINGS, self.clock, self.handle)
        handler = lambda_handler(self.function)
        self.source = EventSource(self.queue, handler, size=10, seconds=60)
        self.runs = [f"r{number}" for number in range(runs)]

    def opened(self) -> Sequential:
        """Open an application of its own, as another process has it."""
        registry = Registry()

        @tool("shop", "add", registry=registry)
        def add(context: ToolContext, number: int) -> int:
            self.calls[context.run_id, number] += 1
            return number

        @flow(name="count", registry=registry)
        def count() -> Steps[int]:
            total = 0
            for number in range(STEPS):
                total += yield from add(number=number)
            return total

        transport = SqsTransport(SETTINGS, self.clock, self.queue)
        app = Sequential(
            self.storage, transport, "every-step", [], registry=registry, clock=self.clock
        )
        resume = app.resume

        def counted(run_id: str, *, seconds: float | None = None) -> Any:
            outcome = resume(run_id, seconds=seconds)
            self.outcomes[type(outcome).__name__] += 1
            return outcome

        app.resume = counted  # type: ignore[method-assign]
        return app

    # -- who listens

    def handle(self, run_id: str) -> Any:
        return self.worker.resume(run_id)

    def deliver_to_worker(self) -> None:
        for received in self.queue.receive(1):
            self.consumer.take(received, threading.Event())

    def deliver(self) -> None:
        if self.chance.random() < 0.3:
            self.source.invoke()
        else:
            self.deliver_to_worker()

    def meanwhile(self) -> None:
        """Between two requests of one, the other gets a message."""
        if self.nested or self.chance.random() < 0.6:
            return
        self.nested = True
        try:
            self.deliver()
        finally:
            self.nested = False

    # -- the story

    def play(self) -> None:
        """Carry all runs to their end, with a sweep now and then."""
        for run_id in self.runs:
            self.worker.start("count", run_id=run_id)
        swept = self.clock.monotonic()
        while not self.over():
            if self.clock.monotonic() - swept >= SWEEP:
                swept = self.clock.monotonic()
                self.chance.choice([self.worker.sweep, self.source.sweep])()
            if self.queue.look():
                self.deliver()
            else:
                self.clock.advance(1)

    def over(self) -> bool:
        return len(self.calls) == len(self.runs) * STEPS and not self.open()

    def open(self) -> Sequence[Run]:
        return self.worker.find(status=[Status.PAUSED, Status.RUNNING]).runs

    def be_late(self) -> None:
        """Deliver what is left, half a month after the runs have ended and longer."""
        self.clock.advance(HALF_A_MONTH)
        while (moment := self.queue.next_moment()) is not None:
            self.clock.advance(max(0.0, moment - self.clock.now()))
            self.deliver()


@pytest.mark.parametrize("seed", [1, 2])
def test_every_run_completes_whatever_the_queue_does(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    campaign = Campaign(seed, RUNS)
    campaign.play()
    app, queue = campaign.worker, campaign.queue
    for run_id in campaign.runs:
        assert app.outcome(app.get(run_id)) == Completed(run_id, sum(range(STEPS)))
        assert [step.number for step in app.steps(run_id)] == list(range(STEPS))
        assert len({step.op_id for step in app.steps(run_id)}) == STEPS
    # Nobody died and no lease ended, so that nothing had to be done a second time.
    assert set(campaign.calls.values()) == {1}
    assert len(campaign.calls) == RUNS * STEPS

    calls = campaign.calls.copy()
    campaign.be_late()
    assert campaign.calls == calls
    assert not campaign.open()
    assert not queue.messages
    assert {app.get(run_id).status for run_id in campaign.runs} <= {Status.COMPLETED, Status.PURGED}

    # And it was as hostile as it should be.
    assert campaign.outcomes.total() >= 10_000
    assert campaign.outcomes["Busy"] > 50
    assert 0.45 < queue.lost / (queue.lost + queue.kept) < 0.55
    assert 0.09 < queue.strangers / queue.delivered_ones < 0.15
    assert len(queue.set_aside_ones) == queue.strangers
    assert {body for body, _ in queue.set_aside_ones} == set(MALFORMED)
