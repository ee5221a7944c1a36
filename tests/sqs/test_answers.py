"""The table of answers: what becomes of a message by what its run came to."""

from __future__ import annotations

import math

import pytest

from sequential import Outcome
from sequential._model import ErrorValue
from sequential.outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Lost,
    Missing,
    NotMine,
    Paused,
    Purged,
    Quarantined,
)
from sequential.storage import At
from sequential_sqs.answers import DELETE, LEAVE, Later, answer_to, answer_to_error

NOW = 1_000_000.0


def answered(
    outcome: Outcome, receives: int = 1, longest: float = 900, chance: float = 0
) -> object:
    return answer_to(outcome, receives, NOW, longest, chance)


@pytest.mark.parametrize(
    "outcome",
    [
        Paused("r1", "1", At(NOW), "step"),
        Paused("r1", "1", At(NOW + 60), "not due"),
        Paused("r1", "1", None, "signal"),
        Completed("r1", 1),
        Failed("r1", ErrorValue("E", "", None)),
        Cancelled("r1"),
        Quarantined("r1"),
        Purged("r1"),
        Blocked("r1", "changed", "m"),
        Missing("r1"),
        Lost("r1", "taken over"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
@pytest.mark.parametrize("receives", [1, 100])
def test_what_was_looked_at_is_deleted(outcome: Outcome, receives: int) -> None:
    assert answered(outcome, receives) == DELETE


@pytest.mark.parametrize("receives", [1, 100])
def test_a_run_of_others_is_left_for_them(receives: int) -> None:
    assert answered(NotMine("r1", "order"), receives) == LEAVE


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 41), (0.5, 43), (1.0, 45)])
def test_a_busy_run_is_looked_at_when_its_lease_has_ended(chance: float, seconds: int) -> None:
    assert answered(Busy("r1", At(NOW + 40)), chance=chance) == Later(seconds)


@pytest.mark.parametrize("until", [None, At(NOW - 100), At(NOW)])
def test_a_lease_that_has_ended_is_not_waited_for(until: At | None) -> None:
    assert answered(Busy("r1", until)) == Later(1)


def test_a_busy_run_is_not_waited_for_longer_than_the_queue_says() -> None:
    assert answered(Busy("r1", At(NOW + 86_400))) == Later(900)
    assert answered(Busy("r1", At(NOW + 86_400)), longest=5) == Later(5)


def test_a_run_that_is_busy_for_the_third_time_is_left_to_the_sweeper() -> None:
    busy = Busy("r1", At(NOW + 40))
    assert [type(answered(busy, receives)) for receives in (1, 2)] == [Later, Later]
    assert answered(busy, 3) == DELETE
    assert answered(busy, 4) == DELETE


def test_an_error_brings_the_message_back_later_and_later() -> None:
    waits = [answer_to_error(receives, 1.0).seconds for receives in range(1, 8)]
    assert waits == [1, 4, 16, 64, 256, 300, 300]
    assert answer_to_error(10**9, 1.0) == Later(300)
    assert answer_to_error(4, 0.0) == Later(32)
    assert answer_to_error(0, 0.0) == Later(1)


def test_an_outage_of_two_minutes_sends_nothing_to_the_dead_letter_queue() -> None:
    least = [answer_to_error(receives, 0.0).seconds for receives in range(1, 6)]
    assert sum(least) > 120


def test_every_answer_is_in_whole_seconds_that_sqs_takes() -> None:
    for left in (0.0, 0.1, 59.99, math.inf):
        answer = answered(Busy("r1", At(NOW + left)), chance=0.3)
        assert isinstance(answer, Later)
        assert type(answer.seconds) is int
        assert 0 < answer.seconds <= 900
