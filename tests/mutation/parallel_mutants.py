"""Wrong variants of branches side by side: who goes on, who is told, what is kept meanwhile."""

from __future__ import annotations

from tests.mutation.patch import Mutant, mutant

_CHILDREN = "tests/core/test_children.py::"
_TOGETHER = "tests/core/test_together.py::"
_ABREAST = "tests/core/test_abreast.py::"
_PARALLEL = "tests/core/test_parallel.py::"
_STRANDS = "tests/core/test_strands.py::"

STRANDS: tuple[Mutant, ...] = (
    mutant(
        "a record is fed to the branch that asked first",
        "_player",
        "        strand = self.strands.waiting.get(record.position)",
        "        strand = next(iter(self.waiting.values()), None)",
        f"{_PARALLEL}test_results_come_in_the_order_of_the_branches_and_records_as_they_arrive",
    ),
    mutant(
        "the branch that was given first wins, not the first that was recorded",
        "_strands",
        "            index, ended = self._verdict\n",
        "            index, ended = min(self._ends.items())\n",
        f"{_PARALLEL}test_a_loser_that_carries_on_is_waited_for_and_its_value_is_dropped",
    ),
    mutant(
        "one branch more than allowed is under way",
        "_strands",
        "len(self.live) >= step.at_once",
        "len(self.live) > step.at_once",
        f"{_PARALLEL}test_max_concurrency_is_kept_and_branches_begin_lazily",
    ),
    mutant(
        "a failed branch lets the others go on",
        "_strands",
        "            self._stop(fork)\n        else:\n",
        "            pass\n        else:\n",
        f"{_PARALLEL}test_the_first_error_cancels_the_others_and_their_cleanup_takes_steps",
    ),
    mutant(
        "a branch is told again and again that it is needed no more",
        "_strands",
        "        if strand.cancelled or above is None",
        "        if above is None",
        f"{_STRANDS}test_a_loser_that_cleans_up_is_not_told_again_from_further_out",
    ),
    mutant(
        "a cancel of the run decides a race",
        "_strands",
        "        if self._stopped or told or not decides:",
        "        if self._stopped or not decides:",
        f"{_STRANDS}test_a_cancel_of_the_run_is_nobodys_victory_and_goes_up_when_all_are_over",
    ),
    mutant(
        "what never began is left to the garbage collector",
        "_strands",
        "            close_all(self._step.branches[self._begun :])",
        "            pass",
        f"{_PARALLEL}test_what_never_begins_because_another_failed_is_closed",
    ),
    mutant(
        "branches share one context",
        "_frame",
        "        frame.context = self.context.copy()",
        "        frame.context = self.context",
        f"{_PARALLEL}test_a_branch_has_a_copy_of_the_context_of_its_flow",
    ),
    mutant(
        "a needless record is refused",
        "_player",
        "            if dropped and record.position in dropped:",
        "            if record is None:",
        f"{_PARALLEL}test_a_branch_that_swallows_a_cancel_and_so_ends_the_others_blocks_nothing",
    ),
    mutant(
        "a branch logs again what was logged before it waited",
        "_player",
        "(bool(run.open) and self._is_before(run.open))",
        "strand.position in run.open",
        f"{_ABREAST}test_loggers_are_silent_on_replay_in_every_branch",
    ),
)

CANCEL: tuple[Mutant, ...] = (
    mutant(
        "a cancel of the run interrupts cleanup",
        "_cancelling",
        "        if strand.told:\n            continue\n",
        "",
        f"{_PARALLEL}test_a_cancel_leaves_losers_to_clean_up_and_reaches_who_waits_for_them",
    ),
    mutant(
        "a cancel of the run does not reach who waits for cleanup",
        "_strands",
        "                fork.revoked = cancel",
        "                pass",
        f"{_PARALLEL}test_a_cancel_leaves_losers_to_clean_up_and_reaches_who_waits_for_them",
    ),
    mutant(
        "branches begin although the run was cancelled",
        "_strands",
        "        return self._stopped or self._told",
        "        return self._stopped",
        f"{_STRANDS}test_branches_do_not_begin_any_more_when_one_got_the_cancel_of_the_run",
    ),
    mutant(
        "a step is begun as often as its branch asked before",
        "_abreast",
        "            if asked is not None and asked.position not in self._strands:",
        "            if asked is not None:",
        f"{_PARALLEL}test_a_branch_that_is_told_before_its_first_step_begins_cleans_up_once",
    ),
)

