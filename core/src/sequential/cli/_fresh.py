"""Carries a run on by operating-system processes, one invocation each, one after another.

Each is ``sequential execute`` with the same settings. Nothing of the flow is kept between them:
this is what happens on edge functions, seen on one machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import click

from .._app import Sequential
from .._config import variable
from .._flow import Flow
from .._model import OPEN_STATUSES, At, Status
from .._storage import Loaded
from ._progress import waits
from ._session import Session
from ._views import what_of

_POLL = 0.2  # seconds between two looks at a run that waits


class FreshProcesses:
    """Makes each invocation in a process of its own."""

    def __init__(self, session: Session, app: Sequential, target: str) -> None:
        self._session = session
        self._app = app
        self._told: set[str] = set()
        self._command = [sys.executable, "-m", "sequential", "execute", "--json"]
        if (":" in target and target not in app.registry.flows) or "/" in target:
            self._command += ["--load", target]
        if session.debug:
            self._command.append("--debug")

    def carry(self, flow: Flow[..., Any], given: object, **how: Any) -> None:
        """Start the run, and make invocations until it ends, or cannot go on by itself.

        *how* is what `Sequential.start` takes, by name.
        """
        if self._session.settings.storage.startswith("memory:"):
            raise click.UsageError(
                "memory: keeps nothing from process to process; use --storage sqlite:///flows.db"
            )
        run_id = self._app.start(flow, given, **how)
        loaded, number = self._look(run_id, 0), 0
        while loaded.run.status in OPEN_STATUSES:
            if self._wait(loaded):
                number += 1
                self._invoke(run_id, loaded, number)
            elif loaded.run.attention is not None:
                return
            loaded = self._look(run_id, loaded.run.cursor)

    def _look(self, run_id: str, after: int) -> Loaded:
        loaded = self._app.storage.load(run_id, after)
        assert loaded is not None
        return loaded

    def _wait(self, loaded: Loaded) -> bool:
        """Wait until the run is due, or a moment; return whether it is due."""
        run, now = loaded.run, loaded.now
        if isinstance(run.wake, At) and run.wake.time <= now:
            return True
        if run.status is Status.PAUSED and run.attention is not None:
            return False
        for text in waits(loaded):
            if text not in self._told:
                self._told.add(text)
                self._session.output.note(text)
        left = run.wake.time - now if isinstance(run.wake, At) else _POLL
        self._app.clock.wait(min(max(left, 0.0), _POLL))
        return False

    def _invoke(self, run_id: str, before: Loaded, number: int) -> None:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and our own command)
            [*self._command, "--", run_id],
            stdout=subprocess.PIPE,
            env=self._environment(),
            cwd=self._session.directory,
        )
        try:
            answer, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        outcome = _outcome(answer, process.returncode)
        if outcome is None:
            # It has said why on stderr; the same command would say the same again.
            raise click.exceptions.Exit(process.returncode)
        after = self._look(run_id, before.run.cursor)
        did = ", ".join(f"step {step.position} {what_of(step)}" for step in after.steps)
        line = f"invocation {number}  pid {process.pid}  {did or 'no step'}  {outcome}"
        if self._session.json:
            click.echo(line, err=True)
        else:
            self._session.output.text(line)

    def _environment(self) -> dict[str, str]:
        """Hand settings over as variables: a command line can be read by every user."""
        settings = self._session.settings
        own = {
            variable("storage"): settings.storage,
            variable("values"): settings.values,
            variable("transport"): settings.transport,
            variable("pause"): settings.pause,
        }
        return {**os.environ, **own}


def _outcome(answer: bytes, code: int) -> str | None:
    """Return how an invocation ended; None if it could not begin."""
    if code < 0:
        return f"died of signal {-code}; the run goes on when its lease ends"
    try:
        said = json.loads(answer)
    except ValueError:
        return None
    reason = f" ({said['reason']})" if "reason" in said else ""
    return f"{said['outcome']}{reason}"
