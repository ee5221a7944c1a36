"""The kits themselves: storages and transports broken on purpose, each caught by its one test.

Every broken one keeps the whole contract but for one guarantee. The named test must fail over it,
and pass over the sound one, so that neither a blind test nor one that always fails goes unnoticed.
"""

from __future__ import annotations

import hashlib
import inspect
import queue
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import sequential
from sequential._clock import Clock
from sequential._memory import MemoryStorage
from sequential._model import At, In, Payload, Run, Status, StepRecord, evolve
from sequential._storage import STALE, Loaded, Page, Probe, Query, Stale
from sequential._storage_rules import is_same, tombstone
from sequential._transport import Handle, ResumeMessage, ResumeTransport
from sequential.errors import ConfigError, ValueCorrupt
from sequential.testing import FakeClock, StorageContract, TransportContract

pytest_plugins = ["pytester"]


class Sound(MemoryStorage):
    """Keeps the contract; the broken ones break one line of it. *mine* guards what they add."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.mine = threading.RLock()

    def now_stored(self, run: Run) -> Run:
        return self._runs.get(run.run_id, run)

    def is_stale(self, expect: Run) -> bool:
        stored = self._runs.get(expect.run_id)
        return stored is None or not is_same(stored, expect)


# -- broken storages ---------------------------------------------------------------------------


class IgnoresExpect(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        with self.mine:
            return super().commit(run, self.now_stored(run), steps)


class ComparesTheVersionAlone(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        stored = self.now_stored(expect)
        return super().commit(run, evolve(expect, op_id=stored.op_id), steps)


class AppendsAlthoughStale(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        stale = run.run_id in self._runs and self.is_stale(expect)
        if stale and steps:
            self._append(run.run_id, steps)
        return super().commit(run, expect, steps)


class UpsertsSteps(Sound):
    def _append(self, run_id: str, steps: Sequence[StepRecord]) -> None:
        for step in steps:
            self._steps.setdefault((run_id, step.generation), {})[step.position] = step


class ChecksThenWrites(UpsertsSteps):
    """Looks at the version, and writes later without looking again."""

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        if self.is_stale(expect):
            return STALE
        time.sleep(0.001)
        return super().commit(run, self.now_stored(run), steps)


class LeavesHalfOfARefusedCommit(Sound):
    def _append(self, run_id: str, steps: Sequence[StepRecord]) -> None:
        for step in steps:
            super()._append(run_id, (step,))


class LosesTheLastStep(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        return super().commit(run, expect, steps[:-1] if len(steps) > 1 else steps)


class ForgetsToResolveIn(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        wake = At(run.wake.seconds) if isinstance(run.wake, In) else run.wake
        return super().create(evolve(run, wake=wake), steps)


class CountsInFromTheHost(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        if isinstance(run.wake, In):
            run = evolve(run, wake=At(self.clock.now() + run.wake.seconds))
        return super().commit(run, expect, steps)


class IgnoresSkew(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        return loaded and loaded._replace(now=self.clock.now())


class LetsTimeGoBack(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        return loaded and loaded._replace(now=self.clock.now() + self.clock.skew())


class DueIgnoresHold(Sound):
    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return super().due(limit, flows, 0.0)


class DueHoldsForEver(Sound):
    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return super().due(limit, flows, 1e9)


class DueHoldsAfterACommit(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        held = self._nudged.get(run.run_id)
        answer = super().commit(run, expect, steps)
        if held is not None:
            self._nudged[run.run_id] = held
        return answer


class DueIgnoresWake(Sound):
    def _waiting(
        self, now: float, flows: Collection[str] | None, hold: float
    ) -> Iterator[tuple[float, str]]:
        yield from super()._waiting(now + 1e6, flows, hold)


class DueIgnoresFlows(Sound):
    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return super().due(limit, None, hold)


class DueForgetsEndedRuns(Sound):
    def _waiting(
        self, now: float, flows: Collection[str] | None, hold: float
    ) -> Iterator[tuple[float, str]]:
        for time_, run_id in super()._waiting(now, flows, hold):
            if self._runs[run_id].status in {Status.PAUSED, Status.RUNNING}:
                yield time_, run_id


class DueInNoOrder(Sound):
    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        return sorted(super().due(limit, flows, hold), reverse=True)


class VersionStandsStill(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        answer = super().commit(run, expect, steps)
        if isinstance(answer, Run):
            answer = self._runs[run.run_id] = evolve(answer, version=max(expect.version, 2))
        return answer


class LoadIsNoSnapshot(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        first = super().load(run_id, after)
        time.sleep(0.0005)
        second = super().load(run_id, after)
        return first and second and first._replace(steps=second.steps)


class LoadIsAlive(Sound):
    """Hands out its own list of steps."""

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        if loaded is None or after:
            return loaded
        steps: Any = self._steps.setdefault((run_id, loaded.run.generation), {}).values()
        return loaded._replace(steps=steps)


class LoadIgnoresAfter(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        return super().load(run_id)


class LoadMixesGenerations(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        if loaded is None or not loaded.run.generation:
            return loaded
        old = self._steps.get((run_id, 0), {}).values()
        return loaded._replace(steps=(*old, *loaded.steps))


class ReturnsAWrongDigest(Sound):
    def put_value(self, run_id: str, data: bytes) -> str:
        digest = hashlib.sha512(data).hexdigest()[:64]
        self._values[run_id, digest] = data
        return digest


class DoesNotVerifyValues(Sound):
    """Its values can be damaged, and it does not look."""


class VerifiesValues(Sound):
    """Its values can be damaged, and it looks: the sound one beside the one before."""

    def get_value(self, run_id: str, digest: str) -> bytes:
        data = super().get_value(run_id, digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueCorrupt(run_id, digest, "it has another digest")
        return data


class SharesValues(Sound):
    def put_value(self, run_id: str, data: bytes) -> str:
        return super().put_value("", data)

    def get_value(self, run_id: str, digest: str) -> bytes:
        return super().get_value("", digest)


class PageSkipsARun(Sound):
    def find(self, query: Query) -> Page:
        page = super().find(query)
        return page if query.after is None else page._replace(runs=page.runs[1:])


class PageNamesANextAtTheEnd(Sound):
    def find(self, query: Query) -> Page:
        page = super().find(query)
        after = super().find(replace(query, limit=1)).next or "MS4wIHI="
        return page if page.next else page._replace(next=after)


class FindIgnoresTags(Sound):
    def find(self, query: Query) -> Page:
        return super().find(replace(query, tags=dict(list(query.tags.items())[:1])))


class FindCutsAnyLimit(Sound):
    def find(self, query: Query) -> Page:
        ok = type(query.limit) is int
        return super().find(replace(query, limit=min(max(query.limit, 1), 1000) if ok else 50))


class FindIgnoresWakes(Sound):
    def find(self, query: Query) -> Page:
        return super().find(replace(query, wakes_before=None))


class FindsWakesNewestFirst(Sound):
    def find(self, query: Query) -> Page:
        page = super().find(query)
        return page._replace(runs=sorted(page.runs, key=lambda run: -run.created))


class FindsWakesOfOpenRunsOnly(Sound):
    def find(self, query: Query) -> Page:
        page = super().find(query)
        open_ = [run for run in page.runs if run.status in {Status.PAUSED, Status.RUNNING}]
        return page if query.wakes_before is None else page._replace(runs=open_)


class CountIgnoresWakes(Sound):
    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        return super().count(replace(query, wakes_before=None))


class TakesATokenForAnother(Sound):
    """Asked for wakes, it goes on from any token; the order of the pages is not told apart."""

    def find(self, query: Query) -> Page:
        try:
            return super().find(query)
        except ConfigError:
            return super().find(replace(query, after=None))


class PurgesOpenRuns(Sound):
    def purge(self, expect: Run) -> bool:
        run = self._runs.get(expect.run_id)
        if run is not None and run.status is Status.PAUSED:
            self._runs[expect.run_id] = evolve(run, status=Status.COMPLETED)
        return super().purge(expect)


class PurgeIgnoresExpect(Sound):
    def purge(self, expect: Run) -> bool:
        with self.mine:
            return super().purge(self.now_stored(expect))


class PurgeLeavesNoTombstone(Sound):
    def purge(self, expect: Run) -> bool:
        done = super().purge(expect)
        if done:
            self._runs.pop(expect.run_id, None)
        return done


class PurgeKeepsTheVersion(Sound):
    def purge(self, expect: Run) -> bool:
        run = self._runs.get(expect.run_id)
        done = super().purge(expect)
        if done and run is not None and (rest := tombstone(run)) is not None:
            self._runs[expect.run_id] = evolve(rest, version=run.version, op_id=run.op_id)
        return done


class PurgeKeepsTheSteps(Sound):
    def _forget(self, run_id: str) -> None:
        for key in [key for key in self._values if key[0] == run_id]:
            del self._values[key]

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return super().create(run, steps)


class PurgeTakesNeighboursAlong(Sound):
    def purge(self, expect: Run) -> bool:
        done = super().purge(expect)
        for place in [
            place for place in self._steps if done and place[0].startswith(expect.run_id)
        ]:
            del self._steps[place]
        return done


class CreateOverwrites(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        with self.mine:
            self._runs.pop(run.run_id, None)
            self._forget(run.run_id)
            return super().create(run, steps)


class CreateLooksThenWrites(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        if run.run_id not in self._runs:
            time.sleep(0.001)
            self._runs.pop(run.run_id, None)
        return super().create(run, steps)


class CreateLosesTheRunOfARefusedStep(Sound):
    """Stores the record first, then the steps; what is refused stays half done."""

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        fresh = run.run_id not in self._runs
        stored = super().create(run)
        if fresh:
            self._append(run.run_id, steps)
        return stored


class ForgetsAField(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return super().create(evolve(run, stalls=0), steps)


class CutsTextsAtNul(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return super().create(evolve(run, run_id=run.run_id.split("\0")[0]), steps)


class FoldsCase(Sound):
    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        return super().create(evolve(run, run_id=run.run_id.lower()), steps)


class WrapsHugeNumbers(Sound):
    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        loaded = super().load(run_id, after)
        if loaded is None:
            return None
        return loaded._replace(run=evolve(loaded.run, generation=loaded.run.generation % 2**63))


class CutsLargeValues(Sound):
    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        small = [step._replace(value=_cut(step.value)) for step in steps]
        return super().commit(run, expect, small)


def _cut(value: Payload) -> Payload:
    return value._replace(data=value.data[:65_536])


class LosesTagsThatComeBack(Sound):
    """Right for every tag but one that was taken away and is set again."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.gone: set[tuple[str, str]] = set()

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        before = self._runs.get(run.run_id)
        answer = super().commit(run, expect, steps)
        if before is not None and isinstance(answer, Run):
            self.gone |= {(run.run_id, key) for key in before.tags.keys() - run.tags.keys()}
        return answer

    def find(self, query: Query) -> Page:
        page = super().find(query)
        kept = [run for run in page.runs if not self.gone & {(run.run_id, k) for k in query.tags}]
        return page._replace(runs=kept)


