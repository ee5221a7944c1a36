"""An inline step beside one INSERT and commit of its columns, in a durable database."""

from __future__ import annotations

from collections.abc import Iterator

from sequential import Sequential

from .floors import CommitFloor, InsertFloor
from .grounds import Ground
from .measure import Between, Row, Size, carry, subject


def measure(ground: Ground, size: Size) -> Iterator[Row]:
    """Measure the step, and the storage's part of it."""
    bare = ground.bare()
    with Sequential(ground.url()) as other:
        between = Between(InsertFloor(bare).ready, CommitFloor(other.storage).ready)
        made = subject(between)
        with Sequential(ground.url(), registry=made.registry) as app:
            carry(app, made, between, size.operations)
    bare.close()
    floor, storage, step = between.floor(0), between.floor(1), between.step()
    what = f"inline step, {ground.name} / INSERT+COMMIT"
    yield Row(what, floor, step, step / floor, ground.inline)
    yield Row("  of which storage.commit()", floor, storage, storage / floor)
