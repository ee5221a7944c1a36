"""``python -m tests.mutation [words ...]``: try all mutants, or those with one of them in a name.

Two at a time, each in an interpreter of its own; prints a table. Exits with 1 if one is alive, or
if the core as it is does not pass what killed the mutants.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutation.mutants import MUTANTS
from tests.mutation.patch import SIMULATOR
from tests.mutation.trial import Verdict, tried
from tests.simulation.simulator import play

_AT_A_TIME = 2


def main(words: Sequence[str]) -> int:
    """Print the table of the mutants that *words* choose; return the exit code."""
    chosen = [
        number
        for number, mutant in enumerate(MUTANTS)
        if not words or any(word in mutant.name for word in words)
    ]
    if not chosen:
        sys.stderr.write(f"no mutant has {' or '.join(words)} in its name\n")
        return 2
    begun, verdicts = time.monotonic(), list[Verdict]()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for number, verdict in zip(chosen, pool.map(tried, chosen), strict=True):
            verdicts.append(verdict)
            sys.stdout.write(_line(MUTANTS[number].name, verdict) + "\n")
            sys.stdout.flush()
    alive = sum(verdict.killed_by is None for verdict in verdicts)
    took = time.monotonic() - begun
    sys.stdout.write(f"{len(chosen)} mutants, {alive} alive, {took:.0f} s\n")
    return 1 if alive or not _passes_unharmed(chosen, verdicts) else 0


def _line(name: str, verdict: Verdict) -> str:
    state = "ALIVE" if verdict.killed_by is None else "dead"
    by = (verdict.killed_by or "").removeprefix("tests/")
    by = ": ".join(part for part in (by, verdict.note) if part)
    return f"{name:<66} {state:<5} {verdict.schedules or '':>6} {verdict.seconds:>5.1f} s  {by}"


def _passes_unharmed(chosen: Sequence[int], verdicts: Sequence[Verdict]) -> bool:
    """Let all killers at the core as it is: what fails on it too has killed nothing."""
    warnings.simplefilter("ignore")
    for seed in sorted({verdict.schedules for verdict in verdicts if verdict.schedules}):
        play(seed - 1)
    tests = sorted({MUTANTS[number].killer for number in chosen} - {SIMULATOR})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return not tests or subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
