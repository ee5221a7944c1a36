"""The independent checker: reads the effects log and the storage, and believes nobody else.

It knows what the protocol promises (G2-G5, I1-I7 of its invariants), what the flows compute from
their steps, and which processes were killed. It uses no engine: records are read from the storage,
values as the plain JSON that they are.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sequential._model import Payload, Run, Status, StepKind, StepOutcome, StepRecord
from sequential._storage import Query, Storage
from tests.acceptance.effects import Line
from tests.acceptance.kill_flows import FAILED, TOKEN


@dataclass
class Findings:
    """What a check saw.

    Attributes:
        violations: One sentence each; empty when everything promised was kept.
        runs: Runs checked.
        steps: Records checked.
        executions: Executions of tools.
        extra: Those beyond the first of an attempt, each explained by a process that was lost.
        losses: Invocations that found their claim taken over.
        recorded: Tokens that stand in records.
    """

    violations: list[str] = field(default_factory=list)
    runs: int = 0
    steps: int = 0
    executions: int = 0
    extra: int = 0
    losses: int = 0
    recorded: set[str] = field(default_factory=set)


class Checker:
    """Checks the runs of *storage* against *lines*, when the processes *killed* were killed."""

    def __init__(self, storage: Storage, lines: Sequence[Line], killed: Collection[int]) -> None:
        self.storage = storage
        self.killed = killed
        self.found = Findings()
        self.by_run: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            self.by_run[line.run_id].append(line)

    def check(self) -> Findings:
        """Check everything."""
        page_of = None
        while True:
            page = self.storage.find(Query(after=page_of, limit=1000))
            for run in page.runs:
                self._run(run.run_id)
            page_of = page.next
            if page_of is None:
                break
        self._keys()
        stored = self.found.runs
        if len(self.by_run) > stored:
            self._say(f"{len(self.by_run)} runs executed tools, {stored} are stored")
        return self.found

    def _say(self, sentence: str) -> None:
        self.found.violations.append(sentence)

    # -- one run -----------------------------------------------------------------------------

    def _run(self, run_id: str) -> None:
        loaded = self.storage.load(run_id)
        assert loaded is not None
        run, steps = loaded.run, loaded.steps
        self.found.runs += 1
        self.found.steps += len(steps)
        if run.status is not Status.COMPLETED:
            self._say(f"{run_id} is {run.status}, with {run.stalls} stalls: {run.attention}")
            return
        if [step.number for step in steps] != list(range(run.cursor)):
            numbers = [step.number for step in steps]
            self._say(f"{run_id} has records {numbers} and its cursor at {run.cursor}")
        fences = [step.fence for step in steps]
        if fences != sorted(fences) or (fences and fences[-1] > run.fence):
            self._say(f"{run_id} was recorded under fences {fences}, claimed as {run.fence}")
        self._result(run, steps)
        for step in steps:
            self._token(run, step)
        self._executions(run, steps)

    def _value(self, run: Run, payload: Payload) -> Any:
        data = payload.data
        if payload.ref is not None:
            data = self.storage.get_value(run.run_id, payload.ref)
        return json.loads(data)

    def _result(self, run: Run, steps: Sequence[StepRecord]) -> None:
        noted = []
        for step in steps:
            if step.outcome is StepOutcome.ERROR:
                noted.append(FAILED)
            elif step.kind in {StepKind.TOOL, StepKind.SIGNAL}:
                noted.append(self._value(run, step.value)[:TOKEN])
        assert run.result is not None
        expected = {"number": self._value(run, run.input)["number"], "tokens": noted}
        result = self._value(run, run.result)
        if result != expected:
            self._say(f"{run.run_id} returned {result}; its records make {expected}")

    def _token(self, run: Run, step: StepRecord) -> None:
        if step.kind is not StepKind.TOOL or step.outcome is StepOutcome.ERROR:
            return
        token = self._value(run, step.value)[:TOKEN]
        self.found.recorded.add(token)
        effects = [
            line
            for line in self.by_run[run.run_id]
            if line.kind == "effect" and line.token == token
        ]
        real = [(step.generation, step.position, step.tool, step.fence)]
        if [(line.generation, line.position, line.tool, line.fence) for line in effects] != real:
            self._say(f"{run.run_id} recorded {token} at {step.position}; emitted by {effects}")

    def _executions(self, run: Run, steps: Sequence[StepRecord]) -> None:
        places = {step.position: step for step in steps if step.kind is StepKind.TOOL}
        groups: dict[tuple[str, int], list[Line]] = defaultdict(list)
        for line in self.by_run[run.run_id]:
            self.found.losses += line.kind == "lost"
            if line.kind == "start":
                groups[line.position, line.attempt].append(line)
                self.found.executions += 1
        for (position, attempt), group in groups.items():
            step = places.get(position)
            if step is None or step.tool != group[0].tool or attempt > step.attempts:
                self._say(f"{run.run_id} has no record of {group}")
                continue
            self.found.extra += len(group) - 1
            self._group(run, step, group)
        missing = [position for position in places if not groups.get((position, 1))]
        if missing:
            # Announced at most once and never begun: the one way to a record without a start.
            rest = [position for position in missing if places[position].tool != "kill.once"]
            if rest:
                self._say(f"{run.run_id} recorded {rest} without an execution")

    def _group(self, run: Run, step: StepRecord, group: Sequence[Line]) -> None:
        """Check the executions of one attempt: all but the one that counted were lost."""
        if step.tool == "kill.once" and len(group) > 1:
            self._say(f"{run.run_id} ran an at-most-once call {len(group)} times: {group}")
        lost = [line for line in group if self._was_lost(line)]
        if len(group) > 1 + len(lost):
            self._say(f"{run.run_id} step {step.position} ran without need: {group}")

    def _was_lost(self, start: Line) -> bool:
        """Tell whether *start*'s process was killed or overtaken before it could be recorded."""
        if start.token in self.found.recorded:
            return False
        own = [line for line in self.by_run[start.run_id] if line.pid == start.pid]
        after = own[own.index(start) + 1 :]
        if any(line.kind == "lost" for line in after):
            return True
        went_on = any(line.kind == "start" for line in after)
        return start.pid in self.killed and not went_on

    # -- all runs ----------------------------------------------------------------------------

    def _keys(self) -> None:
        keys: dict[tuple[str, int, str, int], set[str]] = defaultdict(set)
        users: dict[str, set[tuple[str, int, str, int]]] = defaultdict(set)
        for lines in self.by_run.values():
            for line in lines:
                if line.kind == "start":
                    place = (line.run_id, line.generation, line.position, line.epoch)
                    keys[place].add(line.key)
                    users[line.key].add(place)
        for place, seen in keys.items():
            if len(seen) != 1:
                self._say(f"{place} was executed under the keys {seen}")
        for key, places in users.items():
            if len(places) != 1:
                self._say(f"{key} was used for {places}")


