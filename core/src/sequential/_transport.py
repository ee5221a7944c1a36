"""The transport contract: carries "look at run X" from one process to another.

A message carries a run id and nothing else. It may be lost, duplicated, late or out of order:
the record is the truth, and a sweeper finds what a transport lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from ._outcomes import Outcome

Handle = Callable[[str], Outcome]
"""What a listener calls with each run id; an exception means "not acknowledged"."""


class ResumeTransport(Protocol):
    """Sends resume messages, and brings those that arrive.

    Attributes:
        carries: Whether a message reaches another process. Where it does not (polling), workers
            look for due runs themselves, and sweeping is left to them.
        longest_delay: Seconds that a message can be delayed at most; 0 for no delays.
    """

    carries: bool
    longest_delay: float

    def send(self, run_id: str, delay: float = 0.0) -> None:
        """Ask for the run to be looked at in *delay* seconds; return when acknowledged.

        Waits for the acknowledgement of the message, never for the work.

        Raises:
            TransportError: The message may not have been sent; the sweeper will find the run.
        """

    def listen(self, handle: Handle, stop: threading.Event) -> None:
        """Call *handle* for each message until *stop* is set; then return.

        A transport without messages of its own (polling) returns when *stop* is set.
        """

    def close(self) -> None:
        """Give connections back."""
