"""What becomes of a message once its run was looked at: the table of answers, as a function.

Knows outcomes and seconds; no queue, no clock, no I/O. Worker and Lambda function answer by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sequential import Outcome
from sequential.outcomes import Busy, NotMine

BUSY_LOOKS = 3
"""How often a message may find its run busy; then it is deleted, and the sweeper has the run."""

_LONGEST_BACKOFF = 300.0


@dataclass(frozen=True, slots=True)
class Delete:
    """It has done what it is for."""


@dataclass(frozen=True, slots=True)
class Leave:
    """It comes again when its visibility ends, for a process that can use it."""


@dataclass(frozen=True, slots=True)
class Later:
    """It comes again in *seconds*."""

    seconds: int


Answer = Delete | Leave | Later

DELETE, LEAVE = Delete(), Leave()


def answer_to(outcome: Outcome, receives: int, now: float, longest: float, chance: float) -> Answer:
    """Return what to do with a message whose run came to *outcome*.

    Args:
        outcome: What the invocation came to.
        receives: How often the message was received, this time included.
        now: Seconds since the epoch.
        longest: Seconds that the message of a busy run is put off at most.
        chance: A random number from 0 to 1, so that messages of one run come apart.
    """
    if isinstance(outcome, Busy):
        if receives >= BUSY_LOOKS:
            return DELETE
        # Without a time it is busy in this very process, which looks again by itself.
        left = 0.0 if outcome.until is None else max(0.0, outcome.until.time - now)
        return Later(math.ceil(min(left + 1.0 + 4.0 * chance, longest)))
    return LEAVE if isinstance(outcome, NotMine) else DELETE


def answer_to_error(receives: int, chance: float) -> Later:
    """Return what to do with a message whose run could not be looked at: it comes again, later.

    Soon at first, and then so rarely that an outage of some minutes does not use up the five
    receives after which a message goes to the dead-letter queue.
    """
    longest = min(4.0 ** min(max(receives - 1, 0), 8), _LONGEST_BACKOFF)
    return Later(max(1, round(longest * (0.5 + chance / 2))))
