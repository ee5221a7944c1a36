"""The worker in one process: which runs it takes, on how many threads, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest

from sequential import Outcome, Registry, Sequential, Steps, flow, tool
from sequential import sleep as durable_sleep
from sequential._memory import MemoryStorage
from sequential._model import Status
from sequential._outcomes import Busy, Completed
from sequential._polling import PollingTransport
from sequential._protocol import Terms
from sequential._transport import Handle, ResumeMessage
from sequential._worker import InFlight, Worker
from sequential.errors import StorageUnavailable

PATIENCE = 20.0
"""Seconds after which a test that waits for another thread has failed."""

NEVER = 3600.0
"""Seconds between polls in tests that must not depend on one."""


@contextmanager
def working(worker: Worker) -> Iterator[threading.Thread]:
    """Let *worker* run on a thread of its own meanwhile; it must end when told to."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def happened(event: threading.Event) -> bool:
    return event.wait(PATIENCE)


class Tools:
    """A registry with a counting flow, and a flow whose tool waits for the test."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.calls: Counter[str] = Counter()

        @tool("test", "add", registry=self.registry)
        def add(number: int) -> int:
            return number + 1

        @tool("test", "held", registry=self.registry)
        def held(run: str) -> str:
            self.calls[run] += 1
            self.entered.set()
            assert happened(self.leave)
            return run

        @flow(name="count", registry=self.registry)
        def count(number: int) -> Steps[int]:
            for _ in range(5):
                number = yield from add(number)
            return number

        @flow(name="hold", registry=self.registry)
        def hold(run: str) -> Steps[int]:
            yield from held(run)
            return (yield from add(1))

        @flow(name="nap", registry=self.registry)
        def nap() -> Steps[str]:
            yield from durable_sleep(timedelta(milliseconds=20))
            return "rested"

        @flow(name="leap", registry=self.registry)
        def leap() -> Steps[int]:
            yield from add(1)
            raise SystemExit("out")


@pytest.fixture
def tools() -> Iterator[Tools]:
    made = Tools()
    yield made
    made.leave.set()


class Asked(MemoryStorage):
    """Remembers what `due` was asked, and is down as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.asked: list[tuple[int, Collection[str] | None, float]] = []

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        self.asked.append((limit, flows, hold))
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("test", "down")
        return super().due(limit, flows, hold)


def make(tools: Tools, pause: str = "budget", every: float = 0.01, **more: object) -> Sequential:
    storage = more.pop("storage", None) or MemoryStorage()
    return Sequential(
        storage,  # type: ignore[arg-type]
        PollingTransport(every),
        pause,
        [],
        registry=tools.registry,
        **more,  # type: ignore[arg-type]
    )


# -- taking runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("pause", ["budget", "every-step", "when-waiting"])
def test_every_run_is_carried_to_its_end(tools: Tools, pause: str) -> None:
    app = make(tools, pause)
    ids = [app.start("count", {"number": n}) for n in range(10)]
    with working(Worker(app, 3)):
        outcomes = [app.wait(run_id, PATIENCE) for run_id in ids]
    assert outcomes == [Completed(run_id, n + 5) for n, run_id in enumerate(ids)]


def test_a_run_that_waits_is_found_by_a_later_look(tools: Tools) -> None:
    app = make(tools)
    run_id = app.start("nap")
    with working(Worker(app, 1)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, "rested")


def test_a_run_that_pauses_after_a_step_goes_on_without_another_poll(tools: Tools) -> None:
    storage = Asked()
    app = make(tools, "every-step", NEVER, storage=storage)
    run_id = app.start("count", {"number": 0})
    worker = Worker(app, 1)
    with working(worker):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)
    # A slot that becomes free asks again as long as there was more to do; nothing else does.
    assert len(storage.asked) <= 3
    assert worker.executed >= 6


