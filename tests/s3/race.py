"""Races by the thousand: ``python -m tests.s3.race ROUNDS [URL]``, with 16 writers in each.

Every round is a creation and a commit of one run, by all writers at once; exactly one may win each.
Without a URL a server is started; credentials are then made up.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial

from sequential.storage import STALE, Clock, Run, Storage, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import make_run, race
from sequential_s3.plugin import open_s3
from tests.fix_s3 import new_url, serving_ministack

WRITERS = 16


def winners(storage: Storage, turn: int) -> tuple[int, int]:
    """Return how many writers won the creation, and how many the commit."""
    runs = race(WRITERS, partial(_create, storage, f"r{turn}"))
    answers = race(WRITERS, partial(_commit, storage, runs[0]))
    return len({run.owner for run in runs}), sum(answer is not STALE for answer in answers)


def _create(storage: Storage, run_id: str, number: int) -> Run:
    return storage.create(make_run(run_id, owner=str(number)))


def _commit(storage: Storage, run: Run, number: int) -> object:
    return storage.commit(evolve(run, owner=f"c{number}", op_id=f"c{number}"), run)


def main(rounds: int, url: str, clock: Clock) -> int:
    """Race; say how it went; return how many rounds did not have one winner each."""
    storage = open_s3(url, clock)
    begin = time.monotonic()
    try:
        bad = sum(winners(storage, turn) != (1, 1) for turn in range(rounds))
    finally:
        storage.close()
    seconds = time.monotonic() - begin
    print(  # noqa: T201
        f"{rounds} rounds, {WRITERS} writers: {bad} without exactly one winner, {seconds:.0f} s"
    )
    return bad


if __name__ == "__main__":
    count, given = int(sys.argv[1]), sys.argv[2:]
    if given:
        sys.exit(main(count, given[0], FakeClock()) > 0)
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "made-up"}
    with serving_ministack() as server:
        sys.exit(main(count, new_url(server), FakeClock()) > 0)
