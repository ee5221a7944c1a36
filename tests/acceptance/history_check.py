"""The independent checker: reads the effects log and the stored rows, and believes nobody else.

It knows what the protocol promises (G1-G6, I1-I7 of its invariants), what the flows compute from
their steps, and which processes were killed. It uses no engine and no storage: rows are read with
SQL, values as the plain JSON that they are. Every extra execution is brought home to the process
whose loss caused it, or is a violation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.acceptance.book import Where
from tests.acceptance.effects import Line
from tests.acceptance.kill_flows import FAILED, TOKEN
from tests.acceptance.stored import Stored, StoredRun, StoredStep

EXECUTIONS = frozenset({"start", "effect", "fail"})
"""Kinds of lines that tell of a tool."""


class Extra(NamedTuple):
    """An execution that was not the first and only one of its attempt, and why it was needed."""

    start: Line
    cause: str


@dataclass
class Findings:
    """What a check saw.

    Attributes:
        violations: One sentence each; empty when everything promised was kept.
        runs: Runs checked.
        purged: Those of them of which only a tombstone is left.
        steps: Records checked.
        executions: Executions of tools.
        extras: Those beyond the one of an attempt that counted, each with its cause.
        losses: Invocations that found their claim taken over.
        recorded: Tokens that stand in records.
    """

    violations: list[str] = field(default_factory=list)
    runs: int = 0
    purged: int = 0
    steps: int = 0
    executions: int = 0
    extras: list[Extra] = field(default_factory=list)
    losses: int = 0
    recorded: set[str] = field(default_factory=set)

    @property
    def extra(self) -> int:
        """How many executions were extra."""
        return len(self.extras)

    @property
    def causes(self) -> Counter[str]:
        """The extra executions by cause."""
        return Counter(extra.cause for extra in self.extras)


@dataclass(frozen=True)
class Told:
    """What the campaign did, beside the log.

    Attributes:
        killed: Pids of processes that were killed.
        frozen: Pids of those that were stopped past their leases.
        started: Ids of runs that must be there.
        purged: Ids of runs that may be purged.
    """

    killed: Collection[int] = ()
    frozen: Collection[int] = ()
    started: Collection[str] = ()
    purged: Collection[str] = ()


class Checker:
    """Checks the runs stored *where* against *lines* and what the campaign *told*."""

    def __init__(self, where: Where, lines: Sequence[Line], told: Told) -> None:
        self.stored = Stored(where)
        self.told = told
        self.found = Findings()
        self.by_run: dict[str, list[Line]] = defaultdict(list)
        self.died = {line.pid: line.token for line in lines if line.kind == "died"}
        for line in lines:
            if line.kind != "died" and line.run_id != "-":
                self.by_run[line.run_id].append(line)

    def check(self) -> Findings:
        """Check everything."""
        ids = set()
        for run in self.stored.runs():
            ids.add(run.run_id)
            self._run(run)
        self._keys()
        acted = {
            run_id for run_id, lines in self.by_run.items()
            if any(line.kind in EXECUTIONS for line in lines)
        }  # fmt: skip
        gone = (acted | set(self.told.started)) - ids - set(self.told.purged)
        if gone:
            self._say(f"{len(gone)} runs are lost, {len(ids)} are stored: {sorted(gone)[:5]}")
        self.found.violations.extend(self.stored.left_over())
        return self.found

    def _say(self, sentence: str) -> None:
        self.found.violations.append(sentence)

    # -- one run -----------------------------------------------------------------------------

    def _run(self, run: StoredRun) -> None:
        self.found.runs += 1
        self.found.steps += len(run.steps)
        if run.status == "purged" and run.run_id in self.told.purged:
            self.found.purged += 1
            return
        if run.status != "completed":
            state = run.state
            self._say(
                f"{run.run_id} is {run.status}, with {state['stalls']} stalls, due at {run.wake}:"
                f" {state.get('attention')}"
            )
            return
        cursor, fence = run.state["cursor"], run.state["fence"]
        numbers = [step.number for step in run.steps]
        if numbers != list(range(cursor)):
            self._say(f"{run.run_id} has records {numbers} and its cursor at {cursor}")
        fences = [step.fence for step in run.steps]
        if fences != sorted(fences) or (fences and fences[-1] > fence):
            self._say(f"{run.run_id} was recorded under fences {fences}, claimed as {fence}")
        self._result(run)
        for step in run.steps:
            self._token(run, step)
        self._executions(run)

    def _result(self, run: StoredRun) -> None:
        noted = []
        for step in run.steps:
            if step.outcome == "error":
                noted.append(FAILED)
            elif step.kind in {"tool", "signal"}:
                noted.append(step.value[:TOKEN])
        expected = {"number": run.input["number"], "tokens": noted}
        if run.result != expected:
            self._say(f"{run.run_id} returned {run.result}; its records make {expected}")

    def _token(self, run: StoredRun, step: StoredStep) -> None:
        if step.kind != "tool" or step.outcome == "error":
            return
        token = step.value[:TOKEN]
        self.found.recorded.add(token)
        effects = [
            line
            for line in self.by_run[run.run_id]
            if line.kind == "effect" and line.token == token
        ]
        real = [(step.generation, step.position, step.tool, step.fence)]
        if [(line.generation, line.position, line.tool, line.fence) for line in effects] != real:
            self._say(f"{run.run_id} recorded {token} at {step.position}; emitted by {effects}")

    def _executions(self, run: StoredRun) -> None:
        places = {step.position: step for step in run.steps if step.kind == "tool"}
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
            self._group(run, step, group)
        missing = [position for position in places if not groups.get((position, 1))]
        # Announced at most once and never begun: the one way to a record without a start.
        rest = [position for position in missing if places[position].tool != "kill.once"]
        if rest:
            self._say(f"{run.run_id} recorded {rest} without an execution")

    def _group(self, run: StoredRun, step: StoredStep, group: Sequence[Line]) -> None:
        """Check the executions of one attempt: all but the one that counted were lost."""
        if step.tool == "kill.once" and len(group) > 1:
            self._say(f"{run.run_id} ran an at-most-once call {len(group)} times: {group}")
        if len(group) == 1:
            return
        recorded = [line for line in group if line.token in self.found.recorded]
        # Of attempts that failed none has its token in a record: the last claim's was noted.
        counted = recorded[0] if recorded else max(group, key=lambda line: line.fence)
        for line in group:
            if line is counted:
                continue
            cause = self._cause(line)
            self.found.extras.append(Extra(line, cause or "UNEXPLAINED"))
            if cause is None:
                self._say(f"{run.run_id} step {step.position} ran without need: {group}")

    def _cause(self, start: Line) -> str | None:
        """Say what kept *start*'s process from recording it; None if nothing did.

        Only what came before it went on with the run counts: a loss explains one execution.
        """
        own = [line for line in self.by_run[start.run_id] if line.pid == start.pid]
        for line in own[own.index(start) + 1 :]:
            if line.kind == "start":
                return None
            if line.kind == "refused":
                return f"the storage answered {line.token}"
            if line.kind == "lost":
                frozen = start.pid in self.told.frozen
                return "stopped past its lease" if frozen else "overtaken while slow"
        if start.pid not in self.told.killed:
            return None
        point = self.died.get(start.pid)
        return "killed at a random moment" if point is None else f"killed at {point}"

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
