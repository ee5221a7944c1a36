"""How a cancel of the run, or the end of its time, reaches the steps that its flow waits for.

Both are recorded as the outcome of those steps, so a replay raises them at the same places. Who may
send a cancel, and when a deadline is over, stands in `_protocol`.
"""

from __future__ import annotations

from ._attempts import Settled, first_message, read_message
from ._holding import Holding
from ._model import StepOutcome
from ._player import Player
from ._protocol import CANCEL, cancel_id, is_overdue
from ._requests import Requests
from ._strands import Strand

_DEADLINE = b'{"reason":"deadline"}'
"""What is recorded where a run is cancelled because its time is over."""


def is_cancelled(holding: Holding, player: Player) -> bool:
    """Tell whether a cancel is there, or the deadline over, and somebody is to be told.

    Branches that were told to stop are left to clean up.
    """
    run = holding.run
    sent = bool(run.inbox) and first_message(holding, CANCEL) is not None
    late = run.deadline is not None and is_overdue(run, holding.world.now())
    if not (sent or late):
        return False
    return any(not strand.told for strand in player.waiting.values())


def cancelled(holding: Holding, player: Player) -> Requests[list[tuple[Strand, Settled]]]:
    """Return what every step comes to that the flow waits for, but for those of cleanup.

    That is the cancel, with its reason.
    """
    run, message = holding.run, first_message(holding, CANCEL)
    data = _DEADLINE if message is None else (yield from read_message(holding, message))
    # Also what was sent to the generation before, once: what comes from now on is cleanup.
    sent = (each.id for each in run.inbox if each.name == CANCEL)
    told = tuple(dict.fromkeys((cancel_id(run), *sent)))
    now, settled = holding.world.now(), list[tuple[Strand, Settled]]()
    for position, strand in player.waiting.items():
        if strand.told:
            continue
        found = run.open.get(position)
        started = now if found is None else found.started
        ended = Settled(StepOutcome.CANCELLED, data, 1, told, started)
        settled.append((strand, ended))
    return settled