def test_a_run_started_by_this_process_does_not_wait_for_a_poll(tools: Tools) -> None:
    app = make(tools, every=NEVER)
    with working(Worker(app, 1)):
        first = app.start("count", {"number": 0})
        app.wait(first, PATIENCE)
        second = app.start("count", {"number": 1})
        assert app.wait(second, PATIENCE) == Completed(second, 6)


def test_a_slot_that_becomes_free_is_filled_at_once_while_more_is_due(tools: Tools) -> None:
    storage = MemoryStorage()
    elsewhere = make(tools, storage=storage)
    ids = [elsewhere.start("count", {"number": n}) for n in range(12)]
    app = make(tools, every=NEVER, storage=storage)
    with working(Worker(app, 2)):
        assert all(isinstance(app.wait(run_id, PATIENCE), Completed) for run_id in ids)


def test_a_busy_flow_does_not_keep_due_runs_of_others_waiting(tools: Tools) -> None:
    storage = MemoryStorage()
    app = make(tools, "every-step", storage=storage)

    @flow(name="endless", registry=tools.registry)
    def endless() -> Steps[None]:
        add = tools.registry.tools["test", "add"]
        while True:
            yield from add(1)

    app.start("endless")
    with working(Worker(app, 1)):
        elsewhere = make(tools, storage=storage)
        run_id = elsewhere.start("count", {"number": 0})
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)


def test_the_storage_is_asked_for_free_slots_and_known_flows_only(tools: Tools) -> None:
    storage = Asked()
    app = make(tools, storage=storage)
    app.start("hold", {"run": "a"})
    with working(Worker(app, 3)):
        assert happened(tools.entered)
        tools.leave.set()
    limits, flows, holds = zip(*storage.asked, strict=True)
    assert limits[0] == 3
    assert set(limits) <= {2, 3}
    assert set(flows[0] or ()) == {"count", "hold", "nap", "leap"}
    assert set(holds) == {30.0}


def test_a_run_handed_out_is_held_for_half_a_lease_at_most(tools: Tools) -> None:
    storage = Asked()
    app = make(tools, storage=storage, terms=Terms(lease=8.0))
    with working(Worker(app, 1)):
        app.wait(app.start("count", {"number": 0}), PATIENCE)
    assert {hold for _, _, hold in storage.asked} == {4.0}


def test_no_more_runs_are_under_way_than_the_concurrency_says(tools: Tools) -> None:
    app = make(tools, every=0.01)
    ids = [app.start("hold", {"run": str(n)}) for n in range(5)]
    looked = threading.Event()
    with working(Worker(app, 2)):
        assert happened(tools.entered)
        looked.wait(0.1)  # nothing can happen here, unless a third run is wrongly begun
        assert sum(tools.calls.values()) <= 2
        tools.leave.set()
        assert all(isinstance(app.wait(run_id, PATIENCE), Completed) for run_id in ids)


def test_a_concurrency_below_one_is_refused(tools: Tools) -> None:
    with pytest.raises(ValueError, match="concurrency of 0"):
        Worker(make(tools), 0)


# -- one run, one thread ---------------------------------------------------------------------


def test_a_run_under_way_is_not_taken_twice_and_is_looked_at_once_more() -> None:
    flying = InFlight()
    assert flying.enter("a")
    assert flying.enter("b")
    assert not flying.enter("a")
    assert not flying.enter("a")
    assert len(flying) == 2
    assert flying.leave("a")
    assert not flying.leave("b")
    assert flying.enter("a")
    assert not flying.leave("a")
    assert flying.executed == 3


def test_one_run_is_never_executed_on_two_threads_at_once(tools: Tools) -> None:
    app = make(tools, every=NEVER)
    run_id = app.start("hold", {"run": "a"})
    inside, worst = Counter[str](), 0
    resume, lock = app.resume, threading.Lock()

    def watched(run_id: str, *, seconds: float | None = None) -> Outcome:
        nonlocal worst
        with lock:
            inside[run_id] += 1
            worst = max(worst, inside[run_id])
        try:
            return resume(run_id, seconds=seconds)
        finally:
            with lock:
                inside[run_id] -= 1

    app.resume = watched  # type: ignore[method-assign]
    worker = Worker(app, 4)
    with working(worker):
        assert happened(tools.entered)
        for _ in range(50):
            app.transport.send([ResumeMessage(run_id)])
        marker = app.start("count", {"number": 0})
        app.wait(marker, PATIENCE)  # the 50 before it were heard
        tools.leave.set()
        app.wait(run_id, PATIENCE)
    assert worst == 1
    assert tools.calls["a"] == 1
    # The run, the marker, and one more look at the run; not 50.
    assert worker.executed <= 3


