"""A projection is, after a whole pass, what its source is, whatever happened before."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequential._memory import MemoryStorage
from sequential._projection import Copied, ProjectionFile, Projector, open_projection
from sequential._projection.copying import LOOKED_AGAIN, MARGIN, WHOLE_EVERY
from sequential._sqlite import open_sqlite
from sequential.errors import (
    RecordCorrupt,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.storage import (
    STALE,
    At,
    Loaded,
    Page,
    Query,
    Run,
    Status,
    StepRecord,
    Storage,
    evolve,
)
from sequential.testing import FakeClock
from sequential.testing._storage_samples import full_run, make_run, make_step

OPEN = (Status.PAUSED, Status.RUNNING, Status.QUARANTINED)
ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Source:
    """A storage of which somebody may lose the connection; counts what it is asked."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.asked: list[str] = []
        self.left: int | None = None

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        self._ask(f"load {run_id} from {after}")
        return self.storage.load(run_id, after)

    def find(self, query: Query) -> Page:
        self._ask("find")
        return self.storage.find(query)

    def _ask(self, what: str) -> None:
        if self.left == 0:
            raise StorageUnavailable("the source", "it was lost")
        self.left = None if self.left is None else self.left - 1
        self.asked.append(what)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a projection needs find and load, and nothing like {name}")


