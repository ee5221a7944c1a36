"""The contract kit for resume transports: one class to inherit, one fixture to override.

Messages are heard on a thread, as a worker hears them: a listener that raised is asked again. Time
passes through the clock's `wait`, so that a transport with a clock of its own overrides `clock`
with the machine's. Needs pytest.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from .._clock import Clock
from .._outcomes import Missing, Outcome
from .._transport import ResumeMessage, ResumeTransport
from ..errors import TransportError
from ._clock import FakeClock


class Listener:
    """Hears what *transport* brings; refuses as often as *refusals* says for each run id."""

    def __init__(self, transport: ResumeTransport, refusals: dict[str, int]) -> None:
        self.heard: list[str] = []
        self.answered: list[str] = []
        self.stop = threading.Event()
        self._transport = transport
        self._refusals = Counter(refusals)
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def wait(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Wait until *enough* of what was heard, or *seconds*; return whether it was."""
        with self._news:
            return self._news.wait_for(enough, seconds)

    def answers(self, expected: set[str], seconds: float) -> bool:
        """Wait until all of *expected* were answered, or *seconds*; return whether they were."""
        return self.wait(lambda: expected <= set(self.answered), seconds)

    def has(self, count: int) -> bool:
        """Tell whether at least *count* messages were answered."""
        return len(self.answered) >= count

    def end(self, seconds: float) -> bool:
        """Set the event, as a worker that stops; return whether `listen` returned in time."""
        self.stop.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _listen(self) -> None:
        while not self.stop.is_set():
            try:
                self._transport.listen(self._handle, self.stop)
            except Refused:
                continue  # a worker asks again, too

    def _handle(self, run_id: str) -> Outcome:
        with self._news:
            self.heard.append(run_id)
            self._news.notify_all()
            if self._refusals[run_id] > 0:
                self._refusals[run_id] -= 1
                raise Refused(run_id)
            self.answered.append(run_id)
            self._news.notify_all()
        return Missing(run_id)


class Refused(Exception):
    """What the listener raises to say that a message was not acknowledged."""


