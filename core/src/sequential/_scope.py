"""What code inside a flow may ask about the run it belongs to.

Each flow has one `Scope`, in a context variable of its frame; `det`, `logger` and `is_pausing` read
it. Nothing here advances a flow or touches storage.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime

from . import _codec
from ._json import is_unicode
from ._progress import PROGRESS_LIMIT
from .errors import NotEncodable


class Scope:
    """The run that the current code belongs to, and how far its history has been replayed.

    Attributes:
        seeds: What deterministic values derive from: number of records, deployment and text; the
            last one whose number is not above *records* counts.
        records: Records that the flow has been given so far.
        now: Recorded end of the last of them; before the first, the run's creation.
        draws: Deterministic values taken since the last record.
        replaying: Whether records are left that the flow has not been given.
        behind: Whether what follows was recorded, or begun, in an earlier invocation.
        pausing: Whether the frame is being discarded.
        run_id: The run.
        created: When it was created.
        patches: Whether each patch that was asked for is in; those that the record has are.
        said: Progress, encoded, that the flow has published since it was called.
        gone: The first patch that code insisted on in a run without it.
    """

    __slots__ = (
        "behind", "created", "draws", "gone", "now", "patches", "pausing", "records", "replaying",
        "run_id", "said", "seeds",
    )  # fmt: skip

    def __init__(
        self,
        seeds: Sequence[tuple[int, str, str]],
        now: float,
        *,
        replaying: bool,
        run: tuple[str, float] = ("", 0.0),
    ) -> None:
        self.run_id, self.created = run
        self.seeds = seeds
        self.records = 0
        self.now = now
        self.draws = 0
        self.replaying = replaying
        self.behind = replaying
        self.pausing = False
        self.patches: dict[str, bool] = {}
        self.gone = ""
        self.said: bytes | None = None

    def is_patched(self, patch: str) -> bool:
        """Tell, the same for the whole run, whether it came to *patch* with the patch in its code.

        It did not if anything that follows was recorded, or begun, by code that did not ask.
        """
        return self.patches.setdefault(patch, not self.behind)

    def draw(self) -> bytes:
        """Return 32 bytes that are the same at this point of the flow in every invocation."""
        _, deployment, seed = [each for each in self.seeds if each[0] <= self.records][-1]
        point = f"{deployment}\0{seed}\0{self.records}:{self.draws}"
        self.draws += 1
        return hashlib.sha256(point.encode()).digest()


CURRENT: ContextVar[Scope | None] = ContextVar("sequential_scope", default=None)


def _scope(asked: str) -> Scope:
    scope = CURRENT.get()
    if scope is None:
        msg = f"{asked} only works inside a flow; elsewhere use the standard library"
        raise RuntimeError(msg)
    return scope


class Det:
    """Values that are the same on every replay, without a step and without a write."""

    def now(self) -> datetime:
        """Return when the last step was recorded, in UTC; before the first, the run's creation."""
        return datetime.fromtimestamp(_scope("det.now()").now, UTC)

    def random(self) -> float:
        """Return a number from 0 up to, but not including, 1."""
        return (int.from_bytes(_scope("det.random()").draw()[:7]) >> 3) * 2.0**-53

    def uuid4(self) -> uuid.UUID:
        """Return a UUID of version 4."""
        return uuid.UUID(bytes=_scope("det.uuid4()").draw()[:16], version=4)


det = Det()


def set_progress(value: object) -> None:
    """Publish how far this run is, for clients, the command line and the dashboard.

    Stored with whatever the run commits next: a step, a pause, an attempt that failed, its end; or
    with the renewal of its lease, while a tool takes long. Silent on replay, and no part of what a
    replay compares. A number from 0 to 1, an object with ``done``, ``total`` and ``text``, and a
    text are shown as such.

    Args:
        value: Anything that can be stored, up to 4 KiB encoded.

    Raises:
        NotEncodable: It cannot be stored, or is larger.
        RuntimeError: Called outside a flow.
    """
    scope = _scope("set_progress()")
    data = _codec.encode(value)
    if len(data) > PROGRESS_LIMIT:
        reason = f"progress has {len(data):,} bytes of {PROGRESS_LIMIT:,}; publish less of it"
        raise NotEncodable("$", type(value).__name__, reason)
    if not scope.replaying:
        scope.said = data


def patched(patch: str) -> bool:
    """Tell whether this run may go the new way of a change that *patch* names.

    True in new runs, and in runs that had not come so far when the change was deployed; False in
    those that had, at every call, on every replay. Neither a step nor a write of its own.

    Args:
        patch: 1 to 256 characters; another one for each change of a flow.

    Raises:
        RuntimeError: Called outside a flow.
    """
    return _asked("patched", patch).is_patched(patch)


def deprecate_patch(patch: str) -> None:
    """Say that only the new way of *patch* is left in the code.

    A run that went the old way is blocked, with that reason; when there are none any more, this
    call may go too.

    Raises:
        RuntimeError: Called outside a flow, or in a run that went the old way.
    """
    scope = _asked("deprecate_patch", patch)
    if not scope.is_patched(patch):
        scope.gone = scope.gone or patch
        raise RuntimeError(went_old_way(patch))


def went_old_way(patch: str) -> str:
    """Say that a run cannot go on in code that has only the new way of *patch*."""
    return (
        f"this run went the old way of patch {patch!r}, which is no longer in the code; deploy code"
        f" that asks patched({patch!r}), or fork the run before it"
    )


def _asked(asked: str, patch: str) -> Scope:
    given: object = patch
    if not isinstance(given, str) or not 0 < len(given) <= 256 or not is_unicode(given):
        msg = f"{given!r:.80} cannot name a patch; use text of 1 to 256 characters"
        raise ValueError(msg)
    return _scope(f"{asked}()")


def is_pausing() -> bool:
    """Tell cleanup code whether the frame is being discarded because the run pauses.

    ``finally`` blocks and ``with`` exits run at every discard of a frame; code in them that must
    only run when the flow really gets there asks this first. False outside a flow.
    """
    scope = CURRENT.get()
    return scope is not None and scope.pausing


class _SilentOnReplay(logging.Filter):
    """Drops what a flow logs again only because it is replayed, or discarded."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  (logging's signature)
        scope = CURRENT.get()
        return scope is None or not (scope.replaying or scope.pausing)


_SILENT = _SilentOnReplay()


def logger(name: str) -> logging.Logger:
    """Return the logger *name*, made silent while a flow is replayed."""
    found = logging.getLogger(name)
    found.addFilter(_SILENT)
    return found
