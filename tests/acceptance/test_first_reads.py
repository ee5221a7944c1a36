"""Threads that read the first record of a process at one moment do not crash it.

msgspec looks into a class at its first use, and is not made for two threads doing so at once: found
as one worker in some hundred that died of a segmentation fault.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.acceptance.nursery import ROOT

PROCESSES = 100
"""Without the guards, 3 to 11 of these die."""


@pytest.mark.parametrize("what", ["record", "signal"])
def test_threads_that_read_first_at_one_moment_live(what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.first_reads", what, str(PROCESSES)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    assert int(done.stdout) == 0