# -- trouble ---------------------------------------------------------------------------------


def test_a_run_that_breaks_its_invocation_is_logged_and_stops_no_other(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(tools)
    bad = app.start("leap")
    good = [app.start("count", {"number": n}) for n in range(5)]
    with caplog.at_level(logging.ERROR, "sequential"), working(Worker(app, 1)):
        assert all(isinstance(app.wait(run_id, PATIENCE), Completed) for run_id in good)
    assert any(bad in record.getMessage() for record in caplog.records)
    assert app.get(bad).status is Status.PAUSED


def test_a_storage_that_is_down_is_asked_again_with_growing_pauses(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Asked(failures=4)
    elsewhere = make(tools, storage=storage)
    run_id = elsewhere.start("count", {"number": 0})
    app = make(tools, storage=storage)
    with caplog.at_level(logging.WARNING, "sequential"), working(Worker(app, 1)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)
    pauses = [r.args[0] for r in caplog.records if isinstance(r.args, tuple) and "due" in r.msg]
    assert pauses == [0.02, 0.04, 0.08, 0.16]


# -- the end ---------------------------------------------------------------------------------


def test_a_worker_told_to_stop_lets_the_tool_end_and_parks_before_the_next_step(
    tools: Tools,
) -> None:
    app = make(tools)
    run_id = app.start("hold", {"run": "a"})
    worker = Worker(app, 1)
    with working(worker) as thread:
        assert happened(tools.entered)
        worker.stop()
        tools.leave.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    run = app.get(run_id)
    assert (run.status, run.cursor, run.stalls) == (Status.PAUSED, 1, 0)
    # The next one goes on, with the step that was saved.
    with working(Worker(app, 1)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 2)
    assert tools.calls["a"] == 1


def test_a_tool_that_does_not_end_is_left_to_its_lease_after_the_grace(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(tools)
    run_id = app.start("hold", {"run": "a"})
    worker = Worker(app, 1, grace=0.05)
    with caplog.at_level(logging.WARNING, "sequential"), working(worker) as thread:
        assert happened(tools.entered)
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert app.get(run_id).status is Status.RUNNING
    assert "left to their leases" in caplog.text


def test_a_worker_that_was_stopped_first_takes_nothing(tools: Tools) -> None:
    storage = Asked()
    app = make(tools, storage=storage)
    app.start("count", {"number": 0})
    worker = Worker(app)
    worker.stop()
    worker.run()
    assert worker.executed == 0
    assert not storage.asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_worker_and_the_handlers_are_restored(
    tools: Tools, number: signal.Signals
) -> None:
    assert threading.current_thread() is threading.main_thread()
    app = make(tools)
    before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    run_id = app.start("hold", {"run": "a"})

    def tell() -> None:
        assert happened(tools.entered)
        os.kill(os.getpid(), number)
        tools.leave.set()

    teller = threading.Thread(target=tell)
    teller.start()
    Worker(app, 1).run()
    teller.join(PATIENCE)
    # The step was saved; whether the next one ran too depends on which thread came first.
    assert app.get(run_id).status in {Status.PAUSED, Status.COMPLETED}
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == before
    assert not app.driver.stopping()


def test_a_second_signal_ends_the_drain(tools: Tools) -> None:
    app = make(tools)
    app.start("hold", {"run": "a"})
    worker = Worker(app, 1, grace=NEVER)

    def tell() -> None:
        assert happened(tools.entered)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        # Two of one signal may arrive as one; of two kinds both arrive.
        os.kill(os.getpid(), signal.SIGINT)

    teller = threading.Thread(target=tell)
    teller.start()
    worker.run()
    teller.join(PATIENCE)
    assert app.driver.stopping() is False


def test_another_thread_than_the_main_one_leaves_the_signals_alone(tools: Tools) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with working(Worker(make(tools))):
        assert signal.getsignal(signal.SIGTERM) is before


# -- a transport with messages ---------------------------------------------------------------


class Wire:
    """A transport that carries: a list, and a listener that breaks as often as it is told."""

    carries = True
    longest_delay = 0.0

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.listened = 0
        self.answers: list[Outcome] = []
        self._more = threading.Condition()
        self._sent: list[str] = []

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        with self._more:
            self._sent += [message.run_id for message in messages]
            self._more.notify()

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        self.listened += 1
        if self.failures:
            self.failures -= 1
            raise OSError("the wire broke")
        while not stop.is_set():
            run_id = self._take()
            if run_id is not None:
                self.answers.append(handle(run_id))

    def _take(self) -> str | None:
        with self._more:
            self._more.wait_for(lambda: bool(self._sent), 0.05)
            return self._sent.pop(0) if self._sent else None

    def close(self) -> None:
        pass


def wired(tools: Tools, wire: Wire, storage: MemoryStorage | None = None) -> Sequential:
    return Sequential(storage or MemoryStorage(), wire, plugins=[], registry=tools.registry)


def test_messages_of_a_transport_that_carries_are_executed(tools: Tools) -> None:
    wire = Wire()
    app = wired(tools, wire)
    run_id = app.start("count", {"number": 0})
    with working(Worker(app, sweep_every=NEVER)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)
    # Twice, if the first sweep saw it too.
    assert [each for each in wire.answers if each != Completed(run_id, 5)] == []
    assert wire.answers


def test_what_a_transport_lost_is_found_by_the_sweep(tools: Tools) -> None:
    storage = MemoryStorage()
    run_id = wired(tools, Wire(), storage).start("count", {"number": 0})
    app = wired(tools, Wire(), storage)
    with working(Worker(app, sweep_every=0.02)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)


def test_a_listener_that_breaks_is_started_again(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(failures=1)
    app = wired(tools, wire)
    run_id = app.start("count", {"number": 0})
    with working(Worker(app)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)
    assert wire.listened == 2
    assert "stopped listening" in caplog.text


def test_a_sweep_that_fails_does_not_stop_the_worker(
    tools: Tools, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Asked(failures=2)
    run_id = wired(tools, Wire(), storage).start("count", {"number": 0})
    app = wired(tools, Wire(), storage)
    with working(Worker(app, sweep_every=0.01)):
        assert app.wait(run_id, PATIENCE) == Completed(run_id, 5)
    assert "the sweep failed" in caplog.text


class Crowd(Wire):
    """Hands every message over on a thread of its own, at once."""

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        threads = []
        while not stop.is_set():
            run_id = self._take()
            if run_id is not None:
                thread = threading.Thread(target=self._answer, args=(handle, run_id))
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join()

    def _answer(self, handle: Callable[[str], Outcome], run_id: str) -> None:
        self.answers.append(handle(run_id))


def test_a_message_about_a_run_under_way_is_answered_busy_and_looked_at_afterwards(
    tools: Tools,
) -> None:
    wire = Crowd()
    app = wired(tools, wire)
    run_id = app.start("hold", {"run": "a"})
    worker = Worker(app, 4, sweep_every=NEVER)
    with working(worker):
        assert happened(tools.entered)
        wire.send([ResumeMessage(run_id)])
        marker = app.start("count", {"number": 0})
        app.wait(marker, PATIENCE)
        tools.leave.set()
        app.wait(run_id, PATIENCE)
    assert Busy(run_id, None) in wire.answers
    assert Completed(run_id, 2) in wire.answers
    assert tools.calls["a"] == 1
