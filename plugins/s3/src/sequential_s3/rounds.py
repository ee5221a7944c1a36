"""The repair by itself: once a day, a little at each look for what is due.

Two objects stand where such a look lists first, so that nobody has to ask for them. One was written
when everything had been looked through; the other by who is at it, and says how far he is. Should
he die, another goes on there.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping

from sequential.errors import StorageError

from .bucket import Bucket
from .head import new_nonce
from .keys import Keys
from .stranded import PARTS, Stranded

DAY = 86_400.0
GIVEN_UP = 600.0
"""Seconds after which somebody who said nothing is not at it any more."""
SLICE = 20
"""Requests, or about so many, in one look for what is due."""

_log = logging.getLogger("sequential")


class Rounds:
    """Goes round one prefix. *now* is the storage's time."""

    def __init__(
        self, bucket: Bucket, keys: Keys, stranded: Stranded, now: Callable[[float], float]
    ) -> None:
        self._bucket = bucket
        self._keys = keys
        self._stranded = stranded
        self._now = now
        self._lock = threading.Lock()
        self._work: Generator[None, None, int] | None = None
        self._part = 0
        self._etag = ""
        self._said = 0.0

    def go_on(self, signs: Mapping[str, float]) -> None:
        """Look through a little, if it is time; *signs* are the two objects and their times.

        Says in the log if it found something, and if it could not be done: whoever asked for what
        is due is not to suffer from it.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._work is None:
                self._begin(signs)
            self._slice()
        except StorageError as error:
            self._work = None
            _log.warning("the daily repair was broken off, to be gone on with later: %s", error)
        finally:
            self._lock.release()

    def _begin(self, signs: Mapping[str, float]) -> None:
        now = self._now(0.0)
        done, begun = signs.get(self._keys.done), signs.get(self._keys.begun)
        if done is None:
            self._bucket.put(self._keys.done, b"")
        elif done + DAY <= now and (begun is None or begun + GIVEN_UP <= now):
            stored = self._bucket.get(self._keys.begun)
            self._part = 0 if stored is None else _read_part(stored.data)
            if self._say(None if stored is None else stored.etag):
                self._work = self._look()

    def _slice(self) -> None:
        if self._work is not None and self._said + GIVEN_UP / 3 <= self._now(0.0):
            self._say(self._etag)
        for _ in range(SLICE):
            if self._work is None:
                return
            try:
                next(self._work)
            except StopIteration as end:
                self._end_part(end.value)

    def _look(self) -> Generator[None, None, int]:
        return self._stranded.look(PARTS[self._part], lambda *_: None)

    def _end_part(self, armed: int) -> None:
        if armed:
            _log.warning(
                "%s: %d runs that nobody would have woken are woken now; nothing of ours leaves"
                " any: see that no rule of the bucket deletes objects below the prefix",
                self._bucket.name,
                armed,
            )
        self._part = (self._part + 1) % len(PARTS)
        self._work = self._look()
        if self._say(self._etag) and self._part == 0:
            self._work = None
            self._bucket.put(self._keys.done, b"")

    def _say(self, etag: str | None) -> bool:
        """Write how far we are; somebody else who did takes it over."""
        says = json.dumps({"part": self._part, "nonce": new_nonce()})
        answer = self._bucket.put_if(self._keys.begun, says.encode(), etag)
        if not isinstance(answer, str):
            self._work = None
            return False
        self._etag, self._said = answer, self._now(0.0)
        return True


def _read_part(data: bytes) -> int:
    try:
        return int(json.loads(data)["part"]) % len(PARTS)
    except (ValueError, LookupError, TypeError):
        return 0
