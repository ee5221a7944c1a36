"""The lines along which a flow runs: the flow itself, and the branches of its parallel steps.

A strand asks for one step at a time; strands ask side by side. They are advanced in the order of
records, so who finishes first, whom that cancels, and which branch begins next are the same on
every replay. What a step is in terms of records, and what it comes to, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ._frame import Frame
from ._parallel import ParallelStep, Raced, close_all
from ._replay import Asked
from ._steps import Step, is_shielded
from .errors import BranchCancelled, NotAStep, NotEncodable, RunCancelled


class Ended(NamedTuple):
    """What a step came to for the strand that waits for it; also how a strand ended itself."""

    value: Any = None
    error: BaseException | None = None


_BEGIN = Ended()


class Strand:
    """One line of a flow.

    Attributes:
        above: The parallel step that it is a branch of; None for the flow itself.
        index: Which of its branches.
        frame: Its generator or coroutine; None for a branch that is a single step.
        below: The parallel step that it waits for.
        step: The step that it waits for.
        asked: The same in terms of records.
        used: How many positions its steps have taken.
        cancelled: Whether it was told that it is needed no more, or will be.
        untold: Whether it will be: it is told when it leaves a shield.
    """

    __slots__ = ("_begun", "_branch", "_place", "above", "asked", "below", "cancelled",
                 "frame", "index", "step", "untold", "used")  # fmt: skip

    def __init__(
        self, frame: Frame | None, branch: object, above: Fork | None = None, index: int = 0
    ) -> None:
        self.frame = frame
        self.above = above
        self.index = index
        self.below: Fork | None = None
        self.step: Step[Any] | None = None
        self.asked: Asked | None = None
        self.cancelled = self.untold = False
        self._branch = branch
        self._place = "" if above is None else f"{above.position}.{index}"
        self._begun = False
        self.used = 0

    @property
    def position(self) -> str:
        """Where its next step stands."""
        if self.frame is None:
            return self._place
        return f"{self._place}.{self.used}" if self._place else str(self.used)

    @property
    def told(self) -> bool:
        """Whether it, or what it is a branch of, was told to stop: what it does now is cleanup."""
        strand: Strand | None = self
        while strand is not None:
            if strand.cancelled:
                return True
            strand = None if strand.above is None else strand.above.owner
        return False

    @property
    def shielded(self) -> bool:
        """Whether what it waits for must not be interrupted."""
        return is_shielded(self.step) if self.below is None else self.below.shielded

    def advance(self, given: Ended) -> Step[Any] | Ended:
        """Give what its step came to; return what it asks for next, or how it ended."""
        begun, self._begun = self._begun, True
        if self.frame is None:
            return given if begun or given.error is not None else self._step()
        try:
            if given.error is None:
                return self.frame.send(given.value)
            return self.frame.throw(given.error)
        except StopIteration as stop:
            return Ended(stop.value)
        except (NotAStep, MemoryError):
            raise
        except (Exception, RunCancelled) as raised:  # noqa: BLE001  (whatever the flow raises)
            return Ended(error=raised)

    def _step(self) -> Step[Any]:
        assert isinstance(self._branch, Step)
        return self._branch


class Fork:
    """A parallel step under way: which of its branches run, and what the others came to.

    Attributes:
        owner: The strand that waits for it.
        position: Where it stands.
        live: Branches that have begun and not ended, by index.
        unwanted: Whether its owner was cancelled.
        revoked: The cancel of the run that its owner gets instead of what it came to.
    """

    def __init__(self, owner: Strand, step: ParallelStep[Any]) -> None:
        self.owner = owner
        self.position = owner.position
        self.live: dict[int, Strand] = {}
        self.unwanted = False
        self.revoked: RunCancelled | None = None
        self._step = step
        self._begun = 0
        self._told = False
        self._ends: dict[int, Ended] = {}
        self._verdict: tuple[int, Ended] | None = None

    @property
    def shielded(self) -> bool:
        """Whether it must not be interrupted because its owner is needed no more."""
        return is_shielded(self._step)

    @property
    def over(self) -> bool:
        """Whether no branch runs and none will."""
        return not self.live and (self._begins_no_more or self._begun == len(self._step.branches))

    @property
    def _stopped(self) -> bool:
        return self.unwanted or self._verdict is not None

    @property
    def _begins_no_more(self) -> bool:
        return self._stopped or self._told

    def begin(self) -> Strand | None:
        """Return the next branch if one may begin; it is live from now on."""
        step, index = self._step, self._begun
        full = step.at_once is not None and len(self.live) >= step.at_once
        if self._begins_no_more or full or index == len(step.branches):
            return None
        self._begun += 1
        branch = step.branches[index]
        frame = None if isinstance(branch, Step) else _nearest(self.owner).branch(branch)
        strand = self.live[index] = Strand(frame, branch, self, index)
        return strand

    def arrived(self, strand: Strand, ended: Ended) -> bool:
        """Take the end of a branch; return whether the others are needed no more by that."""
        del self.live[strand.index]
        self._ends[strand.index] = ended
        # A cancel of the run reaches every branch by itself: nobody's victory, nobody's fault.
        told = isinstance(ended.error, RunCancelled)
        self._told |= told
        decides = self._step.first or (ended.error is not None and not self._step.collect)
        if self._stopped or told or not decides:
            return False
        self._verdict = (strand.index, ended)
        return True

    def close_unbegun(self) -> None:
        """Close the branches that have not begun, where no more begin."""
        if self._begins_no_more:
            close_all(self._step.branches[self._begun :])

    def outcome(self) -> Ended:
        """Return what the parallel step came to."""
        if self.unwanted:
            return Ended(error=BranchCancelled())
        if self.revoked is not None:
            return Ended(error=self.revoked)
        if self._verdict is not None:
            index, ended = self._verdict
            raced = self._step.first and ended.error is None
            return Ended(Raced(index, ended.value)) if raced else ended
        ends = [self._ends[index] for index in range(self._begun)]
        cancel = next((each.error for each in ends if isinstance(each.error, RunCancelled)), None)
        if cancel is not None:
            return Ended(error=cancel)
        came = [each.value if each.error is None else each.error for each in ends]
        return Ended(self._step.make(came))


def _nearest(strand: Strand) -> Frame:
    """Return the code that a branch of *strand* belongs to."""
    while strand.frame is None:
        assert strand.above is not None
        strand = strand.above.owner
    return strand.frame


class Strands:
    """All strands of one flow.

    Attributes:
        root: The flow itself.
        scope: What its code may ask about the run.
        waiting: Those that wait for a step, by its position, in the order in which they asked.
        fresh: Branches among them that asked since this was last emptied.
        dropped: Positions of steps that were asked for and are needed no more, in that order.
        unneeded: The same steps, and those that a cancel of the run ended, as they were asked for.
        ended: How the flow ended, once it has.
    """

    def __init__(self, frame: Frame, ask: Callable[[Strand, Step[Any]], Asked]) -> None:
        self.root = Strand(frame, None)
        self.scope = frame.scope
        self.waiting: dict[str, Strand] = {}
        self.fresh: list[Strand] = []
        self.dropped: dict[str, None] = {}
        self.unneeded: list[tuple[Step[Any], Asked]] = []
        self._untold: list[str] = []
        self._decided: dict[Fork, None] = {}
        self.ended: Ended | None = None
        self._ask = ask
        # What is still to be done, the last first: what follows from a thing is done before the
        # next thing. A list and no recursion: thousands of branches may end one another.
        self._to_do: list[Callable[[], None]] = []

    def advance(self, strand: Strand, given: Ended) -> None:
        """Give *strand* what its step came to, and let all go on that this lets go on.

        Raises:
            NotAStep: A strand asked for something else.
        """
        self._give(strand, given)
        while self._to_do:
            self._to_do.pop()()

    def revoke(self, cancel: RunCancelled) -> None:
        """Let *cancel* reach those who wait for nothing but the cleanup of branches.

        They stand at no step at which it could be raised. The cleanup itself goes to its end.
        """
        for fork in self._decided:
            if not (fork.unwanted or fork.owner.told):
                fork.revoked = cancel

    def lately_dropped(self) -> Sequence[str]:
        """Return the positions that were dropped since this was last asked."""
        told, self._untold = self._untold, []
        return told

    def forgo(self, strand: Strand) -> None:
        """Note that what *strand* waits for is needed no more."""
        if strand.step is not None and strand.asked is not None:
            self.unneeded.append((strand.step, strand.asked))

    def discard(self) -> None:
        """Unwind all of it, the innermost branches first."""
        for strand in reversed(list(_all(self.root))):
            if strand.below is not None:
                strand.below.unwanted = True
                strand.below.close_unbegun()
            if strand.frame is not None:
                strand.frame.discard()

    def _give(self, strand: Strand, given: Ended) -> None:
        if strand.asked is not None:
            self.waiting.pop(strand.asked.position, None)
            strand.asked = strand.step = None
        said = strand.advance(given)
        if isinstance(said, Ended):
            self._arrived(strand, said)
        elif strand.untold and not is_shielded(said):
            self._tell(strand, said)
        elif isinstance(said, ParallelStep):
            fork = strand.below = Fork(strand, said)
            strand.used += 1
            self._to_do.append(lambda: self._begin_next(fork))
        else:
            self._asked(strand, said)

    def _asked(self, strand: Strand, step: Step[Any]) -> None:
        try:
            asked = self._ask(strand, step)
        except NotEncodable as refused:
            # The flow's own mistake, the same on every replay: it is told at the step.
            error = refused
            self._to_do.append(lambda: self._give(strand, Ended(error=error)))
            return
        strand.used += 1
        strand.step, strand.asked = step, asked
        self.waiting[asked.position] = strand
        if strand.above is not None:
            self.fresh.append(strand)

    # -- parallel steps ----------------------------------------------------------------------

    def _begin_next(self, fork: Fork) -> None:
        strand = fork.begin()
        if strand is None:
            return self._go_on_if_over(fork)
        self._to_do.append(lambda: self._begin_next(fork))
        self._to_do.append(lambda: self._give(strand, _BEGIN))
        return None

    def _arrived(self, strand: Strand, ended: Ended) -> None:
        fork = strand.above
        if fork is None:
            self.ended = ended
        elif fork.arrived(strand, ended):
            self._stop(fork)
        else:
            self._begin_next(fork)

    def _stop(self, fork: Fork) -> None:
        self._decided[fork] = None
        # The last one first: of what is to be done, the last is done first.
        for strand in reversed(fork.live.values()):
            self._to_do.append(lambda strand=strand: self._cancel(strand))  # type: ignore[misc]
        self._go_on_if_over(fork)

    def _cancel(self, strand: Strand) -> None:
        """Tell *strand*, once, that it is needed no more. Its cleanup goes to its end."""
        above, below = strand.above, strand.below
        if strand.cancelled or above is None or strand.index not in above.live:
            return
        strand.cancelled = True
        if strand.shielded:
            strand.untold = True
            return
        if below is not None:
            below.unwanted = True
            self._stop(below)
            return
        if strand.asked is not None:
            self.dropped[strand.asked.position] = None
            self._untold.append(strand.asked.position)
            self.forgo(strand)
        self._give(strand, Ended(error=BranchCancelled()))

    def _tell(self, strand: Strand, step: Step[Any]) -> None:
        """Tell *strand* of its cancel at *step*, which it asks for outside of a shield."""
        strand.untold = False
        if isinstance(step, ParallelStep):
            fork = Fork(strand, step)
            fork.unwanted = True
            fork.close_unbegun()
        self._to_do.append(lambda: self._give(strand, Ended(error=BranchCancelled())))

    def _go_on_if_over(self, fork: Fork) -> None:
        owner = fork.owner
        if fork.over and owner.below is fork:
            fork.close_unbegun()
            owner.below = None
            self._decided.pop(fork, None)
            self._to_do.append(lambda: self._give(owner, fork.outcome()))


def _all(strand: Strand) -> Iterator[Strand]:
    """Yield *strand* and all below it, the outer before the inner."""
    yield strand
    if strand.below is not None:
        for branch in strand.below.live.values():
            yield from _all(branch)
