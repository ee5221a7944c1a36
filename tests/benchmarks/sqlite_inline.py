"""An inline step on SQLite, ``synchronous=FULL``, beside one INSERT and commit of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sequential import Sequential

from .floors import CommitFloor, InsertFloor
from .measure import Between, Row, Size, carry, subject


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure the step, and the storage's part of it."""
    insert = InsertFloor(folder / "insert.db")
    commit = CommitFloor(folder / "commit.db")
    between = Between(insert.ready, commit.ready)
    made = subject(between)
    with Sequential(f"sqlite:///{folder}/inline.db", registry=made.registry) as app:
        carry(app, made, between, size.operations)
    floor, storage, step = between.floor(0), between.floor(1), between.step()
    yield Row("inline step, SQLite / INSERT+COMMIT", floor, step, step / floor, 1.5)
    yield Row("  of which storage.commit()", floor, storage, storage / floor)
