"""Several steps side by side: begun in turn, attempts in flight, whoever is first goes on.

Each step's settling is a generator of requests; here several are advanced by turns, one at a time,
so that everything but the attempts themselves happens one after the other. What a step comes to is
handed on to be recorded. Knows no step records and no flow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from ._attempts import Settled, Waiting
from ._child_runs import CHILDREN_NAMED
from ._holding import Holding
from ._model import Open, StepKind
from ._obstacle import Obstacle
from ._requests import Abandon, Arrival, Await, Perform, Requests, Start, Wait
from ._settling import OutOfTime
from ._steps import SleepStep, ToolStep
from ._strands import Strand
from .errors import ToolNotFound, ValuesError

AT_ONCE = 64
"""Tool calls of one run that one invocation has under way at most: each takes a thread."""

LOOK = 1.0
"""Seconds between looks for messages while attempts are under way and steps wait for messages."""

TOGETHER = 512
"""Steps that one commit records at most."""

Ways = Settled | Waiting | OutOfTime
Trouble = Obstacle | ToolNotFound | ValuesError
Settle = Callable[[Strand, Open | None], Requests[Ways]]


class _Task(NamedTuple):
    """The settling of the step that *strand* waits for at *position*."""

    strand: Strand
    position: str
    requests: Requests[Ways]


class Came(NamedTuple):
    """What the step of *strand* at *position* came to, or what keeps it from going on."""

    strand: Strand
    position: str
    how: Settled | OutOfTime | Trouble


class Abreast:
    """The steps that a run waits for, side by side.

    Args:
        settle: Begins the settling of the step that a strand waits for, from what was left of it.
        is_told: Tells whether a strand waits for a child whose end is known.
        holding: Says what time it is, and whether messages came that nobody has looked at.

    Attributes:
        unsaved: Whether waits came about that a crash must not make anew: deadlines, and calls
            that were made and not answered.
    """

    def __init__(self, settle: Settle, is_told: Callable[[Strand], bool], holding: Holding) -> None:
        self.unsaved = False
        self._settle = settle
        self._is_told = is_told
        self._holding = holding
        self._strands: dict[str, Strand] = {}
        # Calls wait for one of `AT_ONCE` places; all else is looked at when it is asked for.
        self._calls: deque[str] = deque()
        self._others: deque[str] = deque()
        self._told: deque[str] = deque()
        self._odd: Came | BaseException | None = None
        self._flying: dict[str, _Task] = {}
        self._resting: dict[str, _Task] = {}
        self._waits: dict[str, Waiting] = {}
        self._left: dict[str, Open] = {}
        self._children: dict[str, Waiting] = {}
        self._named: dict[str, list[str]] = {}
        self._times: list[tuple[float, str]] = []  # a heap; also of what is over by now
        # Whether what was told was taken since a moment was last waited for more of it.
        self._gathers = False

    @property
    def flying(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._flying)

    @property
    def busy(self) -> bool:
        """Whether any attempt is under way, or what came of one is still to be told."""
        return bool(self._flying) or self._odd is not None

    def admit(self, strands: Iterable[Strand]) -> None:
        """Take in *strands*, which wait for steps."""
        for strand in strands:
            asked = strand.asked
            # One that was told to stop where it had just asked, and asked for its cleanup since,
            # is there twice.
            if asked is not None and asked.position not in self._strands:
                self._strands[asked.position] = strand
                self._queue(asked.position)

    def rest(self, strands: Mapping[str, Strand], waits: Mapping[str, Waiting]) -> None:
        """Take in those of *strands* that wait for children, as *waits* say, without a look."""
        for position, how in waits.items():
            self._strands[position] = strands[position]
            self._children[position] = how
            self._named.setdefault(how.open.name, []).append(position)

    def forget(self, position: str) -> Requests[None]:
        """Leave out the step at *position*: it is needed no more."""
        self._strands.pop(position, None)
        self._resting.pop(position, None)
        self._waits.pop(position, None)
        self._left.pop(position, None)
        self._children.pop(position, None)
        if isinstance(self._odd, Came) and self._odd.position == position:
            self._odd = None
        if self._flying.pop(position, None) is not None:
            yield Abandon(position)

    def hear(self) -> Requests[None]:
        """Let what waits for messages be looked at again, where there are new ones."""
        holding = self._holding
        if holding.has_news():
            yield from self._gather()
        for message in holding.run.inbox:
            if message.id not in holding.known:
                for position in self._named.pop(message.name, ()):
                    self._again(position)
        holding.look()

    def has_news(self) -> Requests[bool]:
        """Tell whether messages came that nobody has looked at."""
        if not self._holding.has_news():
            yield from self._gather()
        return self._holding.has_news()

    def _gather(self) -> Requests[None]:
        """Wait a moment, once, where children end one after another."""
        if self._gathers and self._children and not self._flying:
            self._gathers = False
            yield from self._holding.gather()

    def next(self, *, closing: bool) -> Requests[Came | None]:
        """Go on until a step came to something; None when there is only waiting left.

        Also None when messages came, and, with attempts in flight, when it is time to save the
        waits or to look for messages. When *closing*, nothing is begun any more, and it comes when
        nothing is in flight.
        """
        odd, self._odd = self._odd, None
        if isinstance(odd, BaseException):
            raise odd
        came = odd
        while came is None:
            task = None if closing else self._startable() or self._begun(self._told)
            if task is not None:
                came = yield from self._run(task, None)
                if came is None and self._holding.has_news():
                    return None
            elif self._flying:
                arrival = yield from self._landed(closing=closing)
                if arrival is None:
                    return None
                came = yield from self._arrived(arrival)
            elif closing or not self._resting:
                return None
            else:
                yield Wait(self._soonest() or 0.0)
        return came

    def at_hand(self) -> Requests[list[tuple[Strand, Settled]]]:
        """Return what further steps came to by now: recorded together they cost one commit.

        Ends of children, attempts that have landed, sleeps that are over. Begins no call, and waits
        for nothing. Waits for signals are left alone: each message is for one of them, which is
        not known before the last one is recorded.
        """
        holding, several = self._holding, list[tuple[Strand, Settled]]()
        most = min(TOGETHER, holding.engine.max_steps - holding.run.cursor) - 1
        while len(several) < most and self._odd is None:
            came: Came | BaseException | None
            try:
                came = yield from self._ready()
            except GeneratorExit:
                raise
            except BaseException as raised:  # noqa: BLE001  (`next` raises it)
                came = raised
            if came is None:
                break
            if isinstance(came, Came) and isinstance(came.how, Settled):
                several.append((came.strand, came.how))
            else:
                # What the others came to is recorded first.
                self._odd = came
        return several

    def waits(self) -> Mapping[str, Waiting]:
        """Return what the run has to wait for, by position; of many children the first."""
        if not self._children:
            return self._waits
        return self._waits | dict(islice(self._children.items(), CHILDREN_NAMED))

    def open(self) -> Mapping[str, Open]:
        """Return what is open of steps that wait, or are about to be looked at again.

        Of many children that of the first.
        """
        if not self._children:
            return self._left
        children = islice(self._children.items(), CHILDREN_NAMED)
        return self._left | {position: wait.open for position, wait in children}

    @property
    def children(self) -> Mapping[str, Waiting]:
        """What is waited for of children, by position."""
        return self._children

    @property
    def listens(self) -> bool:
        """Whether any step waits for a message."""
        return any(
            each in self._waits or each in self._children
            for positions in self._named.values()
            for each in positions
        )

    # -- whose turn it is --------------------------------------------------------------------

    def _startable(self) -> _Task | None:
        """Return a settling that can go on without an answer."""
        now = self._holding.world.now()
        while self._times and self._times[0][0] <= now:
            _, position = heappop(self._times)
            rested = self._resting.pop(position, None)
            if rested is not None:
                return rested
            self._again(position)
        busy = len(self._flying) + len(self._resting) >= AT_ONCE
        return self._other() or (None if busy else self._begun(self._calls))

    def _again(self, position: str) -> None:
        waits = self._waits.pop(position, None) or self._children.pop(position, None)
        if waits is not None:
            self._queue(position)

    def _queue(self, position: str) -> None:
        if self._is_told(self._strands[position]):
            self._told.append(position)
            return
        calls = isinstance(self._strands[position].step, ToolStep)
        (self._calls if calls else self._others).append(position)

    def _over(self) -> _Task | None:
        """Return the settling of a sleep that is to be looked at."""
        while self._others:
            strand = self._strands.get(self._others[0])
            if strand is not None:
                return self._begun(self._others) if isinstance(strand.step, SleepStep) else None
            self._others.popleft()
        return None

    def _begun(self, queue: deque[str]) -> _Task | None:
        while queue:
            position = queue.popleft()
            strand = self._strands.get(position)
            if strand is not None:
                return _Task(strand, position, self._settle(strand, self._left.get(position)))
        return None

    def _other(self) -> _Task | None:
        """Return the next settling but of a call; ends that came meanwhile are taken together."""
        while self._others:
            position = self._others[0]
            strand = self._strands.get(position)
            if strand is None or not self._is_told(strand):
                break
            self._told.append(self._others.popleft())
        return self._begun(self._others)

    def _soonest(self) -> float | None:
        """Return the seconds to the first moment at which something can go on by itself."""
        return max(0.0, self._times[0][0] - self._holding.world.now()) if self._times else None

    def _patience(self) -> float | None:
        """Return for how many seconds an attempt in flight may be waited for."""
        soonest = self._soonest()
        return min(LOOK, soonest or LOOK) if self.listens else soonest

    # -- carrying on -------------------------------------------------------------------------

    def _ready(self) -> Requests[Came | None]:
        """Return what a step came to that is known to have ended; None if there is none."""
        came: Came | None = None
        while came is None:
            task = self._begun(self._told) or self._over()
            if task is not None:
                came = yield from self._run(task, None)
            elif not self._flying:
                return None
            else:
                arrival: Arrival | None = yield Await(0.0)
                if arrival is None:
                    return None
                came = yield from self._arrived(arrival)
        return came

    def _landed(self, *, closing: bool) -> Requests[Arrival | None]:
        if self.unsaved and not closing:
            return None
        arrival: Arrival | None = yield Await(None if closing else self._patience())
        return arrival

    def _arrived(self, arrival: Arrival) -> Requests[Came | None]:
        task = self._flying.pop(arrival.position, None)
        return None if task is None else (yield from self._run(task, arrival.done))

    def _run(self, task: _Task, answer: object) -> Requests[Came | None]:
        """Advance *task* until it is over, or has an attempt in flight, or rests."""
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    request = task.requests.send(answer)
                else:
                    thrown, error = error, None
                    request = task.requests.throw(thrown)
            except StopIteration as stop:
                return self._came(task, stop.value)
            except (Obstacle, ToolNotFound, ValuesError) as trouble:
                return Came(task.strand, task.position, trouble)
            if isinstance(request, Perform):
                yield Start(request.call, request.run)
                self._flying[task.position] = task
                # The record knows more of it now: an attempt may have been announced.
                self._left.pop(task.position, None)
                return None
            if isinstance(request, Wait) and request.apart:
                self._resting[task.position] = task
                heappush(self._times, (self._holding.world.now() + request.seconds, task.position))
                return None
            try:
                answer = yield request
            except BaseException as raised:  # noqa: BLE001  (the settling decides what it means)
                error = raised

    def _came(self, task: _Task, how: Ways) -> Came | None:
        if isinstance(how, OutOfTime):
            return Came(task.strand, task.position, how)
        if isinstance(how, Settled):
            self._strands.pop(task.position, None)
            self._left.pop(task.position, None)
            self._gathers |= bool(how.consumed)
            return Came(task.strand, task.position, how)
        if how.open.kind is StepKind.CHILD:
            self._children[task.position] = how
        else:
            self._waits[task.position] = how
            self._left[task.position] = how.open
            self.unsaved |= how.open.due is not None or how.open.kind is StepKind.TOOL
        if how.open.name:
            self._named.setdefault(how.open.name, []).append(task.position)
        if how.open.due is not None:
            heappush(self._times, (how.open.due, task.position))
        return None
