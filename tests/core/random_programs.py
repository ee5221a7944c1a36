"""``python -m tests.core.random_programs 20000 --jobs 2``: random programs, in several processes.

Builds that many programs, plays each undisturbed and with crashes and faults, compares, and says
how many there were. Exits with 1 at the first that comes to something else, made small. Shards have
seeds of their own: the same first seed builds the same programs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.core.blocks import Block
from tests.core.disturbed import (
    PAUSES,
    PROGRAMS,
    RICH,
    STYLES,
    TROUBLES,
    WIDE,
    Trouble,
    check,
    undisturbed,
    words,
)

_SHARD = 500
_COUNTED = ("child", "try", "flaky", "sleep", "wait", *sorted(WIDE))


class Built(NamedTuple):
    """What became of one shard: what was counted, and how it failed, if it did."""

    counts: Counter[str]
    failed: str = ""


def play_shard(number: int, programs: int) -> Built:
    """Build *programs* of shard *number*, and check each."""
    # What programs leave unfinished, or do wrong as they are told, is none of our business.
    warnings.simplefilter("ignore")
    logging.disable()
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=programs, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(RICH, RICH, RICH, PROGRAMS), STYLES, st.sampled_from(PAUSES), TROUBLES)
    def built(program: Block, style: str, pause: str, trouble: Trouble) -> None:
        _, stage = check(program, style, pause, trouble)
        known, alone = words(program), undisturbed(program)
        counts["programs"] += 1
        counts["runs"] += 1 + len(alone.played.children)
        counts["executions of tools"] += len(stage.executions)
        counts["executions more than undisturbed"] += len(stage.executions) - alone.executions
        counts.update(event for _, event in trouble.events)
        counts["storage faults"] += len(trouble.faults)
        counts.update(f"programs with {word}" for word in _COUNTED if word in known)

    try:
        built()
    except BaseException:  # noqa: BLE001  (whatever a broken core raises)
        return Built(counts, f"shard {number}\n{traceback.format_exc()}")
    return Built(counts)


def main() -> int:
    """Build and check as many as the arguments say; return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.core.random_programs", description=__doc__)
    parser.add_argument("programs", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    begun, counts, failed = time.monotonic(), Counter[str](), ""
    # Hypothesis now and then draws a few less than asked for: shards until there are enough.
    shard, most = asked.first, asked.first + 2 * asked.programs // _SHARD + 1
    with ProcessPoolExecutor(asked.jobs) as pool:
        while counts["programs"] < asked.programs and not failed and shard < most:
            left = asked.programs - counts["programs"]
            shards = range(shard, shard - (-left // _SHARD))
            play = partial(play_shard, programs=-(-left // len(shards)))
            for built in pool.map(play, shards):
                counts += built.counts
                failed = failed or built.failed
            shard = shards.stop
    programs, seconds = counts.pop("programs"), time.monotonic() - begun
    lines = [f"{programs:>12,} programs built, shards {asked.first} to {shard - 1}"]
    lines += [f"{count:>12,} {what}" for what, count in counts.most_common()]
    lines += [f"{programs / seconds:>12,.0f} programs/s, {seconds:,.0f} s, {asked.jobs} jobs"]
    lines += [f"{int(bool(failed)):>12,} violations", failed]
    sys.stdout.write("\n".join(lines).rstrip() + "\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
