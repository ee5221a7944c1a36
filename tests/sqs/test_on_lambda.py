"""The example of the documentation on the real runtime client, with servers for queue and bucket.

What AWS does between queue and function is done here: receive, call, delete what was not reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sequential import Registry, Sequential, flow
from sequential.outcomes import Completed
from sequential.storage import Status
from sequential_sqs.transport import SqsTransport
from tests.fix_s3 import new_url as new_bucket
from tests.fix_sqs import new_url
from tests.sqs.event_source import SCHEDULE, event, failures
from tests.sqs.runtime_api import Function, FunctionDied, FunctionFailed

EXAMPLE = Path(__file__).parents[2] / "docs/examples/lambda"
PATIENCE = 60.0
ITEMS = ["pear", "fig", "plum", "quince", "medlar"]
RESULT = f"shipped: {'; '.join(f'{item}, packed' for item in ITEMS)}"


def known() -> Registry:
    """Return what those who start runs have: the name of the flow, and what goes in and out."""
    registry = Registry()

    @flow(name="send", registry=registry)
    async def send(items: list[str]) -> str:
        raise AssertionError(f"{items} are sent on Lambda only")

    return registry


class Deployed:
    """The example with its queue and bucket; *visibility* seconds of a message are short here."""

    def __init__(self, endpoint: str) -> None:
        self.storage = new_bucket(endpoint)
        self.transport = new_url(endpoint, visibility="2s")
        self.app = Sequential(self.storage, self.transport, registry=known())
        self.function = Function(
            EXAMPLE,
            "app.handler",
            {
                "SEQUENTIAL_STORAGE": self.storage,
                "SEQUENTIAL_TRANSPORT": self.transport,
                "SEQUENTIAL_PAUSE": "when-waiting",
                "SEQUENTIAL_PLUGINS": "s3,sqs",
                "SEQUENTIAL_LEASE": "2s",
            },
        )
        self.deaths = 0

    @property
    def queue(self) -> SqsTransport:
        assert isinstance(self.app.transport, SqsTransport)
        return self.app.transport

    def start(self, run_id: str) -> None:
        """Start a run from elsewhere."""
        self.app.start("send", {"items": ITEMS}, run_id=run_id)

    def deliver(self) -> bool:
        """Do what an event source does, once; return whether there was a message."""
        batch = self.queue.queue.receive(10)
        if not batch:
            return False
        try:
            kept = failures(self.function.invoke(event(batch)))
        except FunctionDied:
            self.deaths += 1
            return True  # all of the batch come again when their visibility ends
        for received in batch:
            if received.message_id not in kept:
                self.queue.queue.delete(received.receipt)
        return True

    def deliver_until_ended(self, *run_ids: str) -> None:
        end = time.monotonic() + PATIENCE
        while any(self.app.get(run_id).status is not Status.COMPLETED for run_id in run_ids):
            assert time.monotonic() < end, self.function.log
            self.deliver()


@pytest.fixture
def deployed(ministack: str) -> Iterator[Deployed]:
    deployed = Deployed(ministack)
    with deployed.function:
        yield deployed
    deployed.app.close()


def test_the_example_runs_to_its_end_in_one_invocation(deployed: Deployed) -> None:
    deployed.start("p1")
    assert deployed.deliver()
    assert deployed.app.outcome(deployed.app.get("p1")) == Completed("p1", RESULT)
    assert not deployed.deliver()
    assert deployed.function.started == 1


def test_a_function_that_is_killed_in_the_middle_is_carried_on_by_the_next(
    deployed: Deployed,
) -> None:
    deployed.start("p1")
    killed = threading.Event()

    def kill_in_the_middle() -> None:
        end = time.monotonic() + PATIENCE
        while deployed.app.get("p1").cursor < 2 and time.monotonic() < end:
            time.sleep(0.02)
        deployed.function.kill()
        killed.set()

    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    assert deployed.deliver()
    assert killed.wait(PATIENCE)
    assert deployed.deaths == 1
    left = deployed.app.get("p1")
    assert (left.status, 2 <= left.cursor < len(ITEMS)) == (Status.RUNNING, True)
    deployed.deliver_until_ended("p1")
    assert deployed.app.outcome(deployed.app.get("p1")) == Completed("p1", RESULT)
    assert len(deployed.app.steps("p1")) == len(ITEMS) + 1
    assert deployed.function.started == 2
    deployed.function.kill()
    packed = deployed.function.log.count(b"packing ")
    # What was recorded is not done again; the step that was killed may be.
    assert len(ITEMS) <= packed <= len(ITEMS) + 1


def test_a_schedule_finds_what_no_message_speaks_of(deployed: Deployed) -> None:
    deployed.start("p1")
    for received in deployed.queue.queue.receive(10):
        deployed.queue.queue.delete(received.receipt)
    assert deployed.function.invoke(SCHEDULE) == {"sent": 1}
    deployed.deliver_until_ended("p1")


def test_an_event_of_others_is_an_error_of_the_function(deployed: Deployed) -> None:
    with pytest.raises(FunctionFailed, match="look at what invokes the function"):
        deployed.function.invoke({"Records": [{"eventSource": "aws:s3"}]})
    assert deployed.function.invoke(SCHEDULE) == {"sent": 0}
    assert deployed.function.started == 1


def test_before_the_deadline_the_run_is_let_go_and_its_message_is_out(ministack: str) -> None:
    deployed = Deployed(ministack)
    with deployed.function:
        deployed.function.invoke(SCHEDULE)  # the time of a cold start is no function's
        deployed.function.timeout = 5.6  # the margin is five of these
        deployed.start("p1")
        invoked = 0
        while deployed.app.get("p1").status is not Status.COMPLETED:
            assert deployed.deliver()
            invoked += 1
        assert deployed.app.outcome(deployed.app.get("p1")) == Completed("p1", RESULT)
        assert invoked > 1
        assert (deployed.deaths, deployed.function.started) == (0, 1)
    deployed.app.close()
