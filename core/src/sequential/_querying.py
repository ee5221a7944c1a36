"""What a client asks of runs, as the query of a storage: each part checked, times as numbers.

Knows no storage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ._model import Status
from ._storage import Query
from .errors import ConfigError


def query_of(
    who: str,
    flow: str | None,
    status: Status | str | Sequence[Status | str],
    tags: Mapping[str, str] | None,
    times: Sequence[datetime | None],
    search: str | None,
) -> Query:
    """Return the query of *who*, a method; *times* are since, before and wakes before.

    Raises:
        ConfigError: A part cannot be used.
    """
    some = [status] if isinstance(status, str) else status
    try:
        since, before, wakes = [None if time is None else time.timestamp() for time in times]
        statuses = tuple(Status(each) for each in some)
    except (AttributeError, ValueError, OverflowError, OSError) as error:
        known = ", ".join(Status)
        remedy = f"a status is one of {known}; the others are each a time that a clock can show"
        raise ConfigError(who, f"{error!s:.100}", remedy) from None
    if not isinstance(search, str | None):
        raise ConfigError("search", f"{search!r:.100}", "give the text that the ids begin with")
    return Query(
        flow, statuses, tags or {}, since, before=before, search=search, wakes_before=wakes
    )