class World:
    """A source that changes, and a projection of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.runs = MemoryStorage(self.clock)
        self.source = Source(self.runs)
        self.path = str(folder / "p.db")
        self.into = ProjectionFile(self.path, self.clock, "memory://", self.runs.deployment)
        # What a Storage has beyond find and load is refused by `Source`.
        self.projector = Projector(self.source, self.into)
        self._ids = itertools.count()

    # -- what happens at the source

    def create(self, name: str, steps: int = 0, **fields: Any) -> None:
        run = make_run(name, op_id=self._op(), cursor=steps, wake=At(self.clock.now()), **fields)
        self.runs.create(run, [make_step(number) for number in range(steps)])

    def change(self, name: str, steps: int = 0, **fields: Any) -> None:
        """Commit *steps* more steps and *fields*; a run of a new generation begins anew."""
        loaded = self.runs.load(name)
        if loaded is None or loaded.run.status is Status.PURGED:
            return
        run = loaded.run
        generation = fields.get("generation", run.generation)
        begin = 0 if generation != run.generation else run.cursor
        made = [make_step(begin + n, generation, op_id=self._op()) for n in range(steps)]
        fields |= {"cursor": begin + steps, "op_id": self._op()}
        assert self.runs.commit(evolve(run, **fields), run, made) is not STALE

    def end(self, name: str, status: Status) -> None:
        later = At(self.clock.now() + 100.0)
        self.change(name, 1, status=status, ended=self.clock.now(), wake=later)

    def retry(self, name: str) -> None:
        loaded = self.runs.load(name)
        if loaded is not None and loaded.run.status in ENDS:
            anew = loaded.run.generation + 1
            self.change(name, 1, status=Status.PAUSED, generation=anew, ended=None)

    def purge(self, name: str) -> None:
        loaded = self.runs.load(name)
        if loaded is not None:
            self.runs.purge(loaded.run)

    def _op(self) -> str:
        return f"op{next(self._ids)}"

    # -- what the projection has

    def interrupted(self, after: int) -> None:
        """Begin a pass, and lose the source after as many questions."""
        self.source.left = after
        try:
            self.projector.go_on()
        except StorageUnavailable:
            pass
        finally:
            self.source.left = None

    def whole_pass(self) -> Copied:
        return self.projector.compare_all()

    def is_same(self, names: Iterator[str] | list[str]) -> bool:
        return all(content(self.runs, name) == content(self.into, name) for name in names)


def content(storage: Storage, name: str) -> tuple[Run, list[StepRecord]] | None:
    loaded = storage.load(name)
    return None if loaded is None else (loaded.run, list(loaded.steps))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.into.close()


NAMES = ["a", "b", "c", "d"]
names = st.sampled_from(NAMES)
events = st.one_of(
    st.tuples(st.just("create"), names, st.integers(0, 3)),
    st.tuples(st.just("change"), names, st.integers(0, 3)),
    st.tuples(st.just("end"), names, st.sampled_from(ENDS)),
    st.tuples(st.just("retry"), names),
    st.tuples(st.just("purge"), names),
    st.tuples(st.just("tag"), names, st.sampled_from(["x", "y"])),
    st.tuples(st.just("pass")),
    st.tuples(st.just("interrupted"), st.integers(0, 12)),
    st.tuples(st.just("later"), st.sampled_from([1.0, 2 * MARGIN, 2 * WHOLE_EVERY])),
)


@settings(max_examples=60)
@given(st.lists(events, max_size=25))
def test_after_a_whole_pass_it_is_what_the_source_is(happened: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        does: dict[str, Callable[..., object]] = {
            "create": world.create,
            "change": world.change,
            "end": world.end,
            "retry": world.retry,
            "purge": world.purge,
            "tag": lambda name, value: world.change(name, tags={"team": value}),
            "pass": world.projector.go_on,
            "interrupted": world.interrupted,
            "later": world.clock.advance,
        }
        for what, *how in happened:
            does[what](*how)
        # An ordinary pass has all that goes on, and nothing that goes on no more.
        world.projector.go_on()
        going = {run.run_id for run in world.runs.find(Query(statuses=OPEN)).runs}
        assert going == {run.run_id for run in world.into.find(Query(statuses=OPEN)).runs}
        assert world.is_same(list(going))
        # A whole one has everything, and finds it in every way.
        world.whole_pass()
        assert world.is_same(NAMES)
        for query in (Query(), Query(tags={"team": "x"}), Query(tags={"team": "y"})):
            assert list(world.into.find(query).runs) == list(world.runs.find(query).runs)
        assert world.whole_pass()._replace(looked=0) == Copied()
        world.into.close()


def test_a_record_is_copied_with_all_its_fields(world: World) -> None:
    world.runs.create(full_run(), [make_step(number, 3) for number in range(5)])
    world.projector.go_on()
    found = content(world.into, "full")
    assert found is not None
    assert found == content(world.runs, "full")


def test_a_run_that_goes_on_costs_its_new_steps_only(world: World) -> None:
    world.create("a", 3)
    world.projector.go_on()
    world.change("a", 2)
    world.source.asked.clear()
    assert world.projector.go_on() == Copied(looked=1, written=1)
    loads = [each for each in world.source.asked if each.startswith("load a from")]
    assert loads[1:] == ["load a from 2"]  # the first asked for the time
    assert world.is_same(["a"])


def test_what_has_ended_is_not_looked_at_again(world: World) -> None:
    for number in range(10):
        world.create(f"done{number}", 1)
        world.end(f"done{number}", Status.COMPLETED)
    world.create("open", 1)
    assert world.projector.go_on().looked == 11
    # Their time to be purged is to come, and they were not created since.
    world.clock.advance(MARGIN + 1)
    world.projector.go_on()
    world.source.asked.clear()
    assert world.projector.go_on() == Copied(looked=1)
    assert len(world.source.asked) == 3  # the time, what is open, what has ended since


def test_of_those_that_went_wrong_only_the_newest_are_looked_at_again(world: World) -> None:
    for number in range(LOOKED_AGAIN + 10):
        world.create(f"bad{number}")
        world.end(f"bad{number}", Status.FAILED)
    world.projector.go_on()
    world.clock.advance(MARGIN + 1)
    world.projector.go_on()
    assert world.projector.go_on() == Copied(looked=LOOKED_AGAIN)


def test_a_run_that_was_open_here_is_followed_to_its_end(world: World) -> None:
    for name in ("ended", "gone"):
        world.create(name, 1)
    world.projector.go_on()
    world.clock.advance(2 * MARGIN)
    world.projector.go_on()
    world.end("ended", Status.COMPLETED)
    world.end("gone", Status.COMPLETED)
    world.purge("gone")
    world.purge("gone")
    assert world.projector.go_on()._replace(looked=0) == Copied(written=1, removed=1)
    assert world.is_same(["ended", "gone"])


def test_a_run_whose_creator_told_an_earlier_time_is_found(world: World) -> None:
    world.create("a")
    world.projector.go_on()
    world.clock.advance(1.0)
    world.create("late", created=world.clock.now() - MARGIN / 2)
    world.end("late", Status.COMPLETED)
    world.projector.go_on()
    assert world.is_same(["late"])


def test_runs_that_are_gone_are_removed_when_all_are_compared(world: World) -> None:
    for name in NAMES:
        world.create(name)
        world.end(name, Status.COMPLETED)
        world.clock.advance(1.0)
    world.projector.go_on()
    for name in ("a", "c"):
        world.purge(name)
        world.purge(name)
    world.purge("b")
    assert world.whole_pass()._replace(looked=0) == Copied(written=1, removed=2)
    assert world.is_same(NAMES)


def test_all_are_compared_once_a_day(world: World) -> None:
    world.create("a")
    world.end("a", Status.COMPLETED)
    world.create("b")
    world.projector.go_on()
    world.purge("a")
    world.projector.go_on()
    assert world.is_same(["a"])  # created just now
    world.clock.advance(2 * MARGIN)
    world.projector.go_on()
    world.purge("a")
    assert world.projector.go_on().removed == 0
    world.clock.advance(WHOLE_EVERY)
    assert world.projector.go_on().removed == 1


def test_changed_tags_follow(world: World) -> None:
    world.create("a", tags={"team": "x", "kept": "yes"})
    world.projector.go_on()
    world.change("a", tags={"team": "y", "kept": "yes"})
    world.projector.go_on()
    found = [
        len(world.into.find(Query(tags=tags)).runs)
        for tags in ({"team": "x"}, {"team": "y"}, {"kept": "yes"})
    ]
    assert found == [0, 1, 1]


def test_a_failed_run_that_was_retried_and_ended_between_two_passes_is_found(
    world: World,
) -> None:
    world.create("a", 1)
    world.end("a", Status.FAILED)
    world.projector.go_on()
    world.clock.advance(3 * MARGIN)
    world.projector.go_on()
    world.retry("a")
    world.end("a", Status.COMPLETED)
    world.projector.go_on()
    assert world.is_same(["a"])


def test_tombstones_follow_when_the_time_to_purge_has_come(world: World) -> None:
    world.create("a", 1)
    world.end("a", Status.COMPLETED)
    world.projector.go_on()
    world.clock.advance(3 * MARGIN)
    world.projector.go_on()
    world.purge("a")
    world.create("b")
    world.projector.go_on()
    assert world.is_same(["a"])
    world.clock.advance(31 * 86_400.0)
    world.purge("a")
    world.projector.go_on()
    assert world.into.load("a") is None


def test_another_history_under_the_same_numbers_replaces_the_first(world: World) -> None:
    world.create("a", 3)
    world.projector.go_on()
    # A failover that lost commits: the same version, other steps.
    again = MemoryStorage(world.clock)
    again.create(
        make_run("a", op_id="other", cursor=2),
        [make_step(number, fingerprint="other") for number in range(2)],
    )
    Projector(again, world.into).go_on()
    assert content(world.into, "a") == content(again, "a")


def test_a_snapshot_never_replaces_what_another_process_wrote_meanwhile(world: World) -> None:
    world.create("a", 1)
    world.projector.go_on()
    known = world.into.known("a")
    old = world.runs.load("a")
    assert known is not None
    assert old is not None
    world.change("a", 1)
    world.projector.go_on()
    assert not world.into.put(old.run, old.steps, 0, known)
    assert not world.into.put(old.run, old.steps, 0, None)
    assert not world.into.remove("a", known)
    assert world.is_same(["a"])


def test_a_damaged_run_stays_as_it_was_and_the_others_follow(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.create("a", 1)
    world.projector.go_on()
    world.change("a", 1)
    world.create("b", 1)
    load = world.source.load

    def damaged(run_id: str, after: int = 0) -> Loaded | None:
        if run_id == "a":
            raise RecordCorrupt("a", "a step is missing")
        return load(run_id, after)

    monkeypatch.setattr(world.source, "load", damaged)
    monkeypatch.setattr(world.into, "newest", lambda: "b")
    world.projector.go_on()
    assert world.is_same(["b"])
    assert not world.is_same(["a"])
    assert "left as it was projected" in caplog.text


def test_how_far_it_came_is_written_last(world: World) -> None:
    world.create("a", 1)
    world.interrupted(3)
    assert world.into.marks() == (None, None)
    world.projector.go_on()
    assert world.into.marks() == (world.clock.now(), world.clock.now())


def test_statistics_are_made_after_a_pass_and_seen_by_who_looks(world: World) -> None:
    world.create("a")
    world.projector.go_on()
    now = world.clock.now()
    step = make_step(0, op_id="done", started=now, ended=now + 2.0)
    run = world.runs.load("a")
    assert run is not None
    done = evolve(run.run, cursor=1, op_id="done")
    assert world.runs.commit(done, run.run, [step]) is not STALE
    world.clock.advance(3600.0)
    world.projector.go_on()
    storage = open_projection(f"projection:///{world.path}", world.clock)
    rolled = storage.rollups(0.0, world.clock.now())
    assert [(row.tool, row.calls, row.longest) for row in rolled.rows] == [("api.user", 1, 2.0)]
    assert rolled.until == world.clock.now()
    storage.close()


# -- looking at it


@pytest.fixture
def projected(world: World) -> World:
    world.create("a", 2)
    world.end("a", Status.COMPLETED)
    world.create("b")
    world.projector.go_on()
    return world


WRITES: dict[str, Callable[[Storage, Run], object]] = {
    "create": lambda storage, run: storage.create(make_run("new")),
    "commit": lambda storage, run: storage.commit(evolve(run, op_id="next"), run),
    "due": lambda storage, run: storage.due(10, None, 30.0),
    "put_value": lambda storage, run: storage.put_value("a", b"1"),
    "purge": lambda storage, run: storage.purge(run),
    "roll_up": lambda storage, run: storage.roll_up(),  # type: ignore[attr-defined]
    "drop_values": lambda storage, run: storage.drop_values("a"),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("operation", WRITES)
def test_nobody_writes_through_it(projected: World, operation: str) -> None:
    storage = open_projection(f"projection:///{projected.path}", projected.clock)
    found = storage.load("a")
    assert found is not None
    with pytest.raises(StorageRefused, match=r"to act name memory://"):
        WRITES[operation](storage, found.run)
    assert content(storage, "a") == content(projected.runs, "a")
    storage.close()


def test_its_connections_refuse_writes_by_themselves(projected: World) -> None:
    storage = open_projection(f"projection:///{projected.path}", projected.clock)
    with (
        pytest.raises(StorageRefused, match="read-only"),
        storage._connections.writing() as connection,
    ):
        connection.execute("DELETE FROM runs")
    storage.close()


def test_it_has_the_deployment_of_its_source(projected: World) -> None:
    storage = open_projection(f"projection:///{projected.path}", projected.clock)
    assert storage.deployment == projected.runs.deployment
    assert (storage.source, storage.upto) == ("memory://", projected.clock.now())
    storage.close()


def test_a_probe_looks_only_and_says_how_far_it_came(projected: World) -> None:
    before = Path(projected.path).read_bytes()
    storage = open_projection(f"projection:///{projected.path}", projected.clock)
    projected.clock.advance(7)
    probe = storage.probe()
    assert "the last whole pass over memory:// began 7 s ago" in probe.checks
    assert any("change runs" in line for line in probe.cannot)
    storage.close()
    assert Path(projected.path).read_bytes() == before


def test_one_that_was_begun_says_that_it_shows_nothing_yet(world: World) -> None:
    storage = open_projection(f"projection:///{world.path}", world.clock)
    assert any("no pass" in line for line in storage.probe().cannot)
    storage.close()


def test_a_large_value_is_not_there_and_its_error_says_where_it_is(projected: World) -> None:
    storage = open_projection(f"projection:///{projected.path}", projected.clock)
    with pytest.raises(ValueCorrupt, match="--values"):
        storage.get_value("a", "f" * 64)
    storage.close()


def test_each_kind_of_file_is_opened_by_its_own_scheme_only(
    projected: World, tmp_path: Path
) -> None:
    with pytest.raises(StorageForeign, match=r"projection:///.*p\.db"):
        open_sqlite(f"sqlite:///{projected.path}", projected.clock)
    open_sqlite(f"sqlite:///{tmp_path}/runs.db", projected.clock).close()
    with pytest.raises(StorageForeign, match=r"sqlite:///.*runs\.db"):
        open_projection(f"projection:///{tmp_path}/runs.db", projected.clock)
    with pytest.raises(StorageForeign, match=r"sqlite:///.*runs\.db"):
        ProjectionFile(f"{tmp_path}/runs.db", projected.clock, "s3://b", "other")


def test_a_file_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StorageForeign, match=r"project --into .*typo\.db"):
        open_projection(f"projection:///{tmp_path}/typo.db", FakeClock())
    assert not list(tmp_path.iterdir())


def test_a_projection_of_another_storage_is_left_alone(projected: World) -> None:
    with pytest.raises(StorageForeign, match="--into"):
        ProjectionFile(projected.path, projected.clock, "s3://other", "another")
    assert projected.is_same(["a", "b"])


def test_what_a_pass_asks_by_is_indexed(projected: World) -> None:
    connection = sqlite3.connect(projected.path)
    for statement in ("status IN ('paused', 'running')", "wake <= 5"):
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM runs WHERE {statement}")
        assert "USING" in plan.fetchall()[0][3]
    connection.close()
