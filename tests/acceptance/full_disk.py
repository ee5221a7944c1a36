"""A campaign of kills on a disk that gets full, again and again, and empty again.

Run as a module it is the whole campaign, so that it can run where a small file system of its own is
mounted for it. Where no mount is allowed, the workers' connections are held to the pages that
the database has: SQLite then refuses as it does on a full disk. What is refused must be a
`StorageRefused` or leave the outcome open, and with space everything must go on by itself.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from sequential.errors import OutcomeUnknown, StorageError, StorageRefused
from tests.acceptance.campaign import Plan, RandomKills, conduct
from tests.acceptance.effects import read
from tests.acceptance.nursery import ROOT, House, Order

FILLS = 3
"""How often the disk gets full."""
REFUSALS = 15
"""Operations that must be refused each time, before there is space again."""
_SIZE = "48m"
_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


class FullDisk(RandomKills):
    """Random kills on a disk that is full for a while, `FILLS` times."""

    def __init__(self, plan: Plan, house: House) -> None:
        super().__init__(plan, house)
        self.refused: Counter[str] = Counter()
        self.unsure: list[Order] = []
        self.killed_full = 0

    def strike(self) -> None:
        for _ in range(self.plan.processes):
            self.fork()
        for turn in range(FILLS):
            self._strike_to(self.plan.kills * (turn + 1) // (FILLS + 1))
            self._fill()
            self._strike_full()
            self._free()
        self._strike_to(self.plan.kills)

    def _strike_to(self, kills: int) -> None:
        while len(self.nursery.killed) < kills:
            self.strike_once()
            self.in_time()
            self.feed()

    def _strike_full(self) -> None:
        """Kill until enough has been refused, to the workers and to a client."""
        told = self._refusals()
        killed = len(self.nursery.killed)
        while self._refusals() < told + REFUSALS or len(self.nursery.killed) < killed + 5:
            self._begin(self.order("weave"))
            self.nursery.kill(self._choose())
            self.fork()
            self.in_time()
        self.killed_full += len(self.nursery.killed) - killed

    def _begin(self, order: Order) -> None:
        """Be a client that starts a run, and asks again only where it may have been started."""
        try:
            order.begin(self.app)
        except StorageError as error:
            self.refused[type(error).__name__] += 1
            if isinstance(error, OutcomeUnknown):
                self.unsure.append(order)
            else:
                self.started.remove(order.run_id)

    def _refusals(self) -> int:
        return sum(line.kind == "refused" for line in read(self.house.log))

    def _fill(self) -> None:
        if not self.house.disk:
            self.house.quota.touch()
            return
        with self._ballast.open("wb", buffering=0) as file:
            for block in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * block)

    def _free(self) -> None:
        (self._ballast if self.house.disk else self.house.quota).unlink()
        while self.unsure:
            self.unsure.pop().begin(self.app)

    @property
    def _ballast(self) -> Path:
        return Path(self.house.disk) / "ballast"


def conduct_full_disk(house: House, plan: Plan) -> None:
    """Carry the campaign out and assert what every campaign must, and that it was a full disk."""
    campaign = FullDisk(plan, house)
    report = conduct(campaign)
    refused = Counter(line.token for line in report.lines if line.kind == "refused")
    where = "a file system of its own" if house.disk else "a quota of pages"
    print(f"  {FILLS} times full by {where}; {campaign.killed_full} killed meanwhile")  # noqa: T201
    print(f"  workers were answered {dict(refused)}, clients {dict(campaign.refused)}")  # noqa: T201
    # At COMMIT itself the answer may be that nobody knows; nothing else may be unknown.
    assert set(refused) <= {StorageRefused.__name__, OutcomeUnknown.__name__, "StorageUnavailable"}
    assert refused.total() >= FILLS * REFUSALS
    assert house.disk or refused[StorageRefused.__name__] >= FILLS
    # Invocations break off with the storage's errors, and with no error of Python's own.
    said = house.said.read_text(encoding="utf-8")
    assert not re.search(r"^\w+(Error|Exception|Exit)\b", said, re.MULTILINE), said[-8000:]


def on_full_disk(folder: Path, plan: Plan, *, mounted: bool) -> str:
    """Carry the campaign out in a process of its own; return what it printed."""
    disk = folder / "disk"
    disk.mkdir()
    house = House(str(folder), disk=str(disk) if mounted else "")
    told = json.dumps([asdict(house), asdict(plan)])
    command = [sys.executable, "-m", "tests.acceptance.full_disk", told]
    done = subprocess.run(
        [*(_beside_mount(disk) if mounted else ()), *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=plan.seconds + 30,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _beside_mount(disk: Path) -> Sequence[str]:
    """Return what to put before a command for which a small file system is mounted at *disk*.

    It lives in a name space of that command, so that nobody else sees it and it goes by itself.
    """
    return ["unshare", "-Urm", "sh", "-c", _MOUNT, "sh", _SIZE, str(disk)]


def may_mount(disk: Path) -> bool:
    """Tell whether this machine lets us have a small file system."""
    try:
        return subprocess.run([*_beside_mount(disk), "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    here, numbers = json.loads(sys.argv[1])
    conduct_full_disk(House(**here), Plan(**numbers))
