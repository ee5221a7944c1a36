"""Messages that are lost, repeated, reordered, late and damaged, at two servers at once.

The network is a bag of signed requests; the clock is virtual. Each round both servers take what
they draw, on a thread each, and then time passes.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from sequential import Registry, Sequential, Steps, flow, sleep, tool, wait_for_signal
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Completed
from sequential.storage import Status
from sequential.testing import FakeClock
from sequential_http.exchange import Call, Refusal
from sequential_http.messages import resume_body
from sequential_http.resume import Doorkeeper, Within
from sequential_http.signing import Keys, signed_headers
from tests.fix_http import KEY, OTHER_KEY

US = "https://flows.example"
KEYS, STRANGERS = Keys.parse(KEY), Keys.parse(OTHER_KEY)
RUNS, STEPS, MESSAGES = 60, 12, 10_000
FORTNIGHT = 15 * 86_400.0

registry = Registry()
effects: Counter[tuple[str, int]] = Counter()
lock = threading.Lock()


@tool("marks", "make", registry=registry)
def make(run: str, number: int) -> int:
    with lock:
        effects[run, number] += 1
    return number


@flow(registry=registry)
def long(run: str) -> Steps[int]:
    total = 0
    for number in range(STEPS):
        total += yield from make(run, number)
        if number == STEPS // 2:
            yield sleep(3600)
    last: int = yield wait_for_signal("end", int)
    return total + last


class Network:
    """A transport that puts what is sent into a bag, and loses half of it."""

    carries = True
    longest_delay = 0.0

    def __init__(self, clock: FakeClock, chance: random.Random) -> None:
        self.bag: list[Call] = []
        self.late: list[Call] = []
        self.taken = 0
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        with self._lock:
            for message in messages:
                if self._chance.random() < 0.5:
                    continue
                call = self._signed(message.run_id)
                self.bag += [call] * self._chance.randint(1, 5)
                if self._chance.random() < 0.1:
                    self.late.append(call)
                if self._chance.random() < 0.5:
                    self.bag.append(self._damaged(message.run_id))

    def draw(self) -> Call | None:
        with self._lock:
            if not self.bag:
                return None
            self.taken += 1
            return self.bag.pop(self._chance.randrange(len(self.bag)))

    def listen(self, handle: Callable[[str], object], stop: threading.Event) -> None:
        stop.wait()

    def close(self) -> None:
        pass

    def _signed(self, run_id: str, keys: Keys = KEYS, body: bytes = b"") -> Call:
        body = body or resume_body(run_id, US)
        number = self._chance.getrandbits(64)
        headers = signed_headers(keys, f"msg_{number}", self._clock.now(), body)
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        return Call(pairs, {"run_id": run_id}, (), body)

    def _damaged(self, run_id: str) -> Call:
        """Return a message that nobody may follow, of one of several kinds."""
        kind = self._chance.randrange(4)
        if kind == 0:
            return self._signed(run_id, STRANGERS)
        if kind == 1:
            return self._signed(run_id, body=b'{"v":1')
        if kind == 2:
            return self._signed(run_id, body=resume_body(run_id, "https://staging.example"))
        found = self._signed(run_id)
        return Call(found.headers, {"run_id": "nobody"}, (), found.body)


class Consumer:
    """A server that takes messages from the bag; counts what it answered."""

    def __init__(self, app: Sequential, network: Network) -> None:
        self.answered: Counter[int] = Counter()
        self._network = network
        self._door = Doorkeeper(KEYS, US, app.clock.now)
        self._work = Within(app, lambda: 25.0, 1)

    def take(self, most: int) -> None:
        for _ in range(most):
            call = self._network.draw()
            if call is None:
                return
            try:
                self.answered[self._work(self._door.admitted(call)).status] += 1
            except Refusal as refusal:
                self.answered[refusal.status] += 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_becomes_of_messages_every_run_ends_and_every_step_is_done_once(
    seed: int,
) -> None:
    effects.clear()
    clock, chance = FakeClock(), random.Random(seed)
    network = Network(clock, chance)
    with Sequential(
        "memory:", network, "every-step", plugins=[], registry=registry, clock=clock
    ) as app:
        other = Sequential(
            app.storage, network, "every-step", plugins=[], registry=registry, clock=clock
        )
        consumers = [Consumer(app, network), Consumer(other, network)]
        ids = app.start_many(long, {f"r{n}": {"run": f"r{n}"} for n in range(RUNS)})
        rounds = 0
        while open_runs := [i for i in ids if app.get(i).status is not Status.COMPLETED]:
            rounds += 1
            assert rounds < 5000, f"stranded: {open_runs[:5]}"
            play(consumers)
            if not network.bag:
                clock.advance(31.0)
                app.sweep()
            for run_id in chance.sample(ids, 2):
                signal(app, run_id, chance)
        for run_id in ids:
            assert app.outcome(app.get(run_id)) == Completed(run_id, sum(range(STEPS)) + 1)
            positions = [step.position for step in app.steps(run_id)]
            assert len(positions) == len(set(positions)) == STEPS + 2
        # Copies that come two weeks later find what is left of the runs, and change nothing else.
        clock.advance(FORTNIGHT)
        network.bag += network.late * 5
        while network.taken < MESSAGES:
            network.bag += [network._signed(run_id) for run_id in ids]
            play(consumers)
        assert {app.get(run_id).status for run_id in ids} == {Status.PURGED}
        other.driver.close()
    assert set(effects.values()) == {1}
    assert len(effects) == RUNS * STEPS
    assert network.taken >= MESSAGES
    answered = consumers[0].answered + consumers[1].answered
    assert {200, 400, 401} <= answered.keys() <= {200, 202, 400, 401}
    assert min(each.total() for each in (c.answered for c in consumers)) > 100


def play(consumers: list[Consumer]) -> None:
    threads = [threading.Thread(target=consumer.take, args=(40,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def signal(app: Sequential, run_id: str, chance: random.Random) -> None:
    if app.get(run_id).status in (Status.PAUSED, Status.RUNNING):
        for _ in range(chance.randint(1, 3)):
            app.signal(run_id, "end", 1, signal_id="the end")