class ForgetsBefore(Sound):
    def find(self, query: Query) -> Page:
        return super().find(replace(query, before=None))


class SearchesAnywhere(Sound):
    def find(self, query: Query) -> Page:
        page = super().find(replace(query, search=None))
        return page._replace(runs=[r for r in page.runs if (query.search or "") in r.run_id])


class SearchesByPattern(Sound):
    """As LIKE does: an underscore stands for any character."""

    def find(self, query: Query) -> Page:
        page = super().find(replace(query, search=None))
        pattern = re.escape(query.search or "").replace("_", ".").replace("%", ".*")
        return page._replace(runs=[r for r in page.runs if re.match(pattern, r.run_id, re.DOTALL)])


class CountsOnePage(Sound):
    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        return Counter((run.flow, run.status) for run in self.find(query).runs)


class CountsAllTags(Sound):
    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        return super().count(replace(query, tags={}))


class CountsWhatWasCreated(Sound):
    """Keeps counters, and leaves them as they are when a run goes on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.counters: Counter[tuple[str, Status]] = Counter()

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        self.counters[run.flow, run.status] += 1
        return super().create(run, steps)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        return self.counters


class ProbesNothing(Sound):
    def probe(self) -> Probe:
        return Probe("memory://", ("it is fine",), ("serves one process only",))


class ProbeLeavesARun(Sound):
    def probe(self) -> Probe:
        self.create(Run("probe", "$probe", Payload(b"null", size=4)))
        return super().probe()


class ProbeHidesThatItIsAlone(Sound):
    def probe(self) -> Probe:
        return super().probe()._replace(cannot=())


BROKEN_STORAGES: dict[type[Sound], str] = {
    IgnoresExpect: "test_a_version_that_is_over_stays_over",
    ComparesTheVersionAlone: "test_a_version_of_another_history_is_another_version",
    ChecksThenWrites: "test_one_of_sixteen_committers_wins",
    AppendsAlthoughStale: "test_a_stale_commit_appends_nothing",
    UpsertsSteps: "test_a_recorded_step_is_never_replaced",
    LeavesHalfOfARefusedCommit: "test_a_repeated_position_is_refused_and_nothing_is_written",
    LosesTheLastStep: "test_steps_are_appended_and_read_back_whole",
    ForgetsToResolveIn: "test_a_run_is_due_once_its_wake_has_passed",
    CountsInFromTheHost: "test_in_is_counted_from_the_storages_now",
    IgnoresSkew: "test_the_skew_is_added",
    LetsTimeGoBack: "test_time_never_goes_back",
    DueIgnoresHold: "test_a_run_that_was_handed_out_is_held",
    DueHoldsForEver: "test_a_run_that_was_handed_out_is_held",
    DueHoldsAfterACommit: "test_a_commit_ends_the_hold",
    DueIgnoresWake: "test_due_runs_come_longest_due_first",
    DueIgnoresFlows: "test_due_is_for_the_flows_that_are_named",
    DueForgetsEndedRuns: "test_runs_of_any_status_are_due_when_their_wake_has_passed",
    DueInNoOrder: "test_due_gives_no_more_than_asked",
    VersionStandsStill: "test_every_commit_raises_the_version_by_one",
    LoadIsNoSnapshot: "test_a_snapshot_never_mixes_two_versions",
    LoadIsAlive: "test_a_snapshot_does_not_change_afterwards",
    LoadIgnoresAfter: "test_load_leaves_out_the_steps_before",
    LoadMixesGenerations: "test_a_new_generation_hides_the_steps_of_the_old",
    ReturnsAWrongDigest: "test_the_digest_is_sha_256",
    DoesNotVerifyValues: "test_a_value_that_was_changed_is_corrupt",
    SharesValues: "test_a_run_cannot_read_the_values_of_another",
    PageSkipsARun: "test_pages_have_no_gaps_while_runs_are_added",
    PageNamesANextAtTheEnd: "test_the_last_page_names_no_next",
    FindIgnoresTags: "test_find_filters_by_each_part",
    FindIgnoresWakes: "test_what_wakes_before_a_time_is_found_earliest_first",
    FindsWakesNewestFirst: "test_what_wakes_before_a_time_is_found_earliest_first",
    FindsWakesOfOpenRunsOnly: "test_what_wakes_before_a_time_is_found_earliest_first",
    CountIgnoresWakes: "test_what_wakes_before_a_time_is_found_earliest_first",
    TakesATokenForAnother: "test_the_page_token_of_another_order_is_refused",
    FindCutsAnyLimit: "test_an_impossible_limit_is_refused",
    PurgesOpenRuns: "test_an_open_run_or_another_version_is_not_purged",
    PurgeIgnoresExpect: "test_one_of_sixteen_purges_wins",
    PurgeLeavesNoTombstone: "test_a_tombstone_keeps_its_id_until_it_is_purged",
    PurgeKeepsTheVersion: "test_a_commit_that_knew_the_run_before_the_purge_is_stale",
    PurgeKeepsTheSteps: "test_the_steps_of_a_purged_run_do_not_come_back",
    PurgeTakesNeighboursAlong: "test_a_purge_touches_no_other_run",
    CreateOverwrites: "test_creating_a_taken_id_returns_what_is_stored",
    CreateLooksThenWrites: "test_one_of_sixteen_creators_wins",
    CreateLosesTheRunOfARefusedStep: "test_a_creation_whose_steps_repeat_stores_nothing",
    ForgetsAField: "test_every_field_of_a_run_is_read_back",
    CutsTextsAtNul: "test_odd_ids_are_only_ids",
    FoldsCase: "test_ids_that_look_alike_are_different_runs",
    WrapsHugeNumbers: "test_a_huge_number_is_stored_or_refused",
    CutsLargeValues: "test_large_values_are_kept_whole",
    LosesTagsThatComeBack: "test_any_operations_are_answered_as_by_the_model",
    ForgetsBefore: "test_find_filters_by_each_part",
    SearchesAnywhere: "test_a_search_is_the_beginning_of_the_id",
    SearchesByPattern: "test_a_search_has_no_special_characters",
    CountsOnePage: "test_a_count_is_by_flow_and_status_and_of_all_pages",
    CountsAllTags: "test_a_count_is_by_flow_and_status_and_of_all_pages",
    CountsWhatWasCreated: "test_a_count_sees_what_has_changed",
    ProbesNothing: "test_the_probe_finds_a_commit_that_ignores_the_version",
    ProbeLeavesARun: "test_the_probe_tries_and_leaves_nothing",
    ProbeHidesThatItIsAlone: "test_the_probe_says_if_other_processes_cannot_come",
}
ARGUMENTS: dict[str, dict[str, object]] = {
    "test_an_impossible_limit_is_refused": {"limit": 0},
    "test_odd_ids_are_only_ids": {"text": "a\0b"},
    "test_a_search_has_no_special_characters": {"text": "_"},
    "test_ids_that_look_alike_are_different_runs": {"one": "a", "other": "A"},
    "test_any_operations_are_answered_as_by_the_model": {"seed": 0},
    "test_a_huge_number_is_stored_or_refused": {"field": "generation"},
    "test_an_id_arrives_as_it_was_sent": {"run_id": "A.b_c~d-e"},
}


def passes(kit: object, name: str, fixtures: dict[str, object]) -> bool:
    """Run one test of *kit* with those of *fixtures* that it asks for; tell whether it passed."""
    test: Callable[..., None] = getattr(kit, name)
    every = fixtures | ARGUMENTS.get(name, {})
    asked = {parameter: every[parameter] for parameter in inspect.signature(test).parameters}
    try:
        test(**asked)
    except (AssertionError, pytest.fail.Exception):
        return False
    return True


def over(kind: type[Sound], name: str) -> bool:
    clock = FakeClock()
    storage = kind(clock)

    def damage(run_id: str, digest: str) -> None:
        storage._values[run_id, digest] = b"9999"

    damageable = issubclass(kind, DoesNotVerifyValues | VerifiesValues)
    with pytest.MonkeyPatch.context() as monkeypatch:
        fixtures: dict[str, object] = {
            "storage": storage,
            "clock": clock,
            "url": None,
            "damage": damage if damageable else None,
            "monkeypatch": monkeypatch,
        }
        return passes(StorageContract(), name, fixtures)


@pytest.mark.parametrize("kind", BROKEN_STORAGES, ids=lambda kind: kind.__name__)
def test_a_broken_storage_is_caught_by_the_test_meant_for_it(kind: type[Sound]) -> None:
    name = BROKEN_STORAGES[kind]
    assert over(VerifiesValues, name)
    assert not over(kind, name)


@pytest.mark.parametrize(
    "name",
    [
        "test_another_process_sees_what_was_committed",
        "test_one_of_several_processes_creates",
        "test_processes_that_append_at_once_lose_nothing",
        "test_processes_that_sweep_share_what_is_due",
    ],
)
def test_a_url_that_opens_another_storage_is_caught(name: str) -> None:
    storage = MemoryStorage(FakeClock())
    assert passes(StorageContract(), name, {"storage": storage, "url": None})
    storage = MemoryStorage(FakeClock())
    assert not passes(StorageContract(), name, {"storage": storage, "url": "memory:"})


def test_a_broken_storage_stands_for_one_guarantee() -> None:
    assert len(BROKEN_STORAGES) >= 40
    assert set(BROKEN_STORAGES.values()) <= set(dir(StorageContract))
    kinds = {*Sound.__subclasses__(), *UpsertsSteps.__subclasses__()}
    assert kinds - set(BROKEN_STORAGES) == {VerifiesValues}


# -- broken transports -------------------------------------------------------------------------


class SoundTransport:
    """A broker in memory: keeps a message until its handler returned, and delays by the clock."""

    carries = True
    longest_delay = 900.0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waiting: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        for message in messages:
            self.put(message.run_id, message.delay)

    def put(self, run_id: str, delay: float = 0.0) -> None:
        self.waiting.put((self.clock.now() + delay, run_id))

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                due, run_id = self.waiting.get(timeout=0.01)
            except queue.Empty:
                continue
            if due > self.clock.now():
                self.waiting.put((due, run_id))
                time.sleep(0.001)
            else:
                self.hand_over(handle, run_id)

    def hand_over(self, handle: Handle, run_id: str) -> None:
        try:
            handle(run_id)
        except Exception:  # noqa: BLE001  (not acknowledged, whatever it was)
            self.put(run_id)

    def close(self) -> None:
        """Nothing is open."""


class LosesMessages(SoundTransport):
    def put(self, run_id: str, delay: float = 0.0) -> None:
        if not run_id.endswith("7"):
            super().put(run_id, delay)


class SendsEachRunOnce(SoundTransport):
    """Takes a second message for a run for a duplicate, for ever."""

    sent: ClassVar[set[str]]

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.sent = set()  # type: ignore[misc]

    def put(self, run_id: str, delay: float = 0.0) -> None:
        if run_id not in self.sent:
            self.sent.add(run_id)
            super().put(run_id, delay)


class SendsTheFirstTen(SoundTransport):
    """Leaves out what a request of the queue has no room for."""

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        super().send(messages[:10])


class DropsEqualKeys(SoundTransport):
    """Takes messages for one when they name one commit, whatever the run."""

    keys: ClassVar[set[str]]

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.keys = set()  # type: ignore[misc]

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        super().send([message for message in messages if message.key not in self.keys])
        self.keys.update(message.key for message in messages if message.key)


class AcknowledgesFirst(SoundTransport):
    def hand_over(self, handle: Handle, run_id: str) -> None:
        with suppress(Exception):
            handle(run_id)


class DropsTheBatch(SoundTransport):
    """One handler that raised takes along what was fetched with it."""

    def hand_over(self, handle: Handle, run_id: str) -> None:
        try:
            handle(run_id)
        except Exception:  # noqa: BLE001
            while not self.waiting.empty():
                self.waiting.get()
            self.put(run_id)


class IgnoresDelay(SoundTransport):
    def put(self, run_id: str, delay: float = 0.0) -> None:
        super().put(run_id)


class ForgetsTheDelayed(SoundTransport):
    def put(self, run_id: str, delay: float = 0.0) -> None:
        if delay <= 0:
            super().put(run_id)


class IgnoresStop(SoundTransport):
    def listen(self, handle: Handle, stop: threading.Event) -> None:
        super().listen(handle, threading.Event())


class HandsOverAfterStop(SoundTransport):
    def listen(self, handle: Handle, stop: threading.Event) -> None:
        while not self.waiting.empty():
            handle(self.waiting.get()[1])
        super().listen(handle, stop)


class FoldsIds(SoundTransport):
    def put(self, run_id: str, delay: float = 0.0) -> None:
        super().put(run_id.lower(), delay)


class ClosesOnce(SoundTransport):
    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


BROKEN_TRANSPORTS: dict[type[SoundTransport], str] = {
    LosesMessages: "test_what_is_sent_is_handed_over",
    SendsEachRunOnce: "test_a_run_may_be_sent_again",
    SendsTheFirstTen: "test_all_of_a_batch_are_handed_over",
    DropsEqualKeys: "test_what_follows_different_commits_is_no_duplicate",
    AcknowledgesFirst: "test_a_message_whose_handler_raised_comes_again",
    DropsTheBatch: "test_a_handler_that_raised_takes_no_other_message_along",
    IgnoresDelay: "test_a_delayed_message_does_not_come_early",
    ForgetsTheDelayed: "test_a_delayed_message_does_not_come_early",
    IgnoresStop: "test_listen_returns_when_it_is_told_to_stop",
    HandsOverAfterStop: "test_listen_returns_at_once_when_it_was_told_before",
    FoldsIds: "test_an_id_arrives_as_it_was_sent",
    ClosesOnce: "test_it_may_be_closed_twice",
}


class Impatient(TransportContract):
    patience = 0.3


class TestSoundTransport(TransportContract):
    @pytest.fixture
    def transport(self, clock: Clock) -> ResumeTransport:
        return SoundTransport(clock)


def carried(kind: type[SoundTransport], name: str, kit: TransportContract) -> bool:
    clock = FakeClock()
    return passes(kit, name, {"transport": kind(clock), "clock": clock})


@pytest.mark.parametrize("kind", BROKEN_TRANSPORTS, ids=lambda kind: kind.__name__)
def test_a_broken_transport_is_caught_by_the_test_meant_for_it(kind: type[SoundTransport]) -> None:
    name = BROKEN_TRANSPORTS[kind]
    assert carried(SoundTransport, name, TransportContract())
    assert not carried(kind, name, Impatient())


def test_a_transport_that_carries_cannot_leave_redelivery_to_the_sweeper() -> None:
    class Lenient(Impatient):
        redelivers = False

    name = "test_a_message_whose_handler_raised_comes_again"
    assert not carried(AcknowledgesFirst, name, Lenient())


# -- the kit as a plugin's author meets it -------------------------------------------------------

INHERITED = """
import pytest
from sequential._memory import MemoryStorage
from sequential.testing import StorageContract

