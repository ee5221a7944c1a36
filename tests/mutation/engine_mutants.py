"""Wrong variants of an invocation: what it commits, when it pauses, what messages do to it."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, Patch, mutant

_ATTEMPTS = "tests/core/test_attempts.py::"
_HOLDING = "tests/core/test_holding.py::"
_INVOKE = "tests/core/test_invoke.py::"
_PAUSE = "tests/core/test_pause.py::"
_RUNNER = "tests/core/test_runner.py::"
_WARM = "tests/core/test_warm.py::"
_SURVIVORS = "tests/mutation/test_survivors.py::"

_UNKNOWN = """\
                unknown = True
                yield from pause(pauses, error)
"""

COMMITS: tuple[Mutant, ...] = (
    mutant(
        "only commits with records check the claim",
        "_holding",
        "            if not is_mine(found.run, held):",
        "            if records and not is_mine(found.run, held):",
        SIMULATOR,
    ),
    mutant(
        "a commit sent again forgets what others added",
        "_holding",
        "            wanted = change(self.beside(self.run))",
        "            wanted = change(held)",
        SIMULATOR,
    ),
    mutant(
        "a commit that met a signal gives up",
        "_holding",
        "                raise LeaseLost(held.run_id)\n            self.run = found.run\n",
        "                raise LeaseLost(held.run_id)\n            raise LeaseLost(held.run_id)\n",
        f"{_HOLDING}test_a_signal_that_came_first_is_not_overwritten",
    ),
    mutant(
        "a step is recorded after the run was let go",
        "_runner",
        "        yield from holding.commit(recorded, op_id, records)",
        "        yield from holding.commit(release)\n"
        "        yield from holding.commit(recorded, op_id, records)",
        f"{_PAUSE}test_an_inline_run_of_n_steps_is_n_and_three_commits",
    ),
    mutant(
        "an unknown outcome is taken for a lost lease",
        "_holding",
        _UNKNOWN,
        "                raise LeaseLost(held.run_id) from error\n",
        f"{_HOLDING}test_a_commit_is_applied_once_and_never_under_another_id",
    ),
    mutant(
        "an unknown outcome is taken for done",
        "_holding",
        _UNKNOWN,
        "                self.run = evolve(wanted, version=self.run.version + 1)\n"
        "                return\n",
        f"{_INVOKE}test_whatever_happens_at_a_commit_each_step_is_recorded_once",
    ),
    mutant(
        "a commit is sent again under a new op_id",
        "_holding",
        "self.way(wanted) if records or wanted.open else wanted, op_id=op_id)",
        "self.way(wanted) if records or wanted.open else wanted, op_id=self.world.token())",
        f"{_HOLDING}test_a_commit_is_applied_once_and_never_under_another_id",
    ),
    mutant(
        "only the record says whether a commit was applied",
        "_holding",
        " or any(step.op_id == op_id for step in found.steps)",
        "",
        f"{_HOLDING}test_a_commit_is_applied_once_and_never_under_another_id",
    ),
    mutant(
        "nobody looks whether a commit was applied",
        "_holding",
        "            if unknown and _applied(found, op_id):",
        "            if unknown and found is None:",
        f"{_HOLDING}test_a_commit_is_applied_once_and_never_under_another_id",
    ),
    mutant(
        "an applied commit is adopted although the run went on",
        "_holding",
        "        if not stands or (wanted",
        "        if not stands and (wanted",
        f"{_HOLDING}test_a_commit_that_was_applied_and_gone_on_from_is_a_lost_lease",
    ),
    mutant(
        "a claim whose answer was lost is not known as ours",
        "_holding",
        "            if self.run.owner == owner or self.run.op_id == op_id:",
        "            if self.run.owner == '' and self.run.op_id == op_id:",
        f"{_HOLDING}test_a_claim_that_is_not_confirmed_is_settled_and_counts_once",
    ),
    mutant(
        "a quarantine is taken for a claim",
        "_holding",
        "                    return Claim(answer.owner == owner, again)",
        "                    return Claim(True, again)",
        f"{_HOLDING}test_a_claim_too_many_quarantines_the_run_once",
    ),
    mutant(
        "the history read before a lost race is played",
        "_invoke",
        "_take(_cold(holding, claim.reread or loaded), loaded.run)",
        "_take(_cold(holding, loaded), loaded.run)",
        f"{_SURVIVORS}test_a_history_that_grew_before_the_claim_is_the_one_that_is_played",
    ),
    mutant(
        "a release lets go of whoever has the run now",
        "_invoke",
        "            target = evolve(change(holding.run), op_id=holding.world.token())\n"
        "            yield Commit(target, holding.run, ())",
        "            found = (yield Load(holding.run.run_id, 0)).run\n"
        "            yield Commit(evolve(change(found), op_id=holding.world.token()), found, ())",
        f"{_SURVIVORS}test_who_lets_go_lets_go_of_its_own_claim_only",
    ),
    mutant(
        "a warm frame goes on although it cannot catch up",
        "_invoke",
        "    if claim.held and same:",
        "    if claim.held:",
        f"{_INVOKE}test_a_warm_frame_of_a_history_that_was_lost_is_read_again",
    ),
    mutant(
        "a warm frame is not given what others recorded",
        "_invoke",
        "    return turn.player.catch_up(loaded.run, steps)\n",
        "    return True\n",
        f"{_INVOKE}test_a_warm_frame_that_was_overtaken_catches_up",
    ),
    mutant(
        "a warm frame says its old progress again",
        "_player",
        "            scope.said = self._said = None\n",
        "",
        f"{_WARM}test_a_warm_flow_that_catches_up_does_not_say_its_old_progress",
    ),
    mutant(
        "a warm frame outlives its generation",
        "_invoke",
        "loaded.run.generation != stood.generation or last",
        "last",
        f"{_SURVIVORS}test_a_kept_flow_of_an_earlier_generation_is_not_gone_on_with",
    ),
    mutant(
        "a warm frame goes on wherever the cursor is the same",
        "_invoke",
        "if loaded.run.generation != stood.generation or last != turn.holding.newest:",
        "if loaded.run.cursor < stood.cursor:",
        SIMULATOR,
    ),
    mutant(
        "a warm frame goes on although its last records are others",
        "_invoke",
        " or last != turn.holding.newest:",
        ":",
        SIMULATOR,
    ),
    mutant(
        "what takes the process down is no stall",
        "_invoke",
        "lambda run: give_up(run, terms))\n        raise",
        "release)\n        raise",
        f"{_INVOKE}test_a_tool_that_takes_the_process_down_each_time_is_stopped",
    ),
    mutant(
        "a history with a gap is played",
        "_invoke",
        "    if len(numbers) != run.cursor - first or numbers != list(range(first, run.cursor)):",
        "    if len(numbers) > run.cursor:",
        f"{_INVOKE}test_a_history_with_a_gap_blocks_the_run_and_runs_no_tool",
    ),
    mutant(
        "a run of a flow that is not here is claimed",
        "_invoke",
        "    if engine.registry.flow_of(loaded.run) is None:",
        "    if loaded.run.flow is None:",
        f"{_INVOKE}test_a_run_of_a_flow_that_is_not_here_is_left_alone",
    ),
)

_BEGUN_ANEW = (
    "        started = holding.world.now() if found is None else found.started",
    "        started = holding.world.now()",
)
_SLEEP_ANEW = ("        due = due if found is None or found.due is None else found.due\n", "")

PAUSES: tuple[Mutant, ...] = (
    mutant(
        "a step does not say under which claim it was done",
        "_written",
        "            run.fence,\n            op_id,",
        "            0,\n            op_id,",
        SIMULATOR,
    ),
    mutant(
        "a wait stores no due time",
        "_runner",
        "        wake = At(min(dues)) if dues else None",
        "        wake = None",
        SIMULATOR,
    ),
    mutant(
        "a pause sends no resume message",
        "_runner",
        "            yield Send(run, max(0.0, wake.time - self.holding.world.now()))",
        "            pass",
        "tests/core/test_drive.py::test_a_pause_that_goes_on_at_once_is_sent",
    ),
    mutant(
        "a wait begins anew with every look at it",
        "_settling",
        *_BEGUN_ANEW,
        SIMULATOR,
    ),
    Mutant(
        "looking early prolongs a sleep",
        (Patch("_settling", *_BEGUN_ANEW), Patch("_settling", *_SLEEP_ANEW)),
        f"{_RUNNER}test_a_sleep_is_durable_and_looking_early_does_not_prolong_it",
    ),
    mutant(
        "a stored deadline of a sleep does not stand",
        "_settling",
        *_SLEEP_ANEW,
        f"{_RUNNER}test_a_deadline_stands_even_if_the_code_now_asks_for_another_time",
    ),
    mutant(
        "a stored deadline of a signal does not stand",
        "_settling",
        "        due = due if found is None else found.due\n",
        "",
        f"{_SURVIVORS}test_the_deadline_of_a_signal_stands_even_if_the_code_now_asks_for_another",
    ),
    mutant(
        "a wait takes a signal of another name",
        "_settling",
        "self._holding.named(step.name):",
        "self._holding.run.inbox:",
        f"{_RUNNER}test_a_signal_is_taken_by_the_wait_it_is_for",
    ),
    mutant(
        "the newest signal is taken first",
        "_settling",
        "        for message in self._holding.named(step.name):",
        "        for message in reversed(self._holding.named(step.name)):",
        f"{_RUNNER}test_early_signals_are_kept_and_taken_in_order",
    ),
    mutant(
        "a signal that was taken is not marked as taken",
        "_settling",
        "Settled(StepOutcome.VALUE, data, consumed=taken, started=started)",
        "Settled(StepOutcome.VALUE, data, started=started)",
        SIMULATOR,
    ),
    mutant(
        "a cancel is delivered again and again",
        "_cancelling",
        "Settled(StepOutcome.CANCELLED, data, 1, told, started)",
        "Settled(StepOutcome.CANCELLED, data, 1, (), started)",
        f"{_INVOKE}test_a_cancel_at_any_boundary_is_raised_once_and_lets_the_flow_clean_up",
    ),
    mutant(
        "a cancel is not delivered",
        "_cancelling",
        "    sent = bool(run.inbox) and first_message(holding, CANCEL) is not None\n",
        "    sent = False\n",
        f"{_RUNNER}test_a_running_run_is_cancelled_at_its_next_step",
    ),
    mutant(
        "a budget of steps is ignored",
        "_runner",
        "        if self.holding.gained + len(records) >= policy.steps or world.left() <= 0:",
        "        if world.left() <= 0:",
        f"{_PAUSE}test_a_budget_of_steps_pauses_after_so_many",
    ),
    mutant(
        "a budget of seconds is ignored after a step",
        "_runner",
        "len(records) >= policy.steps or world.left() <= 0:",
        "len(records) >= policy.steps:",
        f"{_PAUSE}test_a_budget_of_seconds_pauses_when_it_is_used_up",
    ),
    mutant(
        "a tool is started that the budget is too short for",
        "_settling",
        "        enough = left > 0 and (timeout is None or timeout <= left"
        " or not self._holding.gained)",
        "        enough = True",
        f"{_ATTEMPTS}test_a_budget_that_is_used_up_pauses_before_the_next_tool_and_not_the_first",
    ),
    mutant(
        "a process that is told to stop goes on",
        "_runner",
        "        if world.stopping():\n",
        "        if world.left() < 0:\n",
        f"{_PAUSE}test_a_process_that_wants_to_end_parks_after_the_step",
    ),
    mutant(
        "a save point does not pause",
        "_runner",
        "            if record.kind is StepKind.SAVE:\n",
        "            if record.kind is None:\n",
        f"{_PAUSE}test_a_save_point_pauses_under_every_policy",
    ),
    mutant(
        "every-step does not pause after a step",
        "_runner",
        "            if policy.every_step and record.kind is StepKind.TOOL:\n",
        "            if record.kind is None:\n",
        f"{_PAUSE}test_every_step_is_one_claim_and_one_commit_a_step",
    ),
)

ENGINE_MUTANTS = (*COMMITS, *PAUSES)
