"""The contract, over the storages of the core."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential._memory import MemoryStorage, open_memory
from sequential._model import At, In, evolve
from sequential._sqlite import open_sqlite
from sequential._storage import Storage
from sequential._storage_rules import end_of_prefix
from sequential.errors import ConfigError
from sequential.testing import FakeClock, StorageContract
from tests.core.storage_cases import applied, found, make_run

TEXTS = st.text(
    st.sampled_from("ab\0\ud7ff\ue000\U0010ffff") | st.characters(codec="utf-8"), max_size=4
)


@given(TEXTS, TEXTS)
def test_what_begins_so_is_a_stretch_of_an_index(prefix: str, rest: str) -> None:
    end = end_of_prefix(prefix)
    for text in (prefix + rest, rest, rest + prefix):
        inside = prefix.encode() <= text.encode() and (end is None or text.encode() < end.encode())
        assert inside == text.startswith(prefix)


class HostTime(StorageContract):
    """The contract, and the time of the host to the second."""

    def test_a_run_is_created_at_the_hosts_time(self, storage: Storage, clock: FakeClock) -> None:
        assert storage.create(make_run()).created == clock.now()
        assert found(storage.load("r1")).now == clock.now()
        clock.advance(7)
        assert found(storage.load("r1")).now == clock.now()
        clock.set_skew(3600)
        assert found(storage.load("r1")).now == clock.now() + 3600

    def test_in_is_counted_to_the_second(self, storage: Storage, clock: FakeClock) -> None:
        run = storage.create(make_run(wake=In(10.0)))
        assert run.wake == At(clock.now() + 10)
        clock.advance(100)
        run = applied(storage.commit(evolve(run, wake=In(60.0)), run))
        assert run.wake == At(clock.now() + 60)
        assert found(storage.load("r1")).run.wake == run.wake

    def test_a_host_that_steps_back_stops_the_time(
        self, storage: Storage, clock: FakeClock
    ) -> None:
        storage.create(make_run())
        before = found(storage.load("r1")).now
        clock.advance(-10)
        assert found(storage.load("r1")).now == before
        clock.advance(11)
        assert found(storage.load("r1")).now == before + 1

    def test_a_run_is_due_to_the_second(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run(wake=At(clock.now())))
        storage.create(make_run("later", wake=At(clock.now() + 1)))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        clock.advance(1)
        assert list(storage.due(10, None, 30.0)) == ["later"]

    def test_a_hold_ends_to_the_second(self, storage: Storage, clock: FakeClock) -> None:
        storage.create(make_run(wake=At(clock.now())))
        assert list(storage.due(10, None, 30.0)) == ["r1"]
        clock.advance(29)
        assert list(storage.due(10, None, 30.0)) == []
        clock.advance(1)
        assert list(storage.due(10, None, 30.0)) == ["r1"]


class TestMemory(HostTime):
    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        return MemoryStorage(clock)

    def test_its_url_takes_nothing_else(self, clock: FakeClock) -> None:
        assert open_memory("memory://", clock).deployment
        with pytest.raises(ConfigError):
            open_memory("memory://flows", clock)


class TestSqlite(HostTime):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        # What a power failure would do is not tested here, so nothing waits for the disk.
        return f"sqlite:///{tmp_path}/flows.db?synchronous=normal"

    @pytest.fixture
    def storage(self, url: str, clock: FakeClock) -> Iterator[Storage]:
        storage = open_sqlite(url, clock)
        yield storage
        storage.close()

    @pytest.fixture
    def damage(self, storage: Storage, tmp_path: Path) -> Callable[[str, str], None]:
        def change(run_id: str, digest: str) -> None:
            where = "WHERE run_id = ? AND digest = ?"
            with closing(sqlite3.connect(tmp_path / "flows.db")) as connection, connection:
                done = connection.execute(
                    f"UPDATE stored_values SET data = x'00' {where}", (run_id, digest)
                )
                assert done.rowcount == 1

        return change