class Overwrites(MemoryStorage):
    def create(self, run, steps=()):
        self._runs.pop(run.run_id, None)
        return super().create(run, steps)

class TestMine(StorageContract):
    @pytest.fixture
    def storage(self, clock):
        return Overwrites(clock)
"""


@pytest.fixture
def author(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of somebody else's, with this package installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(sequential.__file__).parents[1]))
    return pytester


def test_one_fixture_is_enough_and_nothing_is_skipped(author: pytest.Pytester) -> None:
    author.makepyfile(INHERITED)
    done = author.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    counts = done.parseoutcomes()
    assert counts["passed"] >= 100
    assert set(counts) <= {"passed", "failed", "error"}
    done.stdout.fnmatch_lines(["*test_creating_a_taken_id_returns_what_is_stored*"])
    done.stdout.fnmatch_lines(["E*assert Run(*"])  # assertions of the kit show their values


def test_a_kit_without_its_fixture_says_what_to_do(author: pytest.Pytester) -> None:
    author.makepyfile(
        "from sequential.testing import StorageContract, TransportContract\n"
        "class TestStorage(StorageContract): pass\n"
        "class TestTransport(TransportContract): pass\n"
    )
    name = "not_there_is_none or listen_returns_when"
    done = author.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-k", name)
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*TestStorage has no storage to test: override the fixture*"])
    done.stdout.fnmatch_lines(["*TestTransport has no transport to test: override the fixture*"])


WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = sys.modules["hypothesis"] = None
from sequential import testing
assert testing.FakeClock().now() > 0
for name in ("StorageContract", "TransportContract"):
    try:
        getattr(testing, name)
    except ImportError as error:
        print(error)
assert not hasattr(testing, "Nonsense")
"""


def test_the_clock_needs_no_pytest_and_a_kit_says_how_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, check=False, text=True
    )
    assert done.stderr == ""
    assert done.stdout.count("needs pytest: pip install 'sequential-core[testing]'") == 2


def test_importing_the_clock_imports_no_pytest() -> None:
    code = "import sys, sequential.testing; print({'pytest', 'hypothesis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"
