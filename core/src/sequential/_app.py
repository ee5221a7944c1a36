"""The application object: starts runs and carries them on.

A façade over the driver: no rules about runs stand here. Looking is inherited from `_opened`,
telling and repairing from `_tending`. Each method has an awaitable twin, its name with an ``a`` in
front, that does the same in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from . import _codec
from ._carrying import carry_children
from ._drive import refuse_loop, token
from ._flow import Flow
from ._model import At, In, Run, Status, Wake, evolve
from ._opened import Opened
from ._outcomes import (
    Blocked,
    Busy,
    Cancelled,
    Completed,
    Failed,
    Lost,
    NotMine,
    Outcome,
    Paused,
    Purged,
    Quarantined,
)
from ._protocol import NOW, claimed
from ._run_id import check_run_id, new_run_id
from ._tags import checked_tags
from ._tending import Tended
from .errors import (
    ConfigError,
    FlowNotFound,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunMissing,
    RunNotEnded,
    VersionNotFound,
)

P = ParamSpec("P")
R = TypeVar("R")

_POLL = 0.2
"""Seconds between looks at a run that is waited for here and worked on elsewhere."""

_LONGEST_POLL = 5.0
"""Seconds between them in the end, when the wait has become long."""


class _Twin(Generic[P, R]):
    """The awaitable twin of a method: the same, in a thread."""

    def __init__(self, method: Callable[Concatenate[Any, P], R]) -> None:
        self._method = method
        self.__doc__ = f"Await `{method.__name__}`, which runs in a thread meanwhile."

    def __get__(self, app: object, owner: type) -> Callable[P, Coroutine[Any, Any, R]]:
        async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
            return await _in_thread(lambda: self._method(app, *args, **kwargs))

        return twin


class Sequential(Tended):
    """One application: a storage, a transport, plugins, and the flows and tools of this process."""

    # -- starting and carrying on ------------------------------------------------------------

    def start(
        self,
        flow: str | Flow[..., Any],
        input: object = None,
        *,
        run_id: str | None = None,
        wake: datetime | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> str:
        """Start a run, or find the one that was started before; return its id.

        Starting the same id twice with the same flow and input gives the same run.

        Args:
            flow: The flow, or its registered name.
            input: An object of the flow's parameters by name, or its raw input.
            run_id: 1 to 128 of ``A-Za-z0-9_~.-``; by default a new UUID of version 7.
            wake: When it becomes due: a moment, or a time from now; by default at once.
            tags: To find it by.
            deadline: When it is cancelled, with the reason ``deadline``, unless it has ended: a
                moment, or a time from now. `RunCancelled` is raised at its next step, so that it
                can clean up; also where it sleeps or waits for longer.

        Raises:
            FlowNotFound: No flow of that name is registered here.
            InputMismatch: The input does not fit the flow's parameters.
            NotEncodable: The input cannot be stored.
            RunIdInvalid: The id has a character that is not allowed.
            RunTaken: The id belongs to a run of another flow, or with another input.
            StorageError: Nothing was started, as far as is known; starting again is safe.
        """
        run = self._new_run(flow, input, run_id, tags, deadline)
        stored, _ = self._outside.create(evolve(run, wake=self._first(_wake("wake", wake), run)))
        if wake is None:
            self._send(stored)
        return stored.run_id

    def start_many(
        self,
        flow: str | Flow[..., Any],
        inputs: Mapping[str, object],
        *,
        tags: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Start a run per item of *inputs*, which maps run ids to inputs; return the ids."""
        return [self.start(flow, each, run_id=key, tags=tags) for key, each in inputs.items()]

    def execute(self, run_id: str, *, seconds: float | None = None) -> Outcome:
        """Make exactly one invocation of the run: carry it on until it pauses or ends.

        Never raises for what happens to the run; the outcome says it. Late and duplicate calls
        change nothing.

        Args:
            run_id: The run.
            seconds: How long this invocation may take, beside the pause policy: on AWS Lambda the
                remaining time less a margin.

        Raises:
            StorageError: The storage could not be reached, or refused; the run is as it was, or
                goes on when its lease ends.
        """
        return self.driver.resume(check_run_id(run_id), seconds).outcome

    def resume(self, run_id: str, *, seconds: float | None = None) -> Outcome:
        """Do what a resume message asks for: `execute`, and purge what has ended long enough ago.

        What hears messages calls it: workers, servers and Lambda functions.
        """
        outcome, _, carried = self.driver.resume(check_run_id(run_id), seconds)
        # What came to its end just now is kept for a while.
        if not carried and isinstance(outcome, Completed | Failed | Cancelled | Purged):
            # Another process may have removed it since.
            with suppress(RunMissing):
                self.tidy(run_id)
        return outcome

    @overload
    def run(
        self, flow: Flow[..., R], input: object = None, *, run_id: str | None = None,
        tags: Mapping[str, str] | None = None, deadline: datetime | timedelta | None = None,
    ) -> R: ...  # fmt: skip
    @overload
    def run(
        self, flow: str, input: object = None, *, run_id: str | None = None,
        tags: Mapping[str, str] | None = None, deadline: datetime | timedelta | None = None,
    ) -> Any: ...  # fmt: skip
    def run(
        self,
        flow: str | Flow[..., Any],
        input: object = None,
        *,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> Any:
        """Start a run and carry it to its end here; return its result.

        Waits through sleeps, retries and signals, and carries the child runs on that it waits for.
        If the process dies, the run goes on wherever
        it is looked at next; calling this again with the same *run_id* waits for the same run.

        Raises:
            RunFailed: The flow raised.
            RunCancelled: It was cancelled or terminated, or its *deadline* is over.
            RunBlocked: A deploy or a person must act, or it was quarantined.
            SequentialError: As for `start`.
        """
        refuse_loop()
        run = self._new_run(flow, input, run_id, tags, deadline)
        # Created already claimed: one commit less, and nobody else can come between.
        first = claimed(run, self.driver.time.now(), token(), self.engine.terms)
        stored, own = self._outside.create(first)
        outcome = self.driver.begin(stored) if own else self.execute(stored.run_id)
        return self._result(self._carried(stored.run_id, outcome))

    def wait(self, run_id: str, timeout: timedelta | float | None = None) -> Outcome:
        """Wait for the end of a run that is worked on elsewhere; return its outcome.

        Args:
            run_id: The run.
            timeout: How long at most, in seconds when a number; None for ever.

        Returns:
            `Completed`, `Failed`, `Cancelled`, or what keeps it from ending by itself: `Blocked`,
            `Quarantined`, `Purged`.

        Raises:
            RunMissing: There is no such run.
            RunNotEnded: The time was up.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        until = None if seconds is None else self.clock.monotonic() + seconds
        while True:
            run = self.get(run_id)
            blocked = run.status is Status.PAUSED and run.attention is not None
            if run.status not in (Status.PAUSED, Status.RUNNING) or blocked:
                return self.outcome(run)
            if until is not None and self.clock.monotonic() >= until:
                raise RunNotEnded(run_id, run.status)
            self.clock.wait(_POLL)

    # -- twins -------------------------------------------------------------------------------

    @overload
    async def arun(
        self, flow: Flow[..., R], input: object = None, *, run_id: str | None = None,
        tags: Mapping[str, str] | None = None, deadline: datetime | timedelta | None = None,
    ) -> R: ...  # fmt: skip
    @overload
    async def arun(
        self, flow: str, input: object = None, *, run_id: str | None = None,
        tags: Mapping[str, str] | None = None, deadline: datetime | timedelta | None = None,
    ) -> Any: ...  # fmt: skip
    async def arun(self, flow: Any, input: object = None, **keywords: Any) -> Any:
        """Await `run`, which runs in a thread meanwhile."""
        return await _in_thread(lambda: self.run(flow, input, **keywords))

    astart = _Twin(start)
    astart_many = _Twin(start_many)
    aexecute = _Twin(execute)
    aresume = _Twin(resume)
    await_ = _Twin(wait)  # "await" itself is taken by the language
    aget = _Twin(Opened.get)
    asteps = _Twin(Opened.steps)
    aload = _Twin(Opened.load)
    aprogress = _Twin(Opened.progress)
    afind = _Twin(Opened.find)
    acount = _Twin(Opened.count)
    asignal = _Twin(Tended.signal)
    aanswer = _Twin(Tended.answer)
    acancel = _Twin(Tended.cancel)
    aterminate = _Twin(Tended.terminate)
    aretry = _Twin(Tended.retry)
    aredrive = _Twin(Tended.redrive)
    afork = _Twin(Tended.fork)
    apurge = _Twin(Tended.purge)
    areplay = _Twin(Opened.replay)
    aexport = _Twin(Opened.export)
    areplay_history = _Twin(Opened.replay_history)
    asweep = _Twin(Tended.sweep)
    aroll_up = _Twin(Tended.roll_up)

    # -- the parts ---------------------------------------------------------------------------

    def _new_run(
        self,
        flow: str | Flow[..., Any],
        given: object,
        run_id: str | None,
        tags: Mapping[str, str] | None,
        deadline: datetime | timedelta | None,
    ) -> Run:
        known = self._flow(flow)
        chosen = new_run_id() if run_id is None else check_run_id(run_id)
        data = _codec.encode({} if given is None else given)
        known.binding.arguments_of(_codec.decode(data))
        payload, digest = self._outside.input_payload(chosen, data)
        return Run(
            chosen,
            known.name,
            payload,
            known.version,
            wake=NOW,
            deadline=self._moment(_wake("deadline", deadline)),
            tags=checked_tags(tags or {}),
            asked=digest,
            trace=self.plugins.trace(),
        )

    def _moment(self, wake: Wake) -> float | None:
        """Return *wake* in seconds since the epoch, by the storage's time as it is known here."""
        if isinstance(wake, In):
            return self.driver.time.now() + wake.seconds
        return None if wake is None else wake.time

    def _first(self, wake: Wake, run: Run) -> Wake:
        """Return when to look at *run* first: at *wake*, unless its deadline comes before."""
        if wake is None:
            return NOW
        moment = self._moment(wake)
        assert moment is not None
        early = run.deadline is not None and run.deadline < moment
        return At(run.deadline) if early and run.deadline is not None else wake

    def _flow(self, flow: str | Flow[..., Any]) -> Flow[..., Any]:
        given: object = flow
        if not isinstance(given, str | Flow):
            msg = f"{given!r:.80} is no flow; put @flow on it, or give the name of a flow"
            raise TypeError(msg)
        name = flow if isinstance(flow, str) else flow.name
        known = self.registry.flows.get(name)
        if known is None and isinstance(flow, Flow):
            self.registry.add_flow(flow)
            return flow
        if known is None:
            raise FlowNotFound(name, self.registry.flows)
        return known

    def _carried(self, run_id: str, outcome: Outcome) -> Outcome:
        """Carry a run on until it ends or cannot go on by itself."""
        poll = _POLL
        while isinstance(outcome, Paused | Busy | Lost):
            wake = outcome.until if isinstance(outcome, Busy) else getattr(outcome, "wake", None)
            wait = poll if wake is None else wake.time - self.driver.time.now()
            if wait > 0 and carry_children(self, run_id, self.driver.time.now):
                poll = _POLL
            elif wait > 0:
                # Never longer than a poll, which grows while nothing happens: a signal or another
                # process may move the run.
                self.clock.wait(min(wait, poll))
                poll = min(poll * 1.1, _LONGEST_POLL)
            outcome = self.execute(run_id)
        return outcome

    def _result(self, outcome: Outcome) -> Any:
        """Return the result of a completed run, or raise what kept it from completing."""
        run_id = outcome.run_id
        if isinstance(outcome, Completed):
            return outcome.result
        if isinstance(outcome, Failed):
            error = outcome.error
            data = None if error.data is None else _codec.decode(error.data.data)
            raise RunFailed(run_id, error.type, error.message, data)
        if isinstance(outcome, Cancelled):
            raise RunCancelled(run_id)
        if isinstance(outcome, Blocked):
            raise RunBlocked(run_id, outcome.message, outcome.diff)
        if isinstance(outcome, Quarantined):
            why = f"it killed its invocations too often; `sequential redrive {run_id}` tries again"
            raise RunBlocked(run_id, why)
        if isinstance(outcome, NotMine) and outcome.version:
            raise VersionNotFound(outcome.flow, outcome.version, run_id)
        if isinstance(outcome, NotMine):
            raise FlowNotFound(outcome.flow, self.registry.flows)
        raise RunMissing(run_id)


async def _in_thread(function: Callable[[], R]) -> R:
    # Whoever awaits has asyncio already; importing it for everybody would double a cold start.
    import asyncio

    return await asyncio.to_thread(function)


def _wake(setting: str, wake: datetime | timedelta | None) -> Wake:
    if wake is None:
        return None
    if isinstance(wake, timedelta):
        return In(wake.total_seconds())
    given: object = wake
    if not isinstance(given, datetime):
        raise ConfigError(
            setting, given, "give a datetime with a time zone, or a timedelta from now"
        )
    if wake.tzinfo is None:
        raise ConfigError(setting, wake.isoformat(), "add a time zone, such as datetime.UTC")
    if wake.timestamp() < 0:
        raise ConfigError(setting, wake.isoformat(), "give a moment after 1970")
    return At(wake.timestamp())
