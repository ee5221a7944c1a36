"""What can be done to runs from the dashboard, each through the application, with an audit row.

The one door: whoever comes here is asked for the right again, whatever a page showed. Knows no
Streamlit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sequential import Sequential
from sequential.audit import Audit, AuditRow
from sequential.errors import SequentialError
from sequential.hookspecs import ResumeMessage
from sequential.storage import Clock

from .access import Right, Viewer


class ActionRefused(Exception):
    """An action was not done; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        label: On the button.
        states: Words of `words.STORED` that it is for.
        says: What it does, in a sentence.
        many: Whether it can be done to several runs at once.
        ends: Whether it cannot be taken back.
    """

    label: str
    states: frozenset[str]
    says: str
    many: bool = True
    ends: bool = False


_OPEN = frozenset({"waiting", "due", "blocked", "running", "stalled"})
_BAD = frozenset({"failed", "cancelled", "quarantined"})
_ANY_STEPS = frozenset({*_OPEN, *_BAD, "completed"})

ACTIONS: Mapping[str, Action] = {
    "resume": Action(
        "Resume now", frozenset({"due", "stalled"}),
        "Sends the message that somebody should look at it.",
    ),
    "redrive": Action(
        "Redrive", frozenset({"blocked", "quarantined"}),
        "Gives it another chance at once.",
    ),
    "retry": Action(
        "Retry from the failed step", _BAD,
        "Keeps what was recorded before the step that failed, and does the rest anew.",
    ),
    "signal": Action(
        "Send a signal", _OPEN | {"quarantined"},
        "It waits there until the flow asks for it.", many=False,
    ),
    "fork": Action(
        "Fork from a step", _ANY_STEPS,
        "Starts a new run that keeps the steps before it; this one stays as it is.", many=False,
    ),
    "again": Action(
        "Start again with another input", _ANY_STEPS,
        "Starts a new run of the flow from its beginning; this one stays as it is.", many=False,
    ),
    "cancel": Action(
        "Cancel", _OPEN | {"quarantined"},
        "Asks the flow to stop at its next step, so that it can clean up.", ends=True,
    ),
    "terminate": Action(
        "Terminate", _OPEN | {"quarantined"},
        "Ends it at once; none of its code runs any more.", ends=True,
    ),
    "purge": Action(
        "Purge", frozenset({"completed", "failed", "cancelled", "purged"}),
        "Deletes its values and steps; of a purged run, the rest.", ends=True,
    ),
}  # fmt: skip


def possible(state: str, *, many: bool = False) -> list[str]:
    """Return the names of the actions for a run in *state*, or for *many* of them."""
    return [
        name
        for name, action in ACTIONS.items()
        if state in action.states and (action.many or not many)
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    Attributes:
        action: A name of `ACTIONS`.
        run_id: The run.
        reason: Why, in a few words.
        version: Of the record that was looked at; another one stored refuses the action. None for
            whatever is stored.
        name: Of the signal.
        value: Of the signal; the input of a run that is started again.
        key: Id of the signal, or of the new run: asked twice, it is sent or started once.
        at: Position to fork at.
        edit: A one-element tuple: the result to take there; None to do the step anew.
    """

    action: str
    run_id: str
    reason: str
    version: int | None = None
    name: str = ""
    value: Any = None
    key: str = ""
    at: str = ""
    edit: tuple[Any] | None = None


