"""Reading and writing heads: the compare-and-set that everything rests on.

A reply that says 412, 404 or 409, or that does not come, decides nothing by itself: the head is
read, and its nonce says whose write it holds. Knows nothing of markers and of the index.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from sequential.errors import OutcomeUnknown, RecordCorrupt, StorageError, StorageUnavailable
from sequential.storage import Run, is_same

from .bucket import TRIES, Bucket, Failed, Put
from .driver_errors import explain
from .head import Head, new_nonce, pack_head, unpack_head
from .keys import Keys, name_of

_REMEMBERED = 256


class Heads:
    """The heads of one storage, and what is remembered of those seen last."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self._bucket = bucket
        self._keys = keys
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, Head] = OrderedDict()

    def read(self, name: str, *, remember: bool = True) -> Head | None:
        """Return the head as it is stored, or None if there is none."""
        found = self._bucket.get(self._keys.head(name))
        if found is None:
            return None
        head = unpack_head(name, found.data, found.etag)
        if head.run is not None and name_of(head.run.run_id) != name:
            raise RecordCorrupt(name, f"its head is that of run {head.run.run_id!r}")
        if remember:
            self._remember(name, head)
        return head

    def known(self, expect: Run) -> Head | None:
        """Return the head that holds *expect*, read if it is not remembered; None if none does."""
        name = name_of(expect.run_id)
        with self._lock:
            seen = self._seen.get(name)
        if seen is not None and seen.run is not None and is_same(seen.run, expect):
            return seen
        head = self.read(name)
        if head is None or head.run is None or not is_same(head.run, expect):
            return None
        return head

    def write(
        self, name: str, head: Head, over: Head | None, before: Callable[[], object]
    ) -> tuple[bool, Head | None]:
        """Write *head* if what is stored is *over*; None stands for nothing.

        Args:
            name: Of the run.
            head: What to write; its nonce is made here.
            over: What must be stored.
            before: Called before each try.

        Returns:
            Whether it was written, and what is stored.

        Raises:
            OutcomeUnknown: It may have been written, and nobody could find out.
        """
        head = replace(head, nonce=new_nonce())
        data = pack_head(head, self._bucket.name)
        etag = over.etag if over else None
        unsure = False
        answer: str | Failed = ""
        for attempt in range(TRIES):
            before()
            answer = self._bucket.put_if(self._keys.head(name), data, etag)
            if isinstance(answer, str):
                head = replace(head, etag=answer)
                self._remember(name, head)
                return True, head
            unsure = unsure or answer.why is Put.UNSURE
            if answer.why is not Put.LOST:
                self._bucket.pause(attempt)
            stored = self._look(name, answer, unsure=unsure)
            if stored is not None and stored.nonce == head.nonce:
                return True, stored
            if not _same(stored, over):
                if unsure and stored is not None:
                    # It may have been written, and written over since: the caller's steps tell.
                    raise OutcomeUnknown(self._bucket.name, explain(answer.error))
                return False, stored
            etag = stored.etag if stored else None
        assert isinstance(answer, Failed)
        raise self._gave_up(answer, unsure=unsure)

    def _look(self, name: str, answer: Failed, *, unsure: bool) -> Head | None:
        """Return what is stored; where that is impossible, say what is known of the write."""
        try:
            return self.read(name)
        except StorageError as error:
            if unsure:
                reason = f"{explain(answer.error)}; and reading it back failed: {error}"
                raise OutcomeUnknown(self._bucket.name, reason) from answer.error
            raise

    def _gave_up(self, answer: Failed, *, unsure: bool) -> StorageError:
        if unsure:  # it is not there, but it may still be under way
            return OutcomeUnknown(self._bucket.name, explain(answer.error))
        return StorageUnavailable(self._bucket.name, explain(answer.error))

    def _remember(self, name: str, head: Head) -> None:
        with self._lock:
            self._seen[name] = head
            self._seen.move_to_end(name)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)


def _same(stored: Head | None, over: Head | None) -> bool:
    """Tell whether *stored* is what *over* was, be it written anew by a copy or a restore."""
    if stored is None or over is None:
        return stored is over
    if stored.run is None or over.run is None:
        return stored.nonce == over.nonce
    return is_same(stored.run, over.run)