class Watcher:
    """Looks at the records of *database* again and again: none may change or vanish."""

    def __init__(self, database: Path) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self._database = database
        self._seen: dict[tuple[str, int, int], bytes] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            while True:
                stopped = self._stop.wait(0.2)
                self.look(connection)
                if stopped:
                    return

    def look(self, connection: sqlite3.Connection) -> None:
        """Compare every record with what was seen before."""
        self.looks += 1
        rows = connection.execute(
            "SELECT run_id, generation, number, position, kind, tool, fingerprint, outcome, value,"
            " input, attempts, started, ended, fence, op_id, v FROM steps"
        )
        now = {row[:3]: hashlib.sha256(repr(row).encode()).digest() for row in rows}
        for place, digest in self._seen.items():
            if now.get(place) != digest:
                self.violations.append(f"record {place} changed or vanished")
        self._seen = now


def where_hit(
    lines: Sequence[Line], killed: Collection[int], recorded: Collection[str]
) -> Counter[str]:
    """Say for each of *killed* where it was hit, the latest place of the runs it had under way."""
    places: Counter[str] = Counter()
    started: dict[int, dict[str, str]] = defaultdict(dict)
    for line in lines:
        if line.kind in {"start", "effect", "fail"}:
            started[line.pid][line.token] = line.kind
    for pid in killed:
        own = started.get(pid, {})
        open_ = {kind for token, kind in own.items() if token not in recorded}
        if "effect" in open_:
            places["effect done, not recorded"] += 1
        elif "start" in open_:
            places["tool running"] += 1
        elif own:
            places["between steps"] += 1
        else:
            places["before its first tool"] += 1
    return places
