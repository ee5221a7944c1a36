"""What clients may do: start runs, look at them, tell them things. One method per operation.

Each is asked for by its name in the table of `routes`, on a thread, with a `Call`. Knows no
framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sequential import Sequential
from sequential.errors import (
    ConfigError,
    FlowNotFound,
    InputMismatch,
    NotEncodable,
    RunIdInvalid,
    RunMissing,
    RunStatusWrong,
    RunTaken,
    SignalMismatch,
    ValueMismatch,
)
from sequential.storage import Loaded, Page, Run, Status

from .access import Access, Action, Authorise
from .exchange import Answer, Call, Refusal, bad_request, not_found
from .views import ended_data, run_data, step_data

_PAGE = 100
_MOST_PAGES = 20  # of runs of others, until one is asked to look for less
_HEAD_ONLY = 1 << 30  # no generation has as many steps
_MOST_TAGS = 32
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LONGEST = 100 * 365 * 86_400  # seconds until a deadline: a moment that every clock can show


class Api:
    """The operations, for one application.

    Args:
        app: The application.
        flows: Names of the flows that clients may start.
        authorise: Says what is allowed.
    """

    def __init__(self, app: Sequential, flows: Sequence[str], authorise: Authorise) -> None:
        self._app = app
        self._flows = frozenset(flows)
        self._authorise = authorise

    def admit(self, action: Action, call: Call) -> None:
        """Ask whether *call* may do *action* at all, before its body is read.

        Raises:
            Refusal: 401.
        """
        if not self._authorise(Access(action, call)):
            raise Refusal(401, "unauthorised")

    def start(self, call: Call) -> Answer:
        """Start a run of a listed flow, or find the one that was started before."""
        fields = frozenset({"flow", "input", "run_id", "tags", "deadline"})
        given = call.document(fields, frozenset({"flow"}))
        flow, run_id = _text(given, "flow"), _text(given, "run_id")
        tags = _tags(given.get("tags") or {})
        if "run_id" in given and not run_id:
            raise bad_request("run_id is empty; leave it out for a random one")
        deadline = _deadline(given.get("deadline"))
        access = Access("start", call, flow=flow, run_id=run_id, tags=tags)
        if flow not in self._flows or not self._authorise(access):
            raise not_found()
        try:
            started = self._app.start(
                flow, given.get("input"), run_id=run_id or None, tags=tags, deadline=deadline
            )
        except RunTaken:
            raise _taken() from None
        except FlowNotFound:
            raise not_found() from None
        except (RunIdInvalid, InputMismatch, ValueMismatch, NotEncodable, ConfigError) as error:
            raise bad_request(_cut(error)) from None
        if run_id and not self._may("start", call, self._app.get(started)):
            # The run of another, with the very same input: as with any other.
            raise _taken()
        return Answer(201, {"run_id": started})

    def list(self, call: Call) -> Answer:
        """Return one page of the runs that the caller may see, newest first."""
        flow = call.one("flow")
        tags = _tags(dict(_pair(value) for name, value in call.query if name == "tag"))
        if not self._authorise(Access("list", call, flow=flow, tags=tags)):
            raise not_found()
        wanted: dict[str, Any] = {
            "flow": flow or None,
            "status": [value for name, value in call.query if name == "status"],
            "tags": tags,
            "since": _moment(call.one("since")),
        }
        after, limit = call.one("after") or None, _count(call, "limit", _PAGE, 50)
        for _ in range(_MOST_PAGES):
            page = self._found(wanted, after, limit)
            seen = [n for n, run in enumerate(page.runs) if self._may("read", call, run)]
            if seen or page.next is None:
                runs = [run_data(page.runs[number]) for number in seen]
                if page.next is not None and seen[-1] < len(page.runs) - 1:
                    # The mark of where a page ended names its last run, which must be theirs.
                    page = self._found(wanted, after, seen[-1] + 1)
                return Answer(200, {"runs": runs, "next": page.next})
            after = page.next
        raise bad_request("too many runs of others stand before yours; ask for a flow or a tag")

    def read(self, call: Call) -> Answer:
        """Return a run, with its result or error once it has ended."""
        return Answer(200, ended_data(self._app, self._loaded("read", call).run))

    def steps(self, call: Call) -> Answer:
        """Return recorded steps, in order, from the number *after* on."""
        first = _count(call, "after", _HEAD_ONLY - 1, 0, least=0)
        most = _count(call, "limit", _PAGE, _PAGE)
        loaded = self._loaded("read", call, first)
        some = loaded.steps[:most]
        more = len(loaded.steps) > most
        return Answer(
            200,
            {
                "steps": [step_data(self._app, loaded.run, step) for step in some],
                "next": some[-1].number + 1 if more else None,
            },
        )

    def wait(self, call: Call) -> Answer:
        """Return a run as it is now: 200 when it has ended or cannot go on by itself, else 202."""
        run = self._loaded("read", call).run
        going = run.status in (Status.PAUSED, Status.RUNNING)
        blocked = run.status is Status.PAUSED and run.attention is not None
        return Answer(202 if going and not blocked else 200, ended_data(self._app, run))

    def signal(self, call: Call) -> Answer:
        """Send a signal; one with the id of an earlier one changes nothing."""
        given = call.document(frozenset({"value", "signal_id"}), frozenset())
        signal_id = _text(given, "signal_id") or None
        run_id, name = self._loaded("signal", call).run.run_id, call.path["name"]
        accepted = self._told(
            lambda: self._app.signal(run_id, name, given.get("value"), signal_id=signal_id)
        )
        return Answer(202, {"run_id": run_id, "accepted": accepted})

    def cancel(self, call: Call) -> Answer:
        """Ask a run to stop at its next step."""
        reason = _text(call.document(frozenset({"reason"}), frozenset()), "reason")
        run_id = self._loaded("cancel", call).run.run_id
        accepted = self._told(lambda: self._app.cancel(run_id, reason))
        return Answer(202, {"run_id": run_id, "accepted": accepted})

    def retry(self, call: Call) -> Answer:
        """Carry a run that ended badly on from the step that failed."""
        call.document(frozenset(), frozenset())
        run_id = self._loaded("retry", call).run.run_id
        return Answer(202, run_data(self._told(lambda: self._app.retry(run_id))))

    # -- the parts ---------------------------------------------------------------------------

    def _found(self, wanted: dict[str, Any], after: str | None, limit: int) -> Page:
        try:
            return self._app.find(**wanted, after=after, limit=limit)
        except ConfigError as error:
            raise bad_request(_cut(error)) from None

    def _may(self, action: Action, call: Call, run: Run) -> bool:
        return self._authorise(Access(action, call, run, run.flow, run.run_id, run.tags))

    def _loaded(self, action: Action, call: Call, after: int = _HEAD_ONLY) -> Loaded:
        """Return the run of the path; one answer for what is missing and what is not theirs."""
        try:
            # `get` knows which ids there can be, and answers for a missing run.
            run = self._app.get(call.path["run_id"])
        except (RunMissing, RunIdInvalid):
            raise not_found() from None
        if not self._may(action, call, run):
            raise not_found()
        loaded = Loaded(run, (), 0.0)
        if after < _HEAD_ONLY:
            loaded = self._app.storage.load(run.run_id, after) or loaded
        return loaded

    def _told(self, tell: Callable[[], Any]) -> Any:
        try:
            return tell()
        except RunStatusWrong as error:
            raise Refusal(409, "wrong_status", f"it is {error.status}") from None
        except RunMissing:
            raise not_found() from None
        except (ValueError, NotEncodable, SignalMismatch) as error:
            raise bad_request(_cut(error)) from None


def _taken() -> Refusal:
    """Say that an id is taken; whose run has it, and what differs, is not to be heard."""
    remedy = "another run has this run_id: send the same flow and input as it, or another run_id"
    return Refusal(409, "taken", remedy)


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request(f"{name} must be text")
    return value or ""


def _tags(given: object) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > _MOST_TAGS:
        raise bad_request(f"tags must be an object of at most {_MOST_TAGS} texts")
    for name, value in given.items():
        if not name or not isinstance(value, str) or len(name) > 64 or len(value) > 256:
            raise bad_request("a tag has a name of 1 to 64 and a value of up to 256 characters")
    return given


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise bad_request("write tag=NAME=VALUE")
    return name, value


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        found.timestamp()
    except (ValueError, OverflowError, OSError):
        raise bad_request("since must be a time such as 2026-01-31T09:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _deadline(given: Any) -> datetime | timedelta | None:
    """Return the moment, or the time from now, that a client gave."""
    if given is None:
        return None
    try:
        if isinstance(given, str):
            moment = datetime.fromisoformat(given)
            if moment.tzinfo is not None:
                # What is over is over, however long: storages know no time before 1970.
                return max(moment, _EARLIEST)
        elif type(given) in (int, float) and 0 < given <= _LONGEST:
            return timedelta(seconds=given)
    except (ValueError, OverflowError, OSError):
        pass
    raise bad_request("deadline must be seconds from now, or a time such as 2026-01-31T09:00:00Z")


def _count(call: Call, name: str, most: int, default: int, least: int = 1) -> int:
    text = call.one(name, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not least <= value <= most:
        raise bad_request(f"{name} must be a whole number from {least} to {most}")
    return value


def seconds_to_wait(call: Call, most: float) -> float:
    """Return the query's *timeout* in seconds, at most *most*."""
    try:
        seconds = float(call.one("timeout", "30")[:20])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= most:
        raise bad_request(f"timeout must be seconds from 0 to {most:g}")
    return seconds


def _cut(error: Exception) -> str:
    return str(error)[:500]
