"""Play a range of seeds in several processes, or show the trace of one.

``python -m tests.simulation 42`` prints the trace of seed 42. ``python -m tests.simulation 0
200000 --jobs 2`` plays 200,000 schedules, counts what happened in them, and exits with 1 and a
shrunk trace if an invariant was broken.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import NamedTuple

from tests.simulation.shrinking import failure_of, report
from tests.simulation.simulator import Simulation

_SHARD = 500


class Played(NamedTuple):
    """What became of some schedules: what was counted, and the first seed that failed."""

    counts: Counter[str]
    failed: int | None = None


def play_shard(first: int, last: int) -> Played:
    """Play the seeds from *first* up to *last*, or to the first that fails."""
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    # Schedules make few cycles: looking for them after each would cost a fifth of the time.
    gc.disable()
    for seed in range(first, last):
        simulation = Simulation(seed)
        try:
            simulation.play()
        except Exception:  # noqa: BLE001  (an invariant, or whatever a broken core raises)
            return Played(counts, seed)
        finally:
            counts += simulation.totals()
        if seed % 100 == 0:
            gc.collect()
    return Played(counts)


def _shards(first: int, last: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, last, _SHARD):
        yield begin, min(last, begin + _SHARD)


def play_range(first: int, last: int, jobs: int) -> Played:
    """Play the seeds from *first* up to *last* in *jobs* processes."""
    if jobs == 1:
        return play_shard(first, last)
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(jobs) as pool:
        waiting: set[Future[Played]] = set()
        shards = _shards(first, last)
        while True:
            while len(waiting) < 2 * jobs and (shard := next(shards, None)):
                waiting.add(pool.submit(play_shard, *shard))
            if not waiting:
                return Played(counts)
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for each in done:
                played = each.result()
                counts += played.counts
                if played.failed is not None:
                    pool.shutdown(cancel_futures=True)
                    return Played(counts, played.failed)


def show_range(first: int, last: int, jobs: int) -> int:
    """Play a range and print what was counted; return the exit code."""
    begun = time.monotonic()
    played = play_range(first, last, jobs)
    seconds = time.monotonic() - begun
    counts = played.counts
    schedules = counts.pop("schedules")
    lines = [f"{schedules:>12,} schedules, seeds {first} to {last - 1}"]
    lines += [f"{count:>12,} {what}" for what, count in counts.most_common()]
    lines += [f"{schedules / seconds:>12,.0f} schedules/s, {seconds:,.0f} s, {jobs} jobs"]
    lines += [f"{int(played.failed is not None):>12,} violations"]
    if played.failed is not None:
        lines.append(report(played.failed))
    sys.stdout.write("\n".join(lines) + "\n")
    return int(played.failed is not None)


def show_one(seed: int) -> int:
    """Print the trace of *seed*, the shrunk one if it fails; return the exit code."""
    if failure_of(seed) is not None:
        sys.stdout.write(report(seed) + "\n")
        return 1
    simulation = Simulation(seed, traced=True)
    simulation.play()
    assert simulation.trace is not None
    sys.stdout.write("\n".join([*simulation.trace.lines, f"seed {seed}: 0 violations"]) + "\n")
    return 0


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("first", type=int, help="a seed; alone, its trace is printed")
    parser.add_argument("last", type=int, nargs="?", help="play the seeds up to here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.last is None:
        return show_one(given.first)
    return show_range(given.first, given.last, max(1, given.jobs))


if __name__ == "__main__":
    sys.exit(main())
