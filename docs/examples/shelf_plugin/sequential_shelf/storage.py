"""ShelfStorage: the storage contract in one folder, a file for each run.

The first line of a run's file is its record, each line after it a step. A commit writes the file
anew, whole, so that record and steps change together; every operation holds the shelf's lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import struct
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from sequential.errors import (
    ConfigError,
    OutcomeUnknown,
    RecordCorrupt,
    SchemaTooNew,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.storage import (
    MAX_PAGE,
    STALE,
    At,
    Clock,
    Loaded,
    Page,
    Probe,
    Query,
    Run,
    Stale,
    Status,
    StepRecord,
    StorageTime,
    as_created,
    check_limit,
    evolve,
    is_asked_for,
    is_same,
    matches,
    pack_run,
    pack_step,
    page_of,
    refuse_repeat,
    resolve_wake,
    tombstone,
    try_contract,
    unpack_run,
    unpack_step,
)

from .folder import Unconfirmed, is_locked, locked, make_folder, remove, write_whole

FORMAT = 1
LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
MARK = struct.Struct("<d")  # what the lock holds: the latest time that anybody was told


class ShelfStorage:
    """Keeps runs in one folder. Holds nothing open between operations."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._time = StorageTime(clock)
        _make(folder)
        with self._alone():
            self._deployment = _set_up(folder)

    @property
    def deployment(self) -> str:
        return self._deployment

    def create(self, run: Run, steps: Sequence[StepRecord] = ()) -> Run:
        with self._alone() as now:
            path = self._path(run.run_id)
            if path.exists():
                return _read_run(path)
            run = as_created(run, now)
            _write(path, run, _appended(run, [], steps))
            return run

    def load(self, run_id: str, after: int = 0) -> Loaded | None:
        with self._alone() as now:
            path = self._path(run_id)
            if not path.exists():
                return None
            run, steps = _read(path)
            return Loaded(run, [step for step in steps if step.number >= after], now)

    def commit(self, run: Run, expect: Run, steps: Sequence[StepRecord] = ()) -> Run | Stale:
        with self._alone() as now:
            path = self._path(run.run_id)
            if not path.exists():
                return STALE
            stored, recorded = _read(path)
            if not is_same(stored, expect):
                return STALE
            run = evolve(run, version=stored.version + 1, wake=resolve_wake(run.wake, now))
            _write(path, run, _appended(run, recorded, steps))
            return run

    def due(self, limit: int, flows: Collection[str] | None, hold: float) -> Sequence[str]:
        limit = check_limit(min(limit, MAX_PAGE))
        with self._alone() as now:
            waiting = sorted(
                (run.wake.time, run.run_id, is_asked_for(run, flows), _mark(run))
                for run in self._all()
                if isinstance(run.wake, At) and run.wake.time <= now
            )
            handed = self._read_handed()
            found = [
                (run_id, mark)
                for _, run_id, asked, mark in waiting
                if asked and handed.get(mark, -math.inf) <= now - hold
            ][:limit]
            if found:
                known = {mark: handed[mark] for *_, mark in waiting if mark in handed}
                self._write_handed(known | {mark: now for _, mark in found})
            return [run_id for run_id, _ in found]

    def find(self, query: Query) -> Page:
        with self._alone():
            return page_of((run for run in self._all() if matches(run, query)), query)

    def count(self, query: Query) -> Mapping[tuple[str, Status], int]:
        with self._alone():
            return Counter((run.flow, run.status) for run in self._all() if matches(run, query))

    def put_value(self, run_id: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        with self._alone():
            place = self._values(run_id)
            make_folder(place)
            write_whole(place / digest, data)
        return digest

    def get_value(self, run_id: str, digest: str) -> bytes:
        with self._alone():
            # Listed, not opened: a digest is whatever somebody asks for, "../x" too.
            found = {path.name: path for path in _listed(self._values(run_id))}
            if digest not in found:
                raise ValueCorrupt(run_id, digest, "it is missing")
            data = found[digest].read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueCorrupt(run_id, digest, "its bytes have another digest")
        return data

    def purge(self, expect: Run) -> bool:
        with self._alone():
            path = self._path(expect.run_id)
            stored = _read_run(path) if path.exists() else None
            if stored is None or not is_same(stored, expect):
                return False
            rest = tombstone(stored)
            if rest is None and stored.status is not Status.PURGED:
                return False
            if rest is not None:
                _write(path, rest, [])
            remove(self._values(expect.run_id))  # the second time too, should the first have died
            if rest is None:
                remove(path)
            return True

    def probe(self) -> Probe:
        name = f"shelf:///{self._folder}"
        with self._alone():
            if not is_locked(self._folder / "lock"):
                raise StorageRefused(name, "its file system locks nothing; use a local one")
        checks = (*try_contract(self, name), "while one holds its lock, nobody else does")
        cannot = (
            "serve processes on other machines",
            "tell whether it lies on a network file system; it must not",
            "go on while a process is stopped in the middle of an operation",
            "keep a long history cheaply: each commit writes the whole run",
            "find, count or wake runs without a look at each of them",
        )
        return Probe(name, checks, cannot, max_steps=10_000)

    def close(self) -> None:
        """Do nothing: between operations nothing is open."""

    # -- the parts

    @contextmanager
    def _alone(self) -> Generator[float, None, None]:
        """Hold the shelf and give its time; what goes wrong inside is an error of the contract."""
        shelf = str(self._folder)
        try:
            with locked(self._folder / "lock") as lock:
                told = os.pread(lock, MARK.size, 0).ljust(MARK.size, b"\0")
                now = self._time.now(*MARK.unpack(told))
                os.pwrite(lock, MARK.pack(now), 0)
                yield now
        except Unconfirmed as error:
            raise OutcomeUnknown(shelf, str(error)) from error
        except OSError as error:
            kind = StorageRefused if error.errno in LASTING else StorageUnavailable
            raise kind(shelf, str(error)) from error
        except (UnicodeError, OverflowError) as error:
            raise StorageRefused(shelf, f"it cannot keep that text or number: {error}") from error

    def _path(self, run_id: str) -> Path:
        return self._folder / "runs" / f"{_name(run_id)}.jsonl"

    def _values(self, run_id: str) -> Path:
        return self._folder / "values" / _name(run_id)

    def _all(self) -> Iterator[Run]:
        return map(_read_run, (self._folder / "runs").glob("*.jsonl"))

    def _read_handed(self) -> dict[str, float]:
        """Return when which version of a run was handed out: a commit ends that by itself."""
        try:
            return cast("dict[str, float]", json.loads((self._folder / "handed").read_bytes()))
        except FileNotFoundError:
            return {}

    def _write_handed(self, handed: dict[str, float]) -> None:
        write_whole(self._folder / "handed", json.dumps(handed).encode())


def folder_in(url: str) -> Path:
    """Return the folder that ``shelf:///relative`` or ``shelf:////absolute`` names."""
    path = unquote(url.removeprefix("shelf:///"))
    if path in {"", url} or set(path) & set("?#\0"):
        raise ConfigError("storage", url, "write shelf:///folder or shelf:////absolute/folder")
    return Path(path)


def _make(folder: Path) -> None:
    try:
        make_folder(folder)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise StorageRefused(str(folder), f"it cannot be made there: {error}") from error
    if names and "lock" not in names:
        raise StorageForeign(str(folder), f"it holds other things, such as {min(names)}")


def _set_up(folder: Path) -> str:
    """Write what the shelf says of itself if it is new; return the deployment."""
    path = folder / "shelf.json"
    if not path.exists():
        make_folder(folder / "runs")
        make_folder(folder / "values")
        says = {"format": FORMAT, "deployment": secrets.token_hex(16)}
        write_whole(path, json.dumps(says).encode())
    try:
        found = json.loads(path.read_bytes())
        number, deployment = int(found["format"]), str(found["deployment"])
    except (ValueError, LookupError, TypeError) as error:
        raise StorageForeign(str(folder), f"its shelf.json cannot be read: {error}") from error
    if number > FORMAT:
        raise SchemaTooNew(str(folder), number, FORMAT)
    return deployment


def _name(run_id: str) -> str:
    """Return a file name that is right for any id: "a/b", "A" beside "a", 128 letters."""
    return hashlib.sha256(run_id.encode(errors="surrogatepass")).hexdigest()


def _write(path: Path, run: Run, steps: Sequence[StepRecord]) -> None:
    lines = [_line(pack_run(run)), *(_line(pack_step(step)) for step in steps)]
    write_whole(path, "".join(lines).encode())


def _read(path: Path) -> tuple[Run, list[StepRecord]]:
    with path.open("rb") as file:
        run = unpack_run(_row(path, next(file, b"")))
        return run, [unpack_step(run.run_id, _row(path, line)) for line in file]


def _read_run(path: Path) -> Run:
    with path.open("rb") as file:
        return unpack_run(_row(path, next(file, b"")))


def _line(row: tuple[object, ...]) -> str:
    """Return *row* as a line of JSON; bytes as a text that people can read, too."""
    return json.dumps(row, default=lambda data: {"bytes": data.decode("latin-1")}) + "\n"


def _row(path: Path, line: bytes) -> list[object]:
    try:
        row = json.loads(line, object_hook=lambda found: found["bytes"].encode("latin-1"))
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        raise RecordCorrupt(path.stem, f"{path}: {error}") from error
    if not isinstance(row, list) or not row:
        raise RecordCorrupt(path.stem, f"{path}: a line is no row of columns")
    return cast("list[object]", row)


def _appended(
    run: Run, recorded: Sequence[StepRecord], steps: Sequence[StepRecord]
) -> list[StepRecord]:
    """Return the history with *steps*; that of an older generation nobody can ask for again."""
    history = [step for step in recorded if step.generation == run.generation]
    taken = {step.position for step in history}
    for step in steps:
        if step.position in taken:
            refuse_repeat(run.run_id, step.position)
        taken.add(step.position)
    return [*history, *steps]


def _mark(run: Run) -> str:
    return json.dumps([run.run_id, run.version, run.op_id])


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
