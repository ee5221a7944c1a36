"""Several strands of one flow under way at once: kept in step with the flow, ended in good order.

`_abreast` advances their steps; here strands come and go as the flow says, waits are saved while
attempts are under way, and nothing more is begun once the run is to stop. What is recorded, and
whether the run pauses with it, is the runner's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ._abreast import Abreast, Trouble
from ._attempts import Settled, Waiting
from ._cancelling import is_cancelled
from ._holding import Holding
from ._model import Open, Run
from ._obstacle import Obstacle
from ._player import Player
from ._protocol import keep
from ._requests import Requests
from ._settling import OutOfTime, Settling
from ._strands import Strand

_EVERYWHERE = ""
"""Where trouble stands that is not of one step."""


class SideBySide:
    """The strands of one run in one invocation.

    Attributes:
        closing: Why nothing more is begun, while what is in flight is still recorded.
    """

    def __init__(self, holding: Holding, player: Player, settling: Settling) -> None:
        self.closing = ""
        self._holding = holding
        self._player = player
        self._settling = settling
        self._abreast: Abreast | None = None
        self._troubles: dict[str, Trouble] = {}

    @property
    def trouble(self) -> Trouble | None:
        """What keeps a step that is still needed from going on, if anything does."""
        if not self._troubles:
            return None
        waiting = self._player.waiting
        return next(
            (each for at, each in self._troubles.items() if at == _EVERYWHERE or at in waiting),
            None,
        )

    def settled(self) -> Requests[Sequence[tuple[Strand, Settled]]]:
        """Go on until steps came to something, and return those; none if all wait.

        Or if nothing may be begun any more, and nothing is in flight.
        """
        abreast = yield from self._followed()
        abreast.unsaved = False  # what came before was recorded, and with it what is open
        yield from self._settling.children.tell_unneeded()
        while True:
            yield from abreast.hear()
            # What is in flight is recorded first, whatever it is: it would be done again.
            closing = bool(self.closing or self.trouble)
            closing = closing or is_cancelled(self._holding, self._player)
            came = yield from abreast.next(closing=closing)
            if came is None and not closing and (yield from abreast.has_news()):
                continue
            if came is None and abreast.flying:
                yield from self._meanwhile(abreast)
            elif came is None:
                if self.trouble:
                    yield from self._save(abreast)
                return ()
            elif isinstance(came.how, Settled):
                others = () if closing else (yield from abreast.at_hand())
                return [(came.strand, came.how), *others]
            elif isinstance(came.how, OutOfTime):
                self.closing = came.how.reason
            else:
                self._troubles[came.position] = came.how

    def landed(self, obstacle: Obstacle) -> Requests[Sequence[tuple[Strand, Settled]]]:
        """Return what was in flight and came to an end, since *obstacle* lets nothing go on.

        One step at a time; none when nothing is in flight.
        """
        self._troubles[_EVERYWHERE] = obstacle
        while self._abreast is not None:
            abreast = yield from self._followed()
            came = yield from abreast.next(closing=True)
            if came is None:
                yield from self._save(abreast)
                break
            if isinstance(came.how, Settled):
                return [(came.strand, came.how)]
        return ()

    def pauses(self, reason: str) -> str:
        """Return why the run pauses with what is recorded next: for *reason*, or an older one.

        Empty if it does not. If only because something is in flight, it is closing from now on.
        """
        self.closing = "" if self.trouble else self.closing or reason
        busy = self._abreast is not None and self._abreast.busy
        return "" if busy else self.closing

    def waits(self) -> Mapping[str, Waiting]:
        """Return what the run has to wait for, by position; of many children the first."""
        assert self._abreast is not None
        return self._abreast.waits()

    def open(self, run: Run, done: Collection[str] = ()) -> Mapping[str, Open]:
        """Return what is open in *run* besides the steps at the positions *done*."""
        left = {} if self._abreast is None else self._abreast.open()
        if not run.open and not left:
            return {}
        waiting = self._player.waiting
        found = {key: each for key, each in run.open.items() if key in waiting}
        found |= left
        return {key: each for key, each in found.items() if key not in done}

    def forget(self) -> Requests[None]:
        """Let go of all: the flow goes on alone, or is over."""
        if self._abreast is not None:
            abreast = yield from self._followed()
            assert not abreast.flying
            self._abreast = None

    def parked(self) -> None:
        """Remember who waits for children: the run was parked with these waits just now."""
        assert self._abreast is not None
        self._settling.children.rest(self._abreast.children)

    def drop(self) -> None:
        """Let go of what went on side by side: nothing is in flight, and all begins anew."""
        self._abreast = None

    def _followed(self) -> Requests[Abreast]:
        """Return who goes on side by side, in step with the flow."""
        strands = self._player.strands
        assert strands is not None
        if self._abreast is None:
            settling = self._settling
            self._abreast = Abreast(settling.settle, settling.children.is_told, self._holding)
            settling.refuse_left()
            self._abreast.rest(strands.waiting, settling.resting(strands.waiting))
            strands.fresh = list(strands.waiting.values())
        for position in strands.lately_dropped():
            yield from self._abreast.forget(position)
        self._abreast.admit(strands.fresh)
        strands.fresh = []
        return self._abreast

    def _meanwhile(self, abreast: Abreast) -> Requests[None]:
        """Save what a crash must not make anew, and look for messages, while others go on."""
        holding = self._holding
        if abreast.unsaved:
            yield from self._save(abreast)
        elif abreast.listens:
            yield from holding.refresh()

    def _save(self, abreast: Abreast) -> Requests[None]:
        """Save waits that came about since the last commit: deadlines, calls without an answer."""
        holding, children = self._holding, self._settling.children
        terms, now = holding.engine.terms, holding.world.now()

        def saved(run: Run) -> Run:
            return keep(run, children.gain(self.open(run)), now, terms)

        if abreast.unsaved and self.open(holding.run) != holding.run.open:
            yield from holding.commit(saved)
        abreast.unsaved = False