class TransportContract:
    """Everything that a transport must do, as tests. Inherit, and override `transport`.

    Attributes:
        redelivers: Whether a message whose handler raised is handed over again. Only a transport
            that carries no messages to other processes may leave that to the sweeper.
        patience: Seconds, by the wall, in which a message must have arrived; 10 at first.
        silence: Seconds, by the wall, for which one is listened for that must not arrive.
        delay: Seconds of the delay that is tried, where the transport can delay.

    Example:
        >>> class TestPigeons(TransportContract):
        ...     @pytest.fixture
        ...     def transport(self, clock: Clock) -> Iterator[ResumeTransport]:
        ...         transport = open_pigeons("pigeon://loft", clock)
        ...         yield transport
        ...         transport.close()
    """

    redelivers = True
    patience = 10.0
    silence = 0.05
    delay = 5.0

    @pytest.fixture
    def clock(self) -> Clock:
        """Give the clock that the transport must be opened with."""
        return FakeClock()

    @pytest.fixture
    def transport(self, clock: Clock) -> ResumeTransport:
        """Give a transport without messages, opened with *clock*. To be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no transport to test: override the fixture"
            f" `transport(self, clock)` and return one that is opened with the"
            f" {type(clock).__name__} given"
        )

    @contextmanager
    def listening(self, transport: ResumeTransport, **refusals: int) -> Iterator[Listener]:
        """Listen on a thread; at the end `listen` must return."""
        listener = Listener(transport, refusals)
        try:
            yield listener
        finally:
            ended = listener.end(self.patience)
        assert ended, "listen() did not return after its event was set"

    # -- at least once

    def test_what_is_sent_is_handed_over(self, transport: ResumeTransport) -> None:
        sent = [f"r{number}" for number in range(20)]
        for run_id in sent:
            transport.send([ResumeMessage(run_id)])
        with self.listening(transport) as listener:
            listener.answers(set(sent), self.patience)
        assert set(listener.answered) == set(sent)

    def test_what_is_sent_while_somebody_listens_is_handed_over(
        self, transport: ResumeTransport
    ) -> None:
        with self.listening(transport) as listener:
            for number in range(5):
                run_id = f"r{number}"
                transport.send([ResumeMessage(run_id)])
                assert listener.answers({run_id}, self.patience)

    def test_all_of_a_batch_are_handed_over(self, transport: ResumeTransport) -> None:
        sent = [f"r{number}" for number in range(23)]
        transport.send([])
        transport.send([ResumeMessage(run_id, key=f"k{run_id}") for run_id in sent])
        with self.listening(transport) as listener:
            listener.answers(set(sent), self.patience)
        assert set(listener.answered) == set(sent)

    def test_what_follows_different_commits_is_no_duplicate(
        self, transport: ResumeTransport
    ) -> None:
        trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "a=1"}
        with self.listening(transport) as listener:
            for count, (run_id, key) in enumerate([("r1", "k1"), ("r2", "k1"), ("r1", "k2")], 1):
                transport.send([ResumeMessage(run_id, key=key, trace=trace)])
                assert listener.wait(partial(listener.has, count), self.patience)
        assert set(listener.answered) == {"r1", "r2"}

    def test_a_run_may_be_sent_again(self, transport: ResumeTransport) -> None:
        with self.listening(transport) as listener:
            for count in (1, 2, 3):
                transport.send([ResumeMessage("r1")])
                assert listener.wait(partial(listener.has, count), self.patience)

    def test_many_threads_may_send(self, transport: ResumeTransport) -> None:
        sent = [f"r{number}" for number in range(16)]
        threads = [
            threading.Thread(target=transport.send, args=([ResumeMessage(run_id)],))
            for run_id in sent
        ]
        with self.listening(transport) as listener:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            listener.answers(set(sent), self.patience)
        assert set(listener.answered) == set(sent)

    @pytest.mark.parametrize("run_id", ["a", "r" * 128, "A.b_c~d-e", "0", "null", "01"])
    def test_an_id_arrives_as_it_was_sent(self, transport: ResumeTransport, run_id: str) -> None:
        transport.send([ResumeMessage(run_id)])
        with self.listening(transport) as listener:
            listener.wait(lambda: bool(listener.answered), self.patience)
        assert set(listener.answered) == {run_id}

    # -- not acknowledged

    def test_a_message_whose_handler_raised_comes_again(self, transport: ResumeTransport) -> None:
        assert self.redelivers or not transport.carries, (
            "a transport that carries messages must hand over again what was not acknowledged"
        )
        transport.send([ResumeMessage("r1")])
        with self.listening(transport, r1=1) as listener:
            patience = self.patience if self.redelivers else self.silence
            listener.answers({"r1"}, patience)
        assert listener.heard[0] == "r1"
        assert ("r1" in listener.answered) == self.redelivers

    def test_a_handler_that_raised_takes_no_other_message_along(
        self, transport: ResumeTransport
    ) -> None:
        for run_id in ("good", "bad", "better"):
            transport.send([ResumeMessage(run_id)])
        with self.listening(transport, bad=1) as listener:
            listener.answers({"good", "better"}, self.patience)
        assert {"good", "better"} <= set(listener.answered)

    # -- delay

    def test_a_delayed_message_does_not_come_early(
        self, transport: ResumeTransport, clock: Clock
    ) -> None:
        transport.send([ResumeMessage("late", self.delay)])
        transport.send([ResumeMessage("now")])
        with self.listening(transport) as listener:
            listener.wait(lambda: "late" in listener.heard, self.silence)
            assert listener.wait(lambda: "now" in listener.heard, self.patience)
            assert "late" not in listener.heard
            if transport.longest_delay >= self.delay:
                clock.wait(self.delay)
                assert listener.wait(lambda: "late" in listener.heard, self.patience)

    # -- stop, close

    def test_listen_returns_when_it_is_told_to_stop(self, transport: ResumeTransport) -> None:
        with self.listening(transport) as listener:
            transport.send([ResumeMessage("r1")])
            assert listener.answers({"r1"}, self.patience)

    def test_listen_returns_at_once_when_it_was_told_before(
        self, transport: ResumeTransport
    ) -> None:
        transport.send([ResumeMessage("r1")])
        stop, heard = threading.Event(), []
        stop.set()

        def handle(run_id: str) -> Outcome:
            heard.append(run_id)
            return Missing(run_id)

        thread = threading.Thread(target=transport.listen, args=(handle, stop), daemon=True)
        thread.start()
        thread.join(self.patience)
        assert not thread.is_alive()
        assert heard == []

    def test_what_was_not_handed_over_waits_for_the_next_listener(
        self, transport: ResumeTransport
    ) -> None:
        with self.listening(transport):
            pass
        transport.send([ResumeMessage("r1")])
        with self.listening(transport) as listener:
            assert listener.answers({"r1"}, self.patience)

    def test_it_may_be_closed_twice(self, transport: ResumeTransport) -> None:
        transport.close()
        transport.close()

    def test_a_closed_transport_breaks_with_our_own_error_only(
        self, transport: ResumeTransport
    ) -> None:
        transport.close()
        try:
            transport.send([ResumeMessage("r1")])
        except TransportError as error:
            assert str(error)  # noqa: PT017  (either answer keeps the contract)

    def test_it_says_what_it_can(self, transport: ResumeTransport) -> None:
        assert type(transport.carries) is bool
        assert transport.longest_delay >= 0
