"""What is answered to ``POST /resume/{run_id}``, by the table of answers to a resume message.

Two ways: work within the request, or acknowledge and leave the work to this process's worker. Takes
nothing from a message but the id of a run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sequential import Sequential
from sequential.errors import TransportError
from sequential.hookspecs import ResumeMessage
from sequential.outcomes import Busy, Missing

from .exchange import Answer, Call, Refusal, is_json, not_found, unavailable
from .messages import RUN_ID, MessageForeign, MessageMalformed, read_resume
from .signing import Keys, SignatureRefused, verify
from .transport import HttpTransport
from .views import outcome_word

_log = logging.getLogger("sequential")

Mode = Literal["background", "request"]

_FULL = 2  # seconds after which a sender may come back to a full inbox


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Says of whom a resume message is taken.

    Attributes:
        keys: What must have signed it; None takes it unsigned, on this machine's loopback only.
        audience: What this server is called.
        now: Seconds since the epoch, by this host.
    """

    keys: Keys | None
    audience: str
    now: Callable[[], float]

    def admitted(self, call: Call) -> str:
        """Return the id of the run that *call* asks to look at.

        Raises:
            Refusal: 401 where it is not signed for us, 400 where it cannot be read.
        """
        asked = call.path["run_id"]
        if self.keys is None:
            if not RUN_ID.fullmatch(asked) or not is_json(call.header("content-type")):
                raise Refusal(400, "malformed")
            return asked
        try:
            verify(self.keys, call.headers, call.body, self.now())
            return read_resume(call.body, self.audience, asked)
        except (SignatureRefused, MessageForeign) as error:
            _log.warning("a resume message was refused: %s", error)
            raise Refusal(401, "unauthorised") from None
        except MessageMalformed as error:
            _log.warning("a resume message cannot be read: %s", error)
            raise Refusal(400, "malformed") from None


class Within:
    """Works within the request: one invocation, *concurrency* at a time.

    *budget* says how many seconds one may take; called in the context of the request.
    """

    def __init__(self, app: Sequential, budget: Callable[[], float], concurrency: int) -> None:
        self._app = app
        self._budget = budget
        self._slots = threading.BoundedSemaphore(concurrency)

    def __call__(self, run_id: str) -> Answer:
        """Make the invocation, and answer what it came to.

        Raises:
            Refusal: 404 for no such run, 429 where too many are under way, 503 when time is up.
        """
        seconds = self._budget()
        if seconds <= 0:
            raise unavailable()
        if not self._slots.acquire(blocking=False):
            raise Refusal(429, "busy", retry_after=1)
        try:
            outcome = self._app.resume(run_id, seconds=seconds)
        except SystemExit as error:
            # From a flow: one run never ends the process that serves the others.
            raise RuntimeError(f"the flow of run {run_id} wanted to end the process") from error
        finally:
            self._slots.release()
        if isinstance(outcome, Missing):
            raise not_found()
        status = 202 if isinstance(outcome, Busy) else 200
        return Answer(status, {"status": outcome_word(outcome)})


class Behind:
    """Acknowledges, and leaves the work to the worker of this process."""

    def __init__(self, app: Sequential, is_working: Callable[[], bool]) -> None:
        self._app = app
        self._is_working = is_working

    def __call__(self, run_id: str) -> Answer:
        """Put the run where the worker hears of it.

        Raises:
            Refusal: 503 where nobody would hear, or there is no room.
        """
        if not self._is_working() or not self._take(run_id):
            raise unavailable(_FULL)
        return Answer(202, {"status": "accepted"})

    def _take(self, run_id: str) -> bool:
        transport = self._app.transport
        if isinstance(transport, HttpTransport):
            return transport.inbox.put(run_id)
        try:
            # Whatever brings messages to this application's workers: polling tells those here.
            transport.send([ResumeMessage(run_id)])
        except TransportError as error:
            _log.warning("a resume message was not passed on: %s", error)
            return False
        return True
