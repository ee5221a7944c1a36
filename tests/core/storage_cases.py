"""What every storage must do, as one class with a `storage` fixture to override.

Only the contract is used, so that a plugin can run the same class over its own storage. Time is
the `clock` fixture's, which the storage must have been opened with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

from sequential._model import (
    At,
    Attention,
    ErrorValue,
    In,
    Message,
    Open,
    Parent,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from sequential._storage import STALE, Loaded, Query, Stale, Storage
from sequential.errors import ConfigError, RecordCorrupt, SequentialError, ValueCorrupt
from sequential.testing import FakeClock

T = TypeVar("T")

NULL = Payload(b"null", size=4)
MEGABYTE = b'"' + b"x" * 1_000_000 + b'"'
ODD_TEXTS = [
    "",
    "a\0b",
    "é",
    "e\u0301",
    "\u202egnp.exe",
    "🦊",
    "' OR 1=1--",
    "name') OR 1=1--",
    '"; DROP TABLE runs; --',
    "%",
    "_",
    "$.a[0]",
    "{}",
    "null",
    "\n\r\t",
]


def plain(data: bytes) -> Payload:
    """Return *data*, a JSON text, as it is stored without codecs."""
    return Payload(data, size=len(data))


def make_run(run_id: str = "r1", **fields: Any) -> Run:
    """Return a paused run of the flow `f`."""
    return evolve(Run(run_id, "f", plain(b'{"id":1}'), op_id="first"), **fields)


def full_run(run_id: str = "full") -> Run:
    """Return a run in which no field has its default."""
    return Run(
        run_id=run_id,
        flow="f",
        input=plain(b'{"id":1}'),
        flow_version="2",
        generation=3,
        status=Status.FAILED,
        fence=4,
        owner="me",
        wake=At(1_700_000_100.0),
        cursor=5,
        stalls=6,
        open={"3.1": Open(StepKind.SIGNAL, "a.b", 2, 1, True, 9.5, "n", "{}", "e", 8.5, "fp")},
        inbox=(Message("m1", "n", Payload(b"\x00\xff", ("seal",), None, 7), 1.5),),
        seen=("m0", "m1"),
        attention=Attention("changed", "it changed", "- a\n+ b", 2.5, 3),
        notice=True,
        result=Payload(b"", (), "f" * 64, 70_000),
        error=ErrorValue("ValueError", "no", plain(b'{"a":[1]}'), False),
        parent=Parent("p", "3"),
        tags={"team": "a"},
        progress=plain(b"0.5"),
        trace={"traceparent": "00-1"},
        asked="c" * 64,
        begun=1_700_000_000.25,
        seeds=((0, "full:0"), (2, "full:3")),
        created=1_700_000_000.5,
        started=1_700_000_001.5,
        ended=1_700_000_002.5,
        version=1,
        op_id="op",
    )


def make_step(number: int, generation: int = 0, **fields: Any) -> StepRecord:
    """Return the record of a tool call at the position of its number."""
    step = StepRecord(
        generation=generation,
        number=number,
        position=str(number),
        kind=StepKind.TOOL,
        tool="api.user",
        fingerprint="fp",
        outcome=StepOutcome.VALUE,
        value=plain(b'{"n":%d}' % number),
        input=plain(b"[]"),
        attempts=1,
        started=1.5,
        ended=2.5,
        fence=1,
        op_id=f"op{number}",
    )
    return step._replace(**fields)


def applied(answer: Run | Stale) -> Run:
    """Return the run of a commit that must not have been stale."""
    assert isinstance(answer, Run)
    return answer


def found(loaded: Loaded | None) -> Loaded:
    """Return the snapshot of a run that must be there."""
    assert loaded is not None
    return loaded


def numbers(loaded: Loaded | None) -> list[int]:
    """Return the numbers of the steps of a snapshot."""
    return [step.number for step in found(loaded).steps]


def race(count: int, work: Callable[[int], T]) -> list[T]:
    """Call *work* on that many threads at once; return what they returned, in order."""
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def one(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001  (it is raised again below)
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(count)]


def ids(runs: Iterable[Run]) -> list[str]:
    """Return the ids of *runs*."""
    return [run.run_id for run in runs]


class StorageCases:
    """The contract, clause by clause."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        raise NotImplementedError

    # -- create

    def test_a_created_run_has_version_one_and_is_read_back(self, storage: Storage) -> None:
        created = storage.create(make_run())
        assert created.version == 1
        assert found(storage.load("r1")).run == created

    def test_every_field_of_a_run_is_read_back(self, storage: Storage) -> None:
        assert storage.create(full_run()) == full_run()
        assert found(storage.load("full")).run == full_run()

    def test_creating_a_taken_id_returns_what_is_stored(self, storage: Storage) -> None:
        first = storage.create(make_run(tags={"a": "1"}), (make_step(0),))
        again = storage.create(make_run(op_id="second", flow="other"), (make_step(0),))
        assert again == first
        assert numbers(storage.load("r1")) == [0]

    def test_a_run_is_created_with_its_steps(self, storage: Storage) -> None:
        storage.create(make_run(cursor=2), (make_step(0), make_step(1)))
        assert list(found(storage.load("r1")).steps) == [make_step(0), make_step(1)]

    def test_a_creation_whose_steps_repeat_stores_nothing(self, storage: Storage) -> None:
        with pytest.raises(RecordCorrupt):
            storage.create(make_run(), (make_step(0), make_step(1, position="0")))
        assert storage.load("r1") is None
        storage.create(make_run())
        assert numbers(storage.load("r1")) == []

    def test_a_run_that_does_not_say_when_is_created_now(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        assert storage.create(make_run()).created == clock.now()
        assert storage.create(make_run("r2", created=5.0)).created == 5.0

    def test_one_of_sixteen_creators_wins(self, storage: Storage) -> None:
        stored = race(16, lambda n: storage.create(make_run(op_id=f"op{n}")))
        assert len({run.op_id for run in stored}) == 1
        assert {run.version for run in stored} == {1}

    # -- load

    def test_a_run_that_is_not_there_is_none(self, storage: Storage) -> None:
        assert storage.load("nobody") is None

    def test_load_leaves_out_the_steps_before(self, storage: Storage) -> None:
        storage.create(make_run(), [make_step(n) for n in range(5)])
        assert numbers(storage.load("r1", after=3)) == [3, 4]
        assert numbers(storage.load("r1", after=5)) == []

    def test_steps_come_in_the_order_of_their_numbers(self, storage: Storage) -> None:
        run = storage.create(make_run())
        for number in range(12):
            step = make_step(number, position=str(99 - number))
            run = applied(storage.commit(run, run.version, (step,)))
        assert numbers(storage.load("r1")) == list(range(12))

    def test_load_tells_the_time(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        assert found(storage.load("r1")).now == clock.now()
        clock.advance(7)
        assert found(storage.load("r1")).now == clock.now()

    # -- commit

    def test_a_commit_writes_the_run_and_raises_its_version(self, storage: Storage) -> None:
        run = storage.create(make_run())
        changed = evolve(run, status=Status.RUNNING, fence=1, owner="me", op_id="second")
        answer = applied(storage.commit(changed, 1))
        assert answer == evolve(changed, version=2)
        assert found(storage.load("r1")).run == answer

    def test_every_field_but_the_unchanging_is_committed(self, storage: Storage) -> None:
        full = full_run()
        storage.create(make_run("full", flow=full.flow, parent=full.parent, created=full.created))
        answer = storage.commit(full, 1)
        assert answer == evolve(full, version=2)
        assert found(storage.load("full")).run == answer

    def test_a_commit_against_another_version_writes_nothing(self, storage: Storage) -> None:
        run = storage.create(make_run())
        before = storage.load("r1")
        for expect in (0, 2, 99, -1):
            assert storage.commit(evolve(run, owner="x"), expect, (make_step(0),)) is STALE
        assert storage.load("r1") == before

    def test_a_commit_to_a_run_that_is_not_there_is_stale(self, storage: Storage) -> None:
        assert storage.commit(make_run(), 0, (make_step(0),)) is STALE
        assert storage.commit(make_run(), 1) is STALE
        assert storage.load("r1") is None

    def test_the_record_that_is_handed_in_is_not_changed(self, storage: Storage) -> None:
        run = make_run(wake=In(5.0))
        storage.create(run)
        storage.commit(run, 1)
        assert run == make_run(wake=In(5.0))

    def test_steps_are_appended_and_read_back_whole(self, storage: Storage) -> None:
        run = storage.create(make_run())
        steps = [
            make_step(0),
            make_step(1, position="1.0", kind=StepKind.SLEEP, tool="", input=None),
            make_step(
                2, outcome=StepOutcome.ERROR, value=Payload(b"\x01\n\x00", ("zstd",), None, 9)
            ),
            make_step(3, value=Payload(b"", (), "a" * 64, 100_000), attempts=4),
        ]
        storage.commit(run, 1, steps)
        assert list(found(storage.load("r1")).steps) == steps

    def test_a_repeated_position_is_refused_and_nothing_is_written(self, storage: Storage) -> None:
        run = applied(storage.commit(storage.create(make_run()), 1, (make_step(0),)))
        before = storage.load("r1")
        with pytest.raises(RecordCorrupt, match="recorded already"):
            storage.commit(run, 2, (make_step(1), make_step(2, position="0")))
        assert storage.load("r1") == before
        storage.commit(run, 2, (make_step(1),))
        assert numbers(storage.load("r1")) == [0, 1]

    def test_a_new_generation_hides_the_steps_of_the_old(self, storage: Storage) -> None:
        run = storage.create(make_run(), (make_step(0), make_step(1)))
        answer = storage.commit(evolve(run, generation=1), 1, (make_step(0, generation=1),))
        assert applied(answer).generation == 1
        assert list(found(storage.load("r1")).steps) == [make_step(0, generation=1)]

    def test_one_of_sixteen_committers_wins(self, storage: Storage) -> None:
        run = storage.create(make_run())
        answers = race(
            16,
            lambda n: storage.commit(evolve(run, owner=str(n)), 1, (make_step(0, op_id=str(n)),)),
        )
        winners = [answer for answer in answers if isinstance(answer, Run)]
        loaded = found(storage.load("r1"))
        assert winners == [loaded.run]
        assert [step.op_id for step in loaded.steps] == [winners[0].owner]

    def test_a_snapshot_never_mixes_two_versions(self, storage: Storage) -> None:
        storage.create(make_run())
        rounds = 40

        def work(number: int) -> list[bool]:
            whole = []
            for count in range(rounds):
                if number == 0:
                    run = found(storage.load("r1")).run
                    storage.commit(evolve(run, cursor=count + 1), run.version, (make_step(count),))
                loaded = found(storage.load("r1"))
                whole.append(loaded.run.cursor == len(loaded.steps))
            return whole

        assert all(all(whole) for whole in race(4, work))

    # -- time

    def test_in_is_counted_from_the_storages_now(self, storage: Storage, clock: FakeClock) -> None:
        run = storage.create(make_run(wake=In(10.0)))
        assert run.wake == At(clock.now() + 10)
        clock.advance(100)
        run = applied(storage.commit(evolve(run, wake=In(60.0)), 1))
        assert run.wake == At(clock.now() + 60)
        assert found(storage.load("r1")).run.wake == run.wake

    def test_at_and_none_stay_as_they_are(self, storage: Storage) -> None:
        run = storage.create(make_run(wake=At(123.25)))
        assert run.wake == At(123.25)
        run = applied(storage.commit(evolve(run, wake=None), 1))
        assert run.wake is None
        assert found(storage.load("r1")).run.wake is None

    def test_the_skew_is_added(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        clock.set_skew(3600)
        assert found(storage.load("r1")).now == clock.now() + 3600

    def test_time_never_goes_back(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run())
        before = found(storage.load("r1")).now
        clock.advance(-10)
        assert found(storage.load("r1")).now == before
        clock.advance(11)
        assert found(storage.load("r1")).now == before + 1

    # -- due

    def test_due_runs_come_longest_due_first(self, storage: Storage, clock: FakeClock) -> None:
        now = clock.now()
        for run_id, wake in (("b", now - 1), ("a", now - 2), ("c", now), ("later", now + 1)):
            storage.create(make_run(run_id, wake=At(wake)))
        storage.create(make_run("signal", wake=None))
        assert list(storage.due(10, None, 30.0)) == ["a", "b", "c"]

    def test_due_gives_no_more_than_asked(self, storage: Storage) -> None:
        for number in range(5):
            storage.create(make_run(f"r{number}", wake=At(float(number + 1))))
        assert list(storage.due(2, None, 30.0)) == ["r0", "r1"]
        assert list(storage.due(2, None, 30.0)) == ["r2", "r3"]

    def test_a_run_that_was_handed_out_is_held(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run(wake=At(1.0)))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        assert list(storage.due(10, None, 30.0)) == []
        clock.advance(29)
        assert list(storage.due(10, None, 30.0)) == []
        clock.advance(1)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_a_commit_ends_the_hold(self, storage: Storage) -> None:
        run = storage.create(make_run(wake=At(1.0)))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        storage.commit(run, 1)
        assert list(storage.due(10, None, 30.0)) == ["r1"]

    def test_runs_of_any_status_are_due_when_their_wake_has_passed(self, storage: Storage) -> None:
        for status in Status:
            storage.create(make_run(status.value, status=status, wake=At(1.0)))
            storage.create(make_run(f"{status.value}-never", status=status, wake=None))
        assert set(storage.due(20, None, 30.0)) == {status.value for status in Status}

    def test_due_is_for_the_flows_that_are_named(self, storage: Storage) -> None:
        for flow in ("f", "g", "h' OR 1=1--"):
            storage.create(make_run(f"of-{flow[0]}", flow=flow, wake=At(1.0)))
        assert list(storage.due(10, [], 30.0)) == []
        assert list(storage.due(10, ["no"], 30.0)) == []
        assert set(storage.due(10, ["g", "h' OR 1=1--"], 30.0)) == {"of-g", "of-h"}
        assert list(storage.due(10, frozenset({"f"}), 30.0)) == ["of-f"]

    def test_two_sweepers_share_what_is_due(self, storage: Storage) -> None:
        for number in range(30):
            storage.create(make_run(f"r{number}", wake=At(1.0)))
        given = race(4, lambda _: list(storage.due(10, None, 30.0)))
        everything = [run_id for part in given for run_id in part]
        assert len(everything) == len(set(everything)) == 30

    # -- find

    def test_find_filters_by_each_part(self, storage: Storage) -> None:
        storage.create(make_run("a", created=1.0, flow="f", tags={"t": "1", "u": "1"}))
        storage.create(make_run("b", created=2.0, flow="g", tags={"t": "1"}))
        storage.create(make_run("c", created=3.0, status=Status.FAILED, parent=Parent("a", "0")))
        asked = {
            "everything": (Query(), ["c", "b", "a"]),
            "flow": (Query(flow="g"), ["b"]),
            "statuses": (Query(statuses=[Status.FAILED, Status.RUNNING]), ["c"]),
            "tag": (Query(tags={"t": "1"}), ["b", "a"]),
            "tags": (Query(tags={"t": "1", "u": "1"}), ["a"]),
            "tag of another value": (Query(tags={"t": "2"}), []),
            "since": (Query(since=2.0), ["c", "b"]),
            "parent": (Query(parent="a"), ["c"]),
            "all": (Query(flow="f", statuses=[Status.PAUSED], tags={"t": "1"}, since=0.5), ["a"]),
        }
        for name, (query, expected) in asked.items():
            assert ids(storage.find(query).runs) == expected, name

    def test_find_sees_what_a_commit_changed(self, storage: Storage) -> None:
        run = storage.create(make_run(tags={"a": "1", "b": "1"}))
        run = applied(storage.commit(evolve(run, status=Status.FAILED, tags={"b": "2"}), 1))
        assert list(storage.find(Query(statuses=[Status.FAILED], tags={"b": "2"})).runs) == [run]
        assert ids(storage.find(Query(tags={"a": "1"})).runs) == []
        assert ids(storage.find(Query(tags={"b": "1"})).runs) == []
        assert found(storage.load("r1")).run.tags == {"b": "2"}

    def test_a_stale_commit_changes_no_tags(self, storage: Storage) -> None:
        run = storage.create(make_run(tags={"a": "1"}))
        assert storage.commit(evolve(run, tags={"b": "1"}), 7) is STALE
        assert ids(storage.find(Query(tags={"a": "1"})).runs) == ["r1"]
        assert ids(storage.find(Query(tags={"b": "1"})).runs) == []

    def test_pages_have_no_gaps_while_runs_are_added(self, storage: Storage) -> None:
        for number in range(25):
            storage.create(make_run(f"r{number:02}", created=float(1 + number // 4)))
        seen: list[str] = []
        query: Query | None = Query(limit=4)
        while query is not None:
            page = storage.find(query)
            assert len(page.runs) <= 4
            seen += ids(page.runs)
            storage.create(make_run(f"new{len(seen)}", created=1000.0 + len(seen)))
            query = Query(limit=4, after=page.next) if page.next else None
        assert len(seen) == len(set(seen))
        assert set(seen) == {f"r{number:02}" for number in range(25)}
        assert seen[0] == "r24"
        assert seen[1:5] == ["r20", "r21", "r22", "r23"]

    def test_the_last_page_names_no_next(self, storage: Storage) -> None:
        storage.create(make_run("a"))
        storage.create(make_run("b"))
        assert storage.find(Query(limit=2)).next is None
        assert storage.find(Query(limit=1)).next is not None
        nothing = storage.find(Query(flow="none"))
        assert (list(nothing.runs), nothing.next) == ([], None)

    @pytest.mark.parametrize("limit", [0, -1, 1001, 2**63, True, "5", 1.5])
    def test_an_impossible_limit_is_refused(self, storage: Storage, limit: int) -> None:
        with pytest.raises(ConfigError, match="limit"):
            storage.find(Query(limit=limit))

    @pytest.mark.parametrize(
        "token",
        ["", "x", "' OR 1=1--", "bm90IGEgdG9rZW4=", "bmFuIHI=", "MS4wIA==", "é", "a" * 5000, "\0"],
    )
    def test_a_forged_page_token_is_refused(self, storage: Storage, token: str) -> None:
        storage.create(make_run())
        with pytest.raises(ConfigError, match="after"):
            storage.find(Query(after=token))

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_odd_texts_are_only_texts(self, storage: Storage, text: str) -> None:
        storage.create(make_run("plain", tags={"k": "v"}))
        run = storage.create(
            make_run("odd", flow=text, tags={text: text}, owner=text, parent=Parent(text, text))
        )
        assert found(storage.load("odd")).run == run
        assert ids(storage.find(Query(flow=text)).runs) == ["odd"]
        assert ids(storage.find(Query(tags={text: text})).runs) == ["odd"]
        assert ids(storage.find(Query(parent=text)).runs) == ["odd"]
        run = applied(storage.commit(evolve(run, wake=At(1.0)), 1, (make_step(0, position=text),)))
        assert list(storage.due(5, [text], 30.0)) == ["odd"]
        assert found(storage.load("odd")).steps[0].position == text

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_odd_ids_are_only_ids(self, storage: Storage, text: str) -> None:
        other = storage.create(make_run("other"))
        run = storage.create(make_run(text, wake=At(1.0)))
        assert found(storage.load(text)).run == run
        run = applied(storage.commit(evolve(run, status=Status.COMPLETED), 1, (make_step(0),)))
        assert storage.purge(text, 2)
        assert found(storage.load("other")).run == other

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
    def test_a_lone_surrogate_is_stored_or_refused(self, storage: Storage, text: str) -> None:
        try:
            run = storage.create(make_run(text))
        except SequentialError:
            return
        assert found(storage.load(text)).run == run

    def test_large_values_are_kept_whole(self, storage: Storage) -> None:
        run = storage.create(make_run(input=plain(MEGABYTE)))
        storage.commit(
            evolve(run, result=plain(MEGABYTE)), 1, (make_step(0, value=plain(MEGABYTE)),)
        )
        loaded = found(storage.load("r1"))
        assert loaded.run.input == loaded.run.result == loaded.steps[0].value == plain(MEGABYTE)

    # -- values

    @pytest.mark.parametrize("data", [b"", b"\0", b'{"a":1}', bytes(range(256)), MEGABYTE])
    def test_a_value_is_found_by_its_digest(self, storage: Storage, data: bytes) -> None:
        digest = storage.put_value("r1", data)
        assert storage.put_value("r1", data) == digest
        assert storage.get_value("r1", digest) == data

    @pytest.mark.parametrize("digest", ["0" * 64, "", "../x", "' OR 1=1--", "a\0b"])
    def test_a_value_that_is_not_there_is_corrupt(self, storage: Storage, digest: str) -> None:
        storage.put_value("r1", b"1")
        with pytest.raises(ValueCorrupt, match="missing"):
            storage.get_value("r1", digest)

    def test_a_run_cannot_read_the_values_of_another(self, storage: Storage) -> None:
        digest = storage.put_value("r1", b"secret")
        with pytest.raises(ValueCorrupt):
            storage.get_value("r2", digest)

    # -- purge

    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
    def test_an_ended_run_shrinks_to_a_tombstone(self, storage: Storage, status: Status) -> None:
        run = evolve(full_run(), status=status, error=None)
        storage.create(run, (make_step(0, generation=3),))
        digest = storage.put_value("full", b"large")
        assert storage.purge("full", 1)
        loaded = found(storage.load("full"))
        rest = loaded.run
        assert (rest.run_id, rest.flow, rest.status) == ("full", "f", Status.PURGED)
        assert (rest.created, rest.started, rest.ended) == (run.created, run.started, run.ended)
        assert (rest.input, rest.result, rest.tags, rest.inbox) == (NULL, None, {}, ())
        assert list(loaded.steps) == []
        assert ids(storage.find(Query(tags={"team": "a"})).runs) == []
        with pytest.raises(ValueCorrupt):
            storage.get_value("full", digest)

    def test_a_tombstone_keeps_its_id_until_it_is_purged(self, storage: Storage) -> None:
        storage.create(make_run(status=Status.COMPLETED))
        assert storage.purge("r1", 1)
        rest = found(storage.load("r1")).run
        assert storage.create(make_run()) == rest
        assert not storage.purge("r1", 1)
        assert storage.purge("r1", rest.version)
        assert storage.load("r1") is None
        assert not storage.purge("r1", rest.version)
        assert storage.create(make_run()).version == 1

    def test_an_open_run_or_another_version_is_not_purged(self, storage: Storage) -> None:
        for status in (Status.PAUSED, Status.RUNNING, Status.QUARANTINED):
            storage.create(make_run(status.value, status=status), (make_step(0),))
            assert not storage.purge(status.value, 1)
            assert numbers(storage.load(status.value)) == [0]
        storage.create(make_run("ended", status=Status.FAILED))
        assert not storage.purge("ended", 2)
        assert not storage.purge("nobody", 1)
        assert found(storage.load("ended")).run.status is Status.FAILED

    # -- itself

    def test_the_deployment_is_random_and_stays(self, storage: Storage) -> None:
        assert len(storage.deployment) >= 22
        assert storage.deployment == storage.deployment

    def test_the_probe_tries_and_leaves_nothing(self, storage: Storage) -> None:
        report = storage.probe()
        assert report.checks
        assert report.max_steps >= 10_000
        assert not storage.find(Query()).runs