ABREAST: tuple[Mutant, ...] = (
    mutant(
        "the result of a loser is recorded",
        "_abreast",
        "        if self._flying.pop(position, None) is not None:",
        "        if self._flying.get(position) is None and self._calls is None:",
        f"{_PARALLEL}test_an_error_may_win_a_race",
    ),
    mutant(
        "who loses is not told that its result is not wanted",
        "_flights",
        "            hold.abandon()",
        "            pass",
        f"{_ABREAST}test_an_abandoned_attempt_is_told_and_an_async_one_is_cancelled",
    ),
    mutant(
        "a step that was asked for and lost is taken for changed code",
        "_settling",
        "            elif position not in strands.dropped:",
        "            else:",
        f"{_PARALLEL}test_a_signal_may_win_and_losing_waits_leave_nothing_open",
    ),
    mutant(
        "a record drops what is open of its siblings",
        "_side_by_side",
        "for key, each in run.open.items() if key in waiting}",
        "for key, each in run.open.items() if key in done}",
        f"{_ABREAST}test_at_most_once_stays_announced_whatever_others_record",
    ),
    mutant(
        "a pause does not wait for what is in flight",
        "_side_by_side",
        '        return "" if busy else self.closing\n',
        "        return self.closing\n",
        f"{_ABREAST}test_a_pause_in_the_middle_loses_nothing_and_repeats_nothing",
    ),
    mutant(
        "a pause is decided and more is begun",
        "_abreast",
        "            task = None if closing else self._startable()",
        "            task = self._startable()",
        f"{_ABREAST}test_every_step_pauses_after_each_wave_of_calls",
    ),
    mutant(
        "a cancel is recorded at one branch only",
        "_cancelling",
        "    for position, strand in player.waiting.items():",
        "    for position, strand in list(player.waiting.items())[:1]:",
        f"{_PARALLEL}test_a_cancel_reaches_every_open_branch_once_in_one_commit",
    ),
    mutant(
        "a commit that is tried again lets another come between",
        "_abreast",
        "            if isinstance(request, Wait) and request.apart:",
        "            if isinstance(request, Wait):",
        f"{_ABREAST}test_commits_never_interleave",
    ),
    mutant(
        "a deadline is not saved before others are waited for",
        "_abreast",
        "        if self.unsaved and not closing:",
        "        if self.unsaved and closing:",
        f"{_ABREAST}test_a_deadline_is_saved_before_others_are_waited_for",
    ),
    mutant(
        "what a run waits for is not saved when its code blocks it",
        "_side_by_side",
        "            if came is None:\n                yield from self._save(abreast)\n",
        "            if came is None:\n",
        f"{_ABREAST}test_what_a_blocked_run_waits_for_is_saved_first",
    ),
    mutant(
        "steps that have ended together are recorded one by one",
        "_abreast",
        "        most = min(TOGETHER, holding.engine.max_steps - holding.run.cursor) - 1\n",
        "        most = 0\n",
        f"{_TOGETHER}test_sleeps_that_end_together_are_recorded_in_few_commits",
    ),
    mutant(
        "what takes the process down loses what came before it",
        "_abreast",
        "                came = raised\n",
        "                raise raised\n",
        f"{_TOGETHER}test_what_takes_the_process_down_is_raised_after_what_came_before_it_was_recorded",
    ),
    mutant(
        "what follows the records of one commit is taken for a replay",
        "_player",
        "        left = bool(self.ready) and not self._are_of_one_commit(record)\n",
        "        left = bool(self.ready)\n",
        f"{_TOGETHER}test_what_follows_records_of_one_commit_is_no_replay",
    ),
    mutant(
        "what a retry copies counts as recorded in one commit",
        "_outside",
        "commit(evolve(run, op_id=op_id), found.run, steps)",
        "commit(evolve(run, op_id=op_id), found.run, [s._replace(op_id=op_id) for s in steps])",
        "tests/core/test_versions.py::"
        "test_what_a_retry_copied_in_one_commit_was_not_recorded_in_one",
    ),
    mutant(
        "messages are looked for although nobody waits for them any more",
        "_abreast",
        "            each in self._waits or each in self._children\n",
        "            each\n",
        f"{_ABREAST}test_messages_for_a_wait_that_lost_are_looked_for_no_more",
    ),
    mutant(
        "nobody looks for messages while something is in flight",
        "_abreast",
        "        return min(LOOK, soonest or LOOK) if self.listens else soonest",
        "        return soonest",
        f"{_ABREAST}test_a_signal_ends_a_race_although_a_call_is_in_flight",
    ),
    mutant(
        "the wait that asked last gets the message",
        "_abreast",
        "                for position in self._named.pop(message.name, ()):",
        "                for position in reversed(self._named.pop(message.name, [])):",
        f"{_ABREAST}test_a_message_that_comes_while_a_call_is_in_flight_goes_to_who_asked_first",
    ),
    mutant(
        "trouble of a branch that is needed no more stops the run",
        "_side_by_side",
        "if at == _EVERYWHERE or at in waiting),",
        "if at is not None),",
        f"{_ABREAST}test_a_missing_tool_that_loses_a_race_is_no_obstacle",
    ),
    mutant(
        "what is in flight when the code is found wrong is done again",
        "_runner",
        "                yield from self._record_flying(obstacle)",
        "                pass",
        f"{_ABREAST}test_what_is_no_step_in_one_branch_lets_the_others_be_recorded",
    ),
    mutant(
        "code that does not ask for what was begun goes on",
        "_runner",
        "            self._settling.refuse_left()\n        if isinstance(strand.step, Co",
        "            self._settling.check(strand)\n        if isinstance(strand.step, Co",
        f"{_ABREAST}test_code_that_does_not_ask_for_a_branch_that_was_begun_blocks",
    ),
    mutant(
        "as many attempts as there are branches are in flight",
        "_abreast",
        "        busy = len(self._flying) + len(self._resting) >= AT_ONCE",
        "        busy = False",
        f"{_ABREAST}test_no_more_than_sixty_four_are_in_flight",
    ),
)

RESTING: tuple[Mutant, ...] = (
    mutant(
        "a warm parent does not look at what was begun elsewhere",
        "_settling",
        "                self.check(strands.waiting[position])",
        "                continue",
        f"{_CHILDREN}test_a_warm_parent_refuses_what_other_code_has_begun_meanwhile",
    ),
    mutant(
        "a warm parent looks at all its children each time",
        "_side_by_side",
        "        self._settling.children.rest(self._abreast.children)",
        "        pass",
        f"{_CHILDREN}test_a_warm_parent_looks_only_at_the_children_that_something_came_of",
    ),
)

PARALLEL_MUTANTS = (*STRANDS, *CANCEL, *ABREAST, *RESTING)
