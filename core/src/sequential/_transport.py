"""The transport contract: carries "look at run X" from one process to another.

A message says which run, and nothing of what is in it. It may be lost, duplicated, late or out of
order: the record is the truth, and a sweeper finds what a transport lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ._outcomes import Outcome

Handle = Callable[[str], Outcome]
"""What a listener calls with each run id; an exception means "not acknowledged"."""


@dataclass(frozen=True, slots=True)
class ResumeMessage:
    """One message: look at this run.

    Attributes:
        run_id: The run.
        delay: In how many seconds; 0 for at once.
        key: The commit that it follows. Two messages with one key ask for the same look, so that a
            queue which drops duplicates may drop the second; an empty one is like no other.
        trace: W3C names (``traceparent``, ``tracestate``) of the run, for those who watch
            messages on their way.
    """

    run_id: str
    delay: float = 0.0
    key: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)


class ResumeTransport(Protocol):
    """Sends resume messages, and brings those that arrive.

    Attributes:
        carries: Whether a message reaches another process. Where it does not (polling), workers
            look for due runs themselves, and sweeping is left to them.
        longest_delay: Seconds that a message can be delayed at most; 0 for no delays.
    """

    carries: bool
    longest_delay: float

    def send(self, messages: Sequence[ResumeMessage]) -> None:
        """Ask for each run to be looked at, after its delay; return when acknowledged.

        Waits for the acknowledgement of the messages, never for the work. No delay is above
        *longest_delay*. That one is refused keeps none of the others back.

        Raises:
            TransportError: Some may not have been sent; it names their runs.
        """

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        """Call *handle* for each message until *stop* is set; then return.

        A transport without messages of its own (polling) returns when *stop* is set.
        """

    def close(self) -> None:
        """Give connections back."""
