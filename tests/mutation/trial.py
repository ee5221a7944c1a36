"""One mutant, tried in an interpreter of its own: ``python -m tests.mutation.trial``.

Reads the mutant from standard input and prints the verdict, both as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stdout
from types import FrameType
from typing import NamedTuple

from tests.mutation.mutants import MUTANTS
from tests.mutation.patch import SIMULATOR, Mutant, Patch, install

SCHEDULES = 10_000
"""Seeds after which a mutant has survived the simulator."""

_LONGEST_SCHEDULE = 30
"""Seconds; an honest one takes milliseconds, a mutant may go round for ever."""

_LONGEST_TRIAL = 300.0
"""Seconds after which there is no verdict."""


class Verdict(NamedTuple):
    """What became of a mutant.

    Attributes:
        killed_by: A seed or a node id; None if it is alive.
        schedules: How many were needed, or tried in vain; 0 where a test was the killer.
        note: What the simulator found, or why the mutant lives.
        seconds: All in all.
    """

    killed_by: str | None
    schedules: int = 0
    note: str = ""
    seconds: float = 0.0


def tried(number: int) -> Verdict:
    """Try mutant *number* of the list."""
    return verdict_of(MUTANTS[number])


def verdict_of(mutant: Mutant) -> Verdict:
    """Try *mutant* in an interpreter of its own."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutation.trial"],
            input=json.dumps(mutant),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_TRIAL,
        )
    except subprocess.TimeoutExpired:
        return Verdict(None, note="no verdict in time", seconds=_LONGEST_TRIAL)
    seconds = time.monotonic() - begun
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Verdict(None, note=f"no verdict: {last}", seconds=seconds)
    return Verdict(*json.loads(done.stdout.splitlines()[-1]))._replace(seconds=seconds)


def try_here(mutant: Mutant) -> Verdict:
    """Load *mutant* and let its killer at it."""
    install(mutant.patches)
    # One that cannot even be imported would be killed by anything: that is no verdict.
    for patch in mutant.patches:
        importlib.import_module(patch.name)
    return _simulated() if mutant.killer == SIMULATOR else _tested(mutant.killer)


def _simulated() -> Verdict:
    from tests.simulation.simulator import play

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_long)
    for seed in range(SCHEDULES):
        signal.alarm(_LONGEST_SCHEDULE)
        try:
            play(seed)
        except Exception as error:  # noqa: BLE001  (an invariant, or whatever the mutant breaks)
            said = (str(error) or repr(error)).splitlines()[0]
            return Verdict(f"seed {seed}", seed + 1, f"{type(error).__name__}: {said}"[:80])
        finally:
            signal.alarm(0)
    return Verdict(None, SCHEDULES, "survived all schedules")


def _too_long(number: int, frame: FrameType | None) -> None:
    msg = f"a schedule did not end within {_LONGEST_SCHEDULE} s"
    raise TimeoutError(msg)


def _tested(node: str) -> Verdict:
    import pytest

    switches = ["-q", "-x", "--no-header", "--timeout=60"]
    without = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    with redirect_stdout(sys.stderr):
        code = pytest.main([*switches, *without, node])
    if code == pytest.ExitCode.TESTS_FAILED:
        return Verdict(node)
    if code == pytest.ExitCode.OK:
        return Verdict(None, note=f"survived {node}")
    return Verdict(None, note=f"{node} could not be run: {pytest.ExitCode(code).name}")


def main() -> None:
    """Try the mutant on standard input, and say what became of it."""
    name, patches, killer = json.loads(sys.stdin.read())
    verdict = try_here(Mutant(name, tuple(Patch(*patch) for patch in patches), killer))
    sys.stdout.write(json.dumps(verdict) + "\n")
    sys.stdout.flush()
    # A mutant may leave threads behind that wait for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
