"""Sixteen processes execute one due run at one moment; each step's tool runs once."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from sequential._model import Status
from tests.acceptance.crowd import race
from tests.acceptance.effects import Effects, read
from tests.acceptance.history_check import Checker, Told
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import House

PROCESSES = 16
ROUNDS = 20
STEPS = 5
"""Tool calls of the flow."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    # A lease that no process of a crowd on a busy machine outlives.
    return House(str(tmp_path), lease=60.0)


def test_under_a_budget_one_process_makes_every_step_of_a_run(house: House) -> None:
    answers = race(house, "budget", PROCESSES, ROUNDS)
    starts = [line for line in read(house.log) if line.kind == "start"]
    assert Counter((line.run_id, line.position) for line in starts) == {
        (f"round-{number}", str(position)): 1
        for number in range(ROUNDS)
        for position in range(STEPS)
    }
    for number, round_ in enumerate(answers):
        winners = {line.pid for line in starts if line.run_id == f"round-{number}"}
        assert len(winners) == 1
        kinds = {pid: kind for pid, kind, _ in round_}
        assert len(kinds) == PROCESSES
        assert kinds[winners.pop()] == "Completed"
        # Who came when all was over was answered from the record.
        assert set(kinds.values()) <= {"Completed", "Busy"}
    # The crowd must really have been one: with everybody late there is no race.
    assert any(kind == "Busy" for round_ in answers for _, kind, _ in round_)
    _check(house)


def test_under_every_step_each_step_is_made_by_the_one_process_that_paused_after_it(
    house: House,
) -> None:
    answers = race(house, "every-step", PROCESSES, ROUNDS)
    starts = [line for line in read(house.log) if line.kind == "start"]
    assert set(Counter((line.run_id, line.position) for line in starts).values()) == {1}
    for number, round_ in enumerate(answers):
        made = Counter(line.pid for line in starts if line.run_id == f"round-{number}")
        paused = Counter(
            pid for pid, kind, reason in round_ if (kind, reason) == ("Paused", "step")
        )
        # A run that paused is due at once: who was late makes the next step, one each.
        assert made == paused
        assert set(made.values()) == {1}
        others = {kind for pid, kind, _ in round_ if pid not in made}
        assert others <= {"Busy", "Completed"}
    with closing(Effects(house.log)) as log, house.open() as app:
        write_to(log)
        for number in range(ROUNDS):
            while app.get(f"round-{number}").status is Status.PAUSED:
                app.execute(f"round-{number}")
    _check(house)


def _check(house: House) -> None:
    found = Checker(house.database, read(house.log), Told()).check()
    assert not found.violations
    assert (found.runs, found.extra, found.losses) == (ROUNDS, 0, 0)
    assert found.executions == ROUNDS * STEPS
