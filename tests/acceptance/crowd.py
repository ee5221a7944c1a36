"""Many processes that execute one run at one moment.

Run as a module it forks the processes, lets them go all at once, round after round, and prints what
each of them was answered. Imported, it is `race`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import asdict
from typing import TextIO

from sequential._outcomes import Paused
from tests.acceptance.effects import Effects
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import ROOT, House

Answer = tuple[int, str, str]
"""Pid, kind of the outcome, and its reason if it is a pause."""


def race(house: House, pause: str, processes: int, rounds: int) -> list[list[Answer]]:
    """Let *processes* execute run ``round-n`` at once, for each of *rounds*; return the answers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.crowd"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        input=json.dumps([asdict(house), pause, processes, rounds]),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [[(pid, kind, reason) for pid, kind, reason in each] for each in json.loads(done.stdout)]


def conduct(house: House, pause: str, processes: int, rounds: int) -> list[list[Answer]]:
    """Fork, and be the starter."""
    # A pipe is a gate: whoever reads from it waits until its last writing end is closed.
    gates = [os.pipe() for _ in range(rounds)]
    inbox, outbox = os.pipe()
    for _ in range(processes):
        if os.fork() == 0:
            _run(house, pause, [(opens, closes) for opens, closes in gates], outbox)
    os.close(outbox)
    ready = 0
    answers: list[list[Answer]] = [[] for _ in gates]
    with house.open(pause) as app, os.fdopen(inbox) as told:
        for number, (_, closes) in enumerate(gates):
            app.start("chain", {"number": number}, run_id=f"round-{number}")
            # Who is fast is ready for the next round before the last one has answered.
            while ready < processes * (number + 1):
                heard = _hear(told, answers)
                assert heard is not None, "somebody died"
                ready += heard
            os.close(closes)
        while _hear(told, answers) is not None:
            pass
    for _ in range(processes):
        assert os.wait()[1] == 0
    return answers


def _hear(told: TextIO, answers: list[list[Answer]]) -> bool | None:
    """Read one line: True if somebody is ready, None if nobody is left."""
    line = told.readline()
    if not line:
        return None
    number, *answer = json.loads(line)
    if answer:
        pid, kind, reason = answer
        answers[number].append((pid, kind, reason))
    return not answer


def _run(house: House, pause: str, gates: list[tuple[int, int]], outbox: int) -> None:
    code = 1
    try:
        for _, closes in gates:
            os.close(closes)
        write_to(Effects(house.log))
        with house.open(pause) as app:
            for number, (opens, _) in enumerate(gates):
                app.find(limit=1)  # the connection is there before the gate opens
                _tell(outbox, number)
                os.read(opens, 1)
                outcome = app.execute(f"round-{number}")
                reason = outcome.reason if isinstance(outcome, Paused) else ""
                _tell(outbox, number, os.getpid(), type(outcome).__name__, reason)
        code = 0
    except BaseException:  # noqa: BLE001  (a child must not go on as the starter)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell(outbox: int, *words: object) -> None:
    # One write, short enough that lines of many writers never mix.
    os.write(outbox, (json.dumps(words) + "\n").encode())


if __name__ == "__main__":
    told = json.loads(sys.stdin.read())
    print(json.dumps(conduct(House(**told[0]), *told[1:])))  # noqa: T201  (its answer)
