"""Patterns of flows, written with the steps that every flow has.

Each returns a sub-flow: ``yield from`` it in a generator, ``await`` it in a coroutine, or give it
to `gather`, `race` and the other patterns as a branch. What they are given as a branch is a step,
or a generator or coroutine that asks for steps.
"""

from __future__ import annotations

from ..errors import CompensationFailed, PollTimedOut, QuorumLost
from ._arriving import Arrived, as_completed, quorum
from ._saga import Saga, saga
from ._shield import shield
from ._timed import poll, remind

__all__ = [
    "Arrived",
    "CompensationFailed",
    "PollTimedOut",
    "QuorumLost",
    "Saga",
    "as_completed",
    "poll",
    "quorum",
    "remind",
    "saga",
    "shield",
]
