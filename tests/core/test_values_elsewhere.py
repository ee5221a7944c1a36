"""Large values in another storage than the records."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import cast

import pytest

from sequential import Registry, Sequential, Steps, flow, tool
from sequential._config import load
from sequential._memory import MemoryStorage
from sequential._sqlite.storage import SqliteStorage
from sequential._values_elsewhere import ValuesElsewhere
from sequential.errors import ConfigError, SchemeUnknown, StorageUnavailable, ValueCorrupt
from sequential.storage import Status, Storage, ValuePlace
from sequential.testing import FakeClock, StorageContract
from tests.core.storage_cases import found, make_run

LARGE = "x" * 200_000


class TestInMemory(StorageContract):
    """The wrapper keeps the contract because both of its parts do."""

    @pytest.fixture
    def storage(self, clock: FakeClock) -> Storage:
        return ValuesElsewhere(MemoryStorage(clock), MemoryStorage(clock))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runs(clock: FakeClock) -> MemoryStorage:
    return MemoryStorage(clock)


@pytest.fixture
def values(clock: FakeClock) -> MemoryStorage:
    return MemoryStorage(clock)


@pytest.fixture
def both(runs: MemoryStorage, values: MemoryStorage) -> ValuesElsewhere:
    return ValuesElsewhere(runs, values)


def test_a_value_is_kept_there_and_the_record_here(
    both: ValuesElsewhere, runs: MemoryStorage, values: MemoryStorage
) -> None:
    run = both.create(make_run())
    digest = both.put_value("r1", b"large")
    assert both.get_value("r1", digest) == b"large"
    assert values.get_value(f"{runs.deployment}.r1", digest) == b"large"
    with pytest.raises(ValueCorrupt):
        runs.get_value("r1", digest)
    assert found(runs.load("r1")).run == run
    assert values.load("r1") is None


def test_a_purge_drops_the_values_of_that_run_alone(both: ValuesElsewhere) -> None:
    run = both.create(make_run(status=Status.COMPLETED))
    gone, kept = both.put_value("r1", b"large"), both.put_value("r10", b"large")
    assert both.purge(run)
    with pytest.raises(ValueCorrupt, match="of run 'r1'"):
        both.get_value("r1", gone)
    assert both.get_value("r10", kept) == b"large"


def test_two_deployments_may_share_a_place_and_use_the_same_ids(
    both: ValuesElsewhere, values: MemoryStorage, clock: FakeClock
) -> None:
    other = ValuesElsewhere(MemoryStorage(clock), values)
    run = both.create(make_run(status=Status.COMPLETED))
    digest = both.put_value("r1", b"large")
    with pytest.raises(ValueCorrupt):
        other.get_value("r1", digest)
    assert other.put_value("r1", b"large") == digest
    assert both.purge(run)
    with pytest.raises(ValueCorrupt):
        both.get_value("r1", digest)
    assert other.get_value("r1", digest) == b"large"


def test_values_under_the_bare_id_are_read_and_left_to_whom_they_belong(
    both: ValuesElsewhere, values: MemoryStorage
) -> None:
    run = both.create(make_run(status=Status.COMPLETED))
    digest = values.put_value("r1", b"before places could be shared")
    assert both.get_value("r1", digest) == b"before places could be shared"
    assert both.purge(run)
    assert values.get_value("r1", digest) == b"before places could be shared"


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING])
def test_what_may_not_be_purged_keeps_its_values(both: ValuesElsewhere, status: Status) -> None:
    run = both.create(make_run(status=status))
    digest = both.put_value("r1", b"large")
    assert not both.purge(run)
    assert both.get_value("r1", digest) == b"large"


def test_a_purge_that_knows_another_version_drops_nothing(
    both: ValuesElsewhere, runs: MemoryStorage
) -> None:
    run = both.create(make_run(status=Status.COMPLETED))
    assert both.purge(run)
    tombstone = found(runs.load("r1")).run
    assert runs.purge(tombstone)
    both.create(make_run(op_id="somebody else"))
    digest = both.put_value("r1", b"large")
    assert not both.purge(run)
    assert not both.purge(tombstone)
    assert both.get_value("r1", digest) == b"large"


def test_values_left_by_a_crash_go_with_the_tombstone(
    both: ValuesElsewhere,
    runs: MemoryStorage,
    values: MemoryStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = both.create(make_run(status=Status.COMPLETED))
    digest = both.put_value("r1", b"large")

    def fail(run_id: str) -> None:
        raise StorageUnavailable("values", f"{run_id}: it is down")

    with monkeypatch.context() as patch:
        patch.setattr(values, "drop_values", fail)
        with pytest.raises(StorageUnavailable):
            both.purge(run)
        tombstone = found(runs.load("r1")).run
        assert tombstone.status is Status.PURGED
        with pytest.raises(StorageUnavailable):
            both.purge(tombstone)
    assert found(runs.load("r1")).run == tombstone
    assert both.get_value("r1", digest) == b"large"
    assert both.purge(tombstone)
    assert runs.load("r1") is None
    with pytest.raises(ValueCorrupt):
        both.get_value("r1", digest)


def test_values_that_are_older_than_the_setting_are_found(
    both: ValuesElsewhere, runs: MemoryStorage
) -> None:
    digest = runs.put_value("r1", b"large")
    assert both.get_value("r1", digest) == b"large"
    with pytest.raises(ValueCorrupt, match="missing"):
        both.get_value("r1", "0" * 64)


# -- by configuration


def registry() -> Registry:
    made = Registry()

    @tool("t", "large", registry=made)
    def large() -> str:
        return LARGE

    @flow(name="copying", registry=made)
    def copying() -> Steps[str]:
        return (yield from large())

    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = 'storage = "sqlite:///runs.db"\nvalues = "sqlite:///values.db"\n'
    (tmp_path / "sequential.toml").write_text(settings)
    return tmp_path


def configured() -> Sequential:
    return Sequential(**load({}, {}, Path.cwd()).arguments(), registry=registry())


def files(project: Path, name: str) -> bytes:
    return b"".join(each.read_bytes() for each in project.glob(f"{name}.db*"))


def test_a_line_of_configuration_is_enough(project: Path) -> None:
    with configured() as app:
        assert app.run("copying", run_id="r1") == LARGE
        assert "values in" in app.probe().storage
    assert LARGE[:1000].encode() not in files(project, "runs")
    assert LARGE[:1000].encode() in files(project, "values")
    with configured() as app:
        assert app.run("copying", run_id="r1") == LARGE  # read back
        assert app.purge("r1")
    with sqlite3.connect(project / "values.db") as database:
        assert database.execute("SELECT count(*) FROM stored_values").fetchone() == (0,)
    database.close()


def test_a_storage_that_cannot_hold_values_of_others_is_refused() -> None:
    class Bare:
        def __getattr__(self, name: str) -> object:
            if name == "drop_values":
                raise AttributeError(name)
            return getattr(storage, name)

    storage = MemoryStorage(FakeClock())
    bare = cast("ValuePlace", Bare())
    with pytest.raises(ConfigError, match=r"values = 'Bare'.*drop_values"):
        Sequential(storage, values=bare, plugins=[])


def test_the_runs_are_closed_if_the_place_of_the_values_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[SqliteStorage] = []

    def close(storage: SqliteStorage) -> None:
        closed.append(storage)

    monkeypatch.setattr(SqliteStorage, "close", close)
    with pytest.raises(SchemeUnknown):
        Sequential(f"sqlite:///{tmp_path}/r.db", values="nowhere://", plugins=[])
    assert len(closed) == 1
    monkeypatch.undo()
    closed[0].close()


def test_a_secret_in_the_url_is_not_shown() -> None:
    found = load({"values": "sqlite:///v.db?password=hidden"}, {}, Path("nowhere"))
    assert found.values.endswith("hidden")
    assert "hidden" not in repr(found)
    assert load({"values": ""}, {"SEQUENTIAL_VALUES": ""}, Path("nowhere")).values == ""
