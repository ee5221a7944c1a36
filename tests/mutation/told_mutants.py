"""Wrong variants of what is said to runs and by them, which seeded schedules find, most of them."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, mutant

_ANSWERED = (
    "            if not unfit:\n"
    "                return self._settled(StepOutcome.VALUE, data, state.attempt, "
)
_RESEEDED = '        seeds=reseeded(run, 0, f"{run.run_id}:{run.generation + 1}"),\n'

SIGNALS: tuple[Mutant, ...] = (
    mutant(
        "a signal is accepted that fits nobody who waits for it",
        "_outside",
        "            if told is not None and checked:",
        "            if told is None and checked:",
        SIMULATOR,
    ),
    mutant(
        "a signal has to fit all who wait for it",
        "_outside",
        "        if refusals and all(refusals):",
        "        if refusals and any(refusals):",
        SIMULATOR,
    ),
    mutant(
        "a signal that was refused is sent all the same",
        "_tending",
        "            if not self._is_waited_for(run_id, name, value):\n                raise",
        "            if not name:\n                raise",
        SIMULATOR,
    ),
    mutant(
        "a wait takes a signal of any type",
        "_replies",
        "    except ValuesError as error:\n        return error\n",
        "    except ValuesError:\n        return None\n",
        SIMULATOR,
    ),
    mutant(
        "a wait drops what another one of its name takes",
        "_settling",
        "            if unfit is not None and self._fits_another(step.name, data):",
        "            if unfit is not None and not data:",
        SIMULATOR,
    ),
    mutant(
        "a signal that does not fit stays in the inbox",
        "_settling",
        "            taken = (*taken, message.id)\n            if unfit is None:\n",
        "            if unfit is None:\n                taken = (*taken, message.id)\n",
        SIMULATOR,
    ),
)

TOKENS: tuple[Mutant, ...] = (
    mutant(
        "a token that was made up is believed",
        "_calls",
        "    if key != made:",
        "    if not made:",
        SIMULATOR,
    ),
    mutant(
        "a token of an older generation answers the newer one",
        "_tending",
        "loaded.run.generation != named.generation:",
        "loaded.run.generation < named.generation:",
        SIMULATOR,
    ),
    mutant(
        "a call that is over can be answered",
        "_tending",
        "        if recorded or loaded.run.generation",
        "        if loaded.run.generation",
        SIMULATOR,
    ),
    mutant(
        "a call takes as many answers as are sent",
        "_tending",
        "            return self._tell(named.run_id, sent_id, named.key, value, checked=True)",
        "            again = uuid.uuid4().hex\n"
        "            return self._tell(named.run_id, again, named.key, value, checked=True)",
        SIMULATOR,
    ),
    mutant(
        "the token of a rejected attempt is good for the next one",
        "_tending",
        "waiting.epoch > named.epoch:",
        "waiting.epoch < named.epoch:",
        SIMULATOR,
    ),
    mutant(
        "a call is made again because a branch beside it is blocked",
        "_side_by_side",
        "                if self.trouble:\n                    yield from self._save(abreast)\n",
        "",
        SIMULATOR,
    ),
    mutant(
        "an answer to a run that ends meanwhile is an error",
        "_tending",
        "            return False  # it has ended since",
        "            raise",
        "tests/core/test_signals.py::test_an_answer_to_a_run_that_ends_meanwhile_is_not_taken",
    ),
    mutant(
        "an answer that was dropped uses up the token",
        "_tending",
        'f"answer:{named.key}:{dropped}" if dropped else',
        'f"answer:{named.key}:{dropped}" if dropped < 0 else',
        SIMULATOR,
    ),
    mutant(
        "an early answer of the wrong type is recorded",
        "_attempts",
        f"{_ANSWERED}taken)",
        f"{_ANSWERED}taken)".replace("if not unfit:", "if taken:"),
        SIMULATOR,
    ),
    mutant(
        "an answer that was recorded stays in the inbox",
        "_attempts",
        f"{_ANSWERED}taken)",
        f"{_ANSWERED}())",
        SIMULATOR,
    ),
    mutant(
        "a token is another one with every attempt",
        "_calls",
        "        named = AnswerName(run.run_id, run.generation, self.position, self.epoch, key)",
        "        named = AnswerName(run.run_id, run.generation, self.position, self.attempt, key)",
        SIMULATOR,
    ),
    mutant(
        "a call waits under the name of an attempt that was rejected",
        "_attempts",
        "            state.epoch,\n        )\n        limit",
        "            0,\n        )\n        limit",
        SIMULATOR,
    ),
)

PROGRESS: tuple[Mutant, ...] = (
    mutant(
        "what is said is stored with a step only",
        "_holding",
        "            wanted = change(self.beside(self.run))",
        "            wanted = change(self.beside(self.run) if records else self.run)",
        SIMULATOR,
    ),
    mutant(
        "only the first thing that is said is stored",
        "_player",
        "        if self._said is None or self._said[0] is not scope.said:",
        "        if self._said is None:",
        SIMULATOR,
    ),
    mutant(
        "a copied history says again what it said",
        "_scope",
        "    if not scope.replaying:\n        scope.said = data\n",
        "    if not scope.replaying or scope.records:\n        scope.said = data\n",
        SIMULATOR,
    ),
    mutant(
        "a warm flow that is no record behind says its old progress",
        "_player",
        "            scope.said = self._said = None\n",
        "            if records:\n                scope.said = self._said = None\n",
        "tests/core/test_warm.py::"
        "test_a_warm_flow_that_is_no_record_behind_does_not_say_its_old_progress",
    ),
    mutant(
        "a run that is blocked says what its way says",
        "_invoke",
        "    holding.beside = holding.way = lambda run: run",
        "    holding.way = lambda run: run",
        SIMULATOR,
    ),
    mutant(
        "a run that starts over forgets what it said",
        "_protocol",
        f"{_RESEEDED}        patches=(),",
        f"{_RESEEDED}        progress=None,\n        patches=(),",
        SIMULATOR,
    ),
)

TOLD_MUTANTS: tuple[Mutant, ...] = (*SIGNALS, *TOKENS, *PROGRESS)
