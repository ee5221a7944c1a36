"""What is told to runs and done to them from outside, as methods of the application.

Signals, cancels, repairs, sweeping. The transitions are `_protocol`'s, committed by `_outside`;
here a resume message follows where one is due.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress

from . import _codec
from ._calls import read_answer_token
from ._checking import takes_signal
from ._events import RunEnded
from ._json import is_unicode
from ._kept import reseeded
from ._model import At, Run, Status
from ._opened import Opened
from ._payload import input_place
from ._protocol import CANCEL, NOW, cancel_id
from ._run_id import check_run_id, new_run_id
from ._storage_rules import is_same, tombstone
from ._transport import ResumeMessage
from .errors import (
    ConfigError,
    OutcomeUnknown,
    PositionMissing,
    RunMissing,
    RunStatusWrong,
    SignalMismatch,
    StorageError,
)

_log = logging.getLogger("sequential")

_KEPT = frozenset({Status.PAUSED, Status.RUNNING, Status.QUARANTINED})


class Tended(Opened):
    """An application whose runs can be told things and repaired."""

    # -- telling and repairing ---------------------------------------------------------------

    def signal(
        self,
        run_id: str,
        name: str,
        value: object = None,
        *,
        signal_id: str | None = None,
        checked: bool = True,
    ) -> bool:
        """Send the signal *name* to the run; it waits there until the flow asks for it.

        Where the run waits for it by now, the value must fit the type that it waits for: as the
        flow's code says it, if that is registered here, else as the record tells it. A signal that
        comes early is taken as it is; if the flow cannot read it then, it is dropped.

        Args:
            run_id: The run.
            name: Not starting with ``$``.
            value: Anything that can be stored.
            signal_id: Accepted once; by default a new one, so that each call is a new signal.
            checked: False to send it whatever the record tells: for a process without the flow,
                when a deploy has changed the type since the run began to wait.

        Returns:
            Whether it was accepted: False if one with this id was before.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: It has ended.
            SignalMismatch: The value does not fit what the run waits for; nothing was sent.
            NotEncodable: The value cannot be stored.
        """
        for noun, word in (("the name of a signal", name), ("a signal id", signal_id)):
            if not _is_word(word) and (word is not None or noun == "the name of a signal"):
                msg = (
                    f"{word!r:.80} cannot be {noun}; use text of 1 to 256 characters"
                    " that does not start with $"
                )
                raise ValueError(msg)
        check_run_id(run_id)
        return self._tell(run_id, signal_id or uuid.uuid4().hex, name, value, checked=checked)

    def answer(self, token: str, value: object = None) -> bool:
        """Answer the tool call that *token*, its `ToolContext.answer_token`, was made for.

        The tool has returned `Pending()`, or will: an answer that is faster waits for it.

        Returns:
            Whether the answer was taken: False if the call was answered before, or nobody waits
            for it any more, such as after a retry of the run.

        Raises:
            TokenInvalid: It is no token, or of another storage.
            RunMissing: There is no such run, or no longer.
            SignalMismatch: The value does not fit what the tool is to return; nothing was sent.
            NotEncodable: The value cannot be stored.
        """
        named = read_answer_token(token, self.engine.deployment)
        loaded = self.storage.load(check_run_id(named.run_id))
        if loaded is None:
            raise RunMissing(named.run_id)
        recorded = any(step.position == named.position for step in loaded.steps)
        if recorded or loaded.run.generation != named.generation:
            return False
        waiting = loaded.run.open.get(named.position)
        if waiting is not None and waiting.epoch > named.epoch:
            return False  # that attempt was rejected, and a later one waits under another key
        if loaded.run.status not in _KEPT:
            return False
        # An answer that came early and did not fit was dropped: it must not use the token up.
        dropped = sum(each.startswith(f"answer:{named.key}") for each in loaded.run.seen)
        sent_id = f"answer:{named.key}:{dropped}" if dropped else f"answer:{named.key}"
        try:
            return self._tell(named.run_id, sent_id, named.key, value, checked=True)
        except RunStatusWrong:
            return False  # it has ended since

    def _tell(self, run_id: str, sent_id: str, name: str, value: object, *, checked: bool) -> bool:
        try:
            accepted = self._outside.send(run_id, sent_id, name, value, checked=checked)
        except SignalMismatch:
            if not self._is_waited_for(run_id, name, value):
                raise
            accepted = self._outside.send(run_id, sent_id, name, value)
        self._nudge(run_id)
        return accepted

    def _is_waited_for(self, run_id: str, name: str, value: object) -> bool:
        """Tell whether the code here waits for what the record, of an older deploy, refused."""
        loaded = self.storage.load(run_id)
        if loaded is None:
            raise RunMissing(run_id)
        sent = (name, _codec.encode(value))
        fetched = self.storage.get_value
        return takes_signal(self.engine, loaded.run, loaded.steps, fetched, sent)

    def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask the run to stop: `RunCancelled` is raised in it at its next step, so it can clean up.

        Returns whether this was the first to ask.
        """
        run = self.get(run_id)
        told = {"reason": reason} if reason else None
        accepted = self._outside.send(run_id, cancel_id(run), CANCEL, told)
        self._nudge(run_id)
        return accepted

    def terminate(self, run_id: str) -> Run:
        """End the run as cancelled at once; none of its code runs any more.

        Its children are left to themselves.
        """
        run = self._outside.terminate(check_run_id(run_id))
        self.plugins.observe(RunEnded(run, self.driver.time.now()))
        if run.notice:
            self.driver.tell_parent(run)
        return run

    def retry(self, run_id: str) -> Run:
        """Carry a failed, cancelled or quarantined run on from the step that failed."""
        return self._sent(self._outside.retry(check_run_id(run_id)))

    def redrive(self, run_id: str) -> Run:
        """Give a quarantined run another chance; look at a blocked one at once."""
        return self._sent(self._outside.redrive(check_run_id(run_id)))

    def fork(
        self, run_id: str, at: str, *, edit: tuple[object] | None = None, new_id: str | None = None
    ) -> str:
        """Start a new run from the steps that this one recorded before position *at*.

        Args:
            run_id: The run, which stays as it is.
            at: Position of the step to do anew, such as ``"3"``.
            edit: A one-element tuple: the result to take for that step instead of doing it.
            new_id: Id of the new run.

        Raises:
            RunMissing: There is no such run.
            PositionMissing: There is no such step.
            NotEncodable: The edited result cannot be stored; nothing was started.
            ValueMismatch: It does not fit what the tool or child returns, as the code here says.
            RunTaken: The new id is another run's.
        """
        given: object = edit
        if given is not None and not (isinstance(given, tuple) and len(given) == 1):
            remedy = "give the result in a tuple of one, such as edit=(5,)"
            raise ConfigError("edit", f"{edit!r:.80}", remedy)
        loaded = self.storage.load(check_run_id(run_id))
        if loaded is None:
            raise RunMissing(run_id)
        number = next((s.number for s in loaded.steps if s.position == at), None)
        if number is None:
            raise PositionMissing(run_id, at)
        source, copied = loaded.run, number + (edit is not None)
        chosen = check_run_id(new_id or new_run_id())
        data = self._outside.data_of(source.input, input_place(source.run_id))
        payload, digest = self._outside.input_payload(chosen, data)
        tags = {**source.tags, "forked_from": run_id}
        run = Run(
            chosen, source.flow, payload, source.flow_version, wake=NOW, tags=tags, asked=digest,
            created=self.driver.time.now(),
            begun=source.begun or source.created, patches=source.patches if copied else (),
            seeds=reseeded(source, copied, chosen),
        )  # fmt: skip
        forked = self._outside.fork(source, loaded.steps[: number + 1], run, edit)
        return self._sent(forked).run_id

    def purge(self, run_id: str, *, tombstones: bool = True) -> bool:
        """Shrink an ended run to a tombstone, or remove its tombstone; False if it goes on.

        Args:
            run_id: The run.
            tombstones: False to leave a tombstone, and return False: for whoever found the run
                before somebody else purged it.

        Raises:
            RunMissing: There is no such run.
            RunStatusWrong: Its parent waits for its end and cannot be told of it just now.
        """
        run = self.get(run_id)
        if run.notice:
            self.driver.tell_parent(run)
            run = self.get(run_id)
        if run.notice:
            allowed = "a run whose parent knows of its end"
            raise RunStatusWrong(run_id, run.status, "purge", allowed)
        if run.status is Status.PURGED and not tombstones:
            return False
        try:
            return self.storage.purge(run)
        except OutcomeUnknown:
            # Whoever calls again would read the tombstone that was left just now, and remove it.
            return self.storage.purge(run) or self._is_purged(run)

    def _is_purged(self, run: Run) -> bool:
        """Tell whether what is stored is what a purge of *run* leaves."""
        try:
            stored, rest = self.get(run.run_id), tombstone(run)
        except RunMissing:
            return True
        return rest is not None and is_same(stored, rest)

    def tidy(self, run_id: str) -> bool:
        """Purge an ended run whose time has come; return whether it was. Workers call it."""
        run = self.get(run_id)
        if run.notice or run.status in _KEPT or not isinstance(run.wake, At):
            return False
        over = run.wake.time <= self.driver.time.now()
        return over and self.storage.purge(run)

    def sweep(self, limit: int = 100) -> int:
        """Send resume messages for what is due; return how many. Any process may call it.

        With a transport that carries no messages (polling) there is nothing to send: workers
        look for due runs themselves.
        """
        if not self.transport.carries:
            return 0
        ids = self.storage.due(limit, None, 30.0)
        return self.driver.send_all([ResumeMessage(run_id) for run_id in ids])

    def roll_up(self) -> float | None:
        """Fold recorded steps into statistics by the hour; return until when that is done.

        Call it where you sweep; workers do. Where it is not time for it yet it returns at once.
        None if the storage has no statistics, or could not make them, which is logged: nothing
        else is harmed by that.
        """
        fold: Callable[[], float] | None = getattr(self.storage, "roll_up", None)
        if fold is None:
            return None
        try:
            return fold()
        except Exception as error:  # noqa: BLE001  (whatever a storage raises, runs go on)
            _log.warning("no statistics were made, the next call tries again: %s", error)
            return None

    def _nudge(self, run_id: str) -> None:
        """Send a resume message for the run, which was told something."""
        # A storage that fails now is no reason to say that nothing was sent.
        with suppress(StorageError, RunMissing):
            self._send(self.get(run_id))

    def _sent(self, run: Run) -> Run:
        self._send(run)
        return run

    def _send(self, run: Run) -> None:
        """Send a resume message if *run* is due; the sweeper finds it where that fails."""
        if run.status is Status.PAUSED and isinstance(run.wake, At):
            self.driver.send(run, run.wake.time - self.driver.time.now())


def _is_word(word: object) -> bool:
    """Tell whether *word* can name a signal: what starts with $ is the engine's."""
    return isinstance(word, str) and 0 < len(word) <= 256 and word[0] != "$" and is_unicode(word)
