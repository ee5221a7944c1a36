"""What people say to runs: signals of both types, and answers by tokens, right and wrong ones.

Each is said as the application does, over the same bad way to the storage as everything else, and
what became of it is held against what is stored. When somebody says something is not known here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress

from sequential._model import Open, Run, StepKind
from sequential.errors import RunStatusWrong, SignalMismatch, TokenInvalid
from tests.simulation.asking import HANDED, Handed
from tests.simulation.drawn import NAMES
from tests.simulation.traffic import Traffic


class People(Traffic):
    """A fleet, and people who say things to its runs."""

    _worded = False
    """Whether the last signal is a text."""

    # -- signals -----------------------------------------------------------------------------

    def signal(self, run_id: str, name: str, *, worded: bool | None = None) -> None:
        """Send a signal, now and then one that was sent before, or one of the wrong type.

        A text if it is to be *worded*, and a number if not.
        """
        if worded is not None or not self.choices.chance(0.2):
            self._signals += 1
            self._worded = self.choices.chance(0.45) if worded is None else worded
        sent_id, value = f"s{self._signals}", self._value()
        before, counted = self.memory.stored(run_id), self.counts["meanwhile"]
        checked = not self.choices.chance(0.15)

        def say() -> bool:
            return self.desk.signal(run_id, name, value, signal_id=sent_id, checked=checked)

        accepted = self._said(run_id, sent_id, say)
        if checked and accepted is not False and counted == self.counts["meanwhile"]:
            told = self.memory.told
            told.check_signal(before, name, value, accepted=bool(accepted))

    def _value(self) -> object:
        return f"text {self._signals}" if self._worded else self._signals

    def _said(self, run_id: str, sent_id: str, say: Callable[[], bool]) -> bool | None:
        """Say something; return whether it was accepted, None if it was refused for its type."""
        watched, troubled = self.memory.watched[run_id], self.counts.total()
        # Not what was confirmed: a message may have arrived that its sender gave up.
        stored = self.memory.stored(run_id)
        there = {*stored.seen, *(message.id for message in stored.inbox)}
        try:
            accepted = say()
        except SignalMismatch:
            same = self.memory.stored(run_id) is stored or troubled != self.counts.total()
            assert same, "I24 what was refused left a trace"
            self.memory.counts["signals refused"] += 1
            return None
        if troubled == self.counts.total():
            assert accepted is (sent_id not in there), "I12 accepted twice"
        watched.accepted.add(sent_id)
        self.post(run_id, 0.0)
        return accepted

    def signal_somebody(self, run_id: str) -> None:
        """Send the run a signal of some name, or some run one that it waits for."""
        waits = [(at, name) for at, name in self._waits() if name in NAMES]
        known = [*[(run_id, name) for name in NAMES] * 2, *waits]
        self.signal(*self.choices.one_of(known))

    def _waits(self) -> list[tuple[str, str]]:
        """Return what runs wait for."""
        stored = [self.memory.stored(run_id) for run_id in self.memory.watched]
        return [(run.run_id, each.name) for run in stored for each in run.open.values()]

    # -- answers -----------------------------------------------------------------------------

    def answer_somebody(self, run_id: str) -> None:
        """Answer by one of the tokens that the run handed out last, or that some run waits for."""
        draw = self.choices.one_of
        own = [each for each in HANDED if each.run_id == run_id]
        waits = {name for _, name in self._waits()}
        known = [*(own or HANDED)[-4:], *[each for each in HANDED if each.key in waits]]
        if not known:
            return
        token = known[-1 - self.choices.below(len(known))]
        acts = (self._answer, self._mistake, self._answer, self._mistake, self._answer)
        act = draw((*acts, self._forge, self._outlive))
        act(token)
        if self.choices.chance(0.2):
            self._answer(token)

    def _answer(self, token: Handed, *, worded: bool = False) -> None:
        self._signals, self._worded = self._signals + 1, worded
        run, troubled = self.memory.stored(token.run_id), self.counts.total()
        steps = tuple(self.memory._steps.get((run.run_id, run.generation), {}).values())
        wanted = self.memory.told.can_be_answered(run, steps, token)
        try:
            accepted = self.desk.answer(token.token, self._value())
        except RunStatusWrong as error:
            raise AssertionError("I25 a run that has ended is asked") from error
        except SignalMismatch:
            assert worded, "I25 an answer was refused that fits"
            if troubled == self.counts.total():
                assert self.memory.stored(run.run_id) is run, "I25 what was refused left a trace"
                assert wanted, "I25 an answer was looked at that nobody waits for"
            self.memory.counts["answers refused"] += 1
            return
        if troubled == self.counts.total():
            assert accepted is wanted, "I25 taken or not"
            waits = run.open.get(token.position)
            open_ = waits is not None and waits.name == token.key
            assert not (accepted and worded and open_), "I25 taken, of the wrong type"
        if accepted:
            self.memory.counts["answers"] += 1
        else:
            self.memory.counts["answers too late"] += 1
        self.post(run.run_id, 0.0)

    def _mistake(self, token: Handed) -> None:
        self._answer(token, worded=True)

    def _outlive(self, token: Handed) -> None:
        """End the run and retry it, and answer what it asked before."""
        with suppress(RunStatusWrong):
            self.outside.terminate(token.run_id)
        self.outside.retry(token.run_id)
        self._answer(token)

    def _forge(self, token: Handed) -> None:
        """Answer by a token that was made from another one."""
        parts: list[object] = [*token[1:]]
        other = "r1" if token.run_id == "r0" else "r0"
        changed = (other, token.generation + 1, f"{token.position}.0", token.epoch + 1)
        place = self.choices.below(4)
        parts[place] = changed[place]
        data = json.dumps(parts, separators=(",", ":")).encode()
        forged = base64.urlsafe_b64encode(data).decode().rstrip("=")
        stored = {run_id: self.memory.stored(run_id) for run_id in self.memory.watched}
        try:
            self.desk.answer(forged, self._signals)
        except TokenInvalid:
            assert stored == {key: self.memory.stored(key) for key in stored}, "I25 a forged token"
            self.memory.counts["tokens refused"] += 1
            return
        raise AssertionError("I25 a forged token was taken")

    # -- the end -----------------------------------------------------------------------------

    def give(self, run: Run) -> None:
        """Give *run* what it waits for, as long as it takes."""
        waits = [each for each in run.open.values() if each.due is None and _is_asked(each)]
        texts = {(each.name, "string" in each.schema) for each in waits if not each.tool}
        for name, worded in sorted(texts):
            self.signal(run.run_id, name, worded=worded)
        for name in {each.name for each in waits if each.tool}:
            self._answer(next(each for each in HANDED if each.key == name))


def _is_asked(wait: Open) -> bool:
    return wait.kind is not StepKind.CHILD
