"""Runs of a full storage, carried on one step at a time and answered as `_five_methods` answers.

The application does the work, claims and fences and all. Who resumes a run is not known here.
"""

from __future__ import annotations

from typing import Any

from ._app import Sequential
from ._clock import Clock
from ._five_methods import Paused, Turned
from ._flow import Flow
from ._outcomes import Blocked, Cancelled, Completed, Failed, NotMine, Outcome, Purged, Quarantined
from ._outcomes import Paused as PausedHere
from ._registry import Registry
from ._storage import Storage
from .errors import FlowNotFound, RunBlocked, RunCancelled, RunFailed, RunMissing, RunStatusWrong

_GOES_ON = frozenset({"step", "save", "budget", "shutdown", "continued"})
"""Reasons of a pause after which the run is due at once."""


class _Silent:
    """A transport that sends nothing: the executor resumes by itself."""

    carries = False
    longest_delay = 0.0

    def send(self, messages: object) -> None: ...

    def listen(self, handle: object, stop: object) -> None: ...

    def close(self) -> None: ...


class FullStorage:
    """Carries runs on over *storage*; *plugins* are asked before those that are installed."""

    def __init__(
        self,
        storage: Storage,
        plugins: list[object],
        registry: Registry,
        clock: Clock,
        *,
        keep: bool,
    ) -> None:
        # Only who has a full storage pays for importing it.
        from importlib.metadata import entry_points

        installed = [entry.name for entry in entry_points(group="sequential")]
        self._app = Sequential(
            storage,
            _Silent(),
            "every-step",
            [*installed, *plugins],
            registry=registry,
            clock=clock,
        )
        self._keep = keep

    def flow_of(self, run_id: str) -> str | None:
        """Return the name of the run's flow; None if there is no such run."""
        try:
            return self._app.get(run_id).flow
        except RunMissing:
            return None

    def carry(self, flow: Flow[..., Any], run_id: str, given: object) -> Turned:
        """Make one invocation, and start the run if it is new."""
        if given is not None or self.flow_of(run_id) != flow.name:
            self._app.start(flow, given, run_id=run_id)
        outcome = self._app.execute(run_id)
        if isinstance(outcome, PausedHere):
            step = int(outcome.position.partition(".")[0])
            return Turned(Paused(run_id, step), outcome.reason in _GOES_ON)
        if isinstance(outcome, Completed):
            if not self._keep:
                self._app.storage.purge(self._app.get(run_id))
            return Turned(outcome.result, False)
        _raise_for(outcome)
        # Another invocation has it, and will ask to be resumed.
        return Turned(Paused(run_id, max(self._app.get(run_id).cursor - 1, 0)), False)


def _raise_for(outcome: Outcome) -> None:
    run_id = outcome.run_id
    if isinstance(outcome, Failed):
        raise RunFailed(run_id, outcome.error.type, outcome.error.message)
    if isinstance(outcome, Cancelled):
        raise RunCancelled(run_id)
    if isinstance(outcome, Blocked):
        raise RunBlocked(run_id, outcome.message, outcome.diff)
    if isinstance(outcome, Quarantined):
        raise RunBlocked(run_id, "it killed its invocations too often; redrive it")
    if isinstance(outcome, Purged):
        raise RunStatusWrong(run_id, "completed and deleted", "execute", "runs that go on")
    if isinstance(outcome, NotMine):
        raise FlowNotFound(outcome.flow)
