"""A fresh process that executes runs and prints what it was answered.

Run as a module it is that process. Imported, it is `execute_afresh`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from tests.acceptance.effects import Effects
from tests.acceptance.kill_flows import write_to
from tests.acceptance.nursery import ROOT, House


def execute_afresh(house: House, *run_ids: str, pause: str = "budget") -> list[str]:
    """Execute each of *run_ids* once in a new process; return the outcomes as they print."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.late"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        input=json.dumps([asdict(house), pause, run_ids]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[str] = json.loads(done.stdout)
    return outcomes


def _main() -> None:
    house, pause, run_ids = json.loads(sys.stdin.read())
    here = House(**house)
    write_to(Effects(here.log))
    with here.open(pause) as app:
        print(json.dumps([repr(app.execute(run_id)) for run_id in run_ids]))  # noqa: T201


if __name__ == "__main__":
    _main()