class Actor:
    """Does what is asked, if it may be done.

    Args:
        app: An application that can write; None where the dashboard only reads.
        audit: Where rows go.
        clock: For the times of the rows.
    """

    def __init__(self, app: Sequential | None, audit: Audit, clock: Clock) -> None:
        self._app = app
        self._audit = audit
        self._clock = clock

    @property
    def can_act(self) -> bool:
        """Whether there is an application to act with."""
        return self._app is not None

    def act(self, viewer: Viewer | None, asked: Asked) -> str:
        """Do what is *asked*; return what was done in a sentence.

        Raises:
            ActionRefused: It was not done, or it is not known; the message says it.
        """
        refusal = self._refusal(viewer, asked)
        if refusal:
            self._note(viewer, asked, "refused", refusal)
            raise ActionRefused(refusal)
        assert self._app is not None
        try:
            self._note(viewer, asked, "asked")
        except OSError as error:
            raise ActionRefused(f"nothing was done: no audit row can be written: {error}") from None
        try:
            self._check_version(asked)
            done = _DOING[asked.action](self._app, asked)
        except (SequentialError, ValueError, ActionRefused) as error:
            self._note(viewer, asked, "failed", str(error))
            raise ActionRefused(str(error)) from None
        self._note(viewer, asked, "done", done)
        return done

    def _refusal(self, viewer: Viewer | None, asked: Asked) -> str:
        if viewer is None or not viewer.may(Right.ACT):
            return "you may look, and not act; an operator can"
        if self._app is None:
            return "this dashboard only reads; start it with --actions"
        if asked.action not in ACTIONS:
            return f"there is no action {asked.action!r}"
        return "" if asked.reason.strip() else "say why, in a few words"

    def _check_version(self, asked: Asked) -> None:
        assert self._app is not None
        run = self._app.get(asked.run_id)
        if asked.version is not None and run.version != asked.version:
            msg = f"run {asked.run_id!r} has changed since you looked; look again, then decide"
            raise ActionRefused(msg)

    def _note(self, viewer: Viewer | None, asked: Asked, result: str, note: str = "") -> None:
        name = "nobody" if viewer is None else viewer.name
        now = self._clock.now()
        row = AuditRow(now, name, asked.action, asked.run_id, asked.reason[:500], result, note)
        self._audit.write(row)


# -- doing


def _resume(app: Sequential, asked: Asked) -> str:
    if not app.transport.carries:
        flow = app.get(asked.run_id).flow
        msg = (
            "nothing carries messages here: workers look for due runs themselves;"
            f" start one that has flow {flow!r}"
        )
        raise ActionRefused(msg)
    app.driver.send_all([ResumeMessage(asked.run_id)])
    return "a message was sent: somebody will look at it"


def _redrive(app: Sequential, asked: Asked) -> str:
    app.redrive(asked.run_id)
    return "it gets another chance"


def _retry(app: Sequential, asked: Asked) -> str:
    kept = app.retry(asked.run_id).cursor
    return f"it goes on; {kept} steps were kept"


def _signal(app: Sequential, asked: Asked) -> str:
    accepted = app.signal(asked.run_id, asked.name, asked.value, signal_id=asked.key or None)
    return f"signal {asked.name!r} was " + ("sent" if accepted else "sent before; once is enough")


def _fork(app: Sequential, asked: Asked) -> str:
    forked = app.fork(asked.run_id, asked.at, edit=asked.edit)
    return f"new run {forked}"


def _again(app: Sequential, asked: Asked) -> str:
    run = app.get(asked.run_id)
    tags = {**run.tags, "forked_from": asked.run_id}
    started = app.start(run.flow, asked.value, run_id=asked.key or None, tags=tags)
    return f"new run {started}"


def _cancel(app: Sequential, asked: Asked) -> str:
    first = app.cancel(asked.run_id, asked.reason)
    return "it was asked to stop" if first else "it had been asked to stop before"


def _terminate(app: Sequential, asked: Asked) -> str:
    app.terminate(asked.run_id)
    return "it was ended"


def _purge(app: Sequential, asked: Asked) -> str:
    if not app.purge(asked.run_id):
        raise ActionRefused("it was not purged: it goes on, or changed meanwhile")
    return "it was purged"


_DOING: Mapping[str, Callable[[Sequential, Asked], str]] = {
    "resume": _resume,
    "redrive": _redrive,
    "retry": _retry,
    "signal": _signal,
    "fork": _fork,
    "again": _again,
    "cancel": _cancel,
    "terminate": _terminate,
    "purge": _purge,
}
