"""The servers of the tests themselves: none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.fix_postgres import is_alive

STARTS_ONE = """
import sys
from tests.fix_postgres import own_server

server = next(servers := own_server(18))
print(server._process.pid, server.folder, flush=True)
sys.stdin.read()
"""
PATIENCE = 30.0


def test_a_server_and_its_folder_do_not_outlive_tests_that_were_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *filter(None, sys.path)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        number, folder = tests.stdout.readline().split()
        assert is_alive(int(number))
        tests.kill()
    end = time.monotonic() + PATIENCE
    while is_alive(int(number)) or Path(folder).exists():
        assert time.monotonic() < end, f"{folder} is still there"
        time.sleep(0.02)
