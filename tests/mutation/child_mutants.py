"""Mutants of child runs: begun, told, counted, and needed no more."""

from __future__ import annotations

from tests.mutation.patch import Mutant, mutant

_CHILDREN = "tests/core/test_children.py::"
_LOST = "tests/core/test_children_lost.py::"
_EVERYWHERE = f"{_LOST}test_nothing_is_lost_or_done_twice_wherever_the_process_is_lost"

CHILD_MUTANTS: tuple[Mutant, ...] = (
    mutant(
        "a child that ended does not stay due until its parent was told",
        "_protocol",
        "        wake=NOW if child else In(terms.retention),\n",
        "        wake=In(terms.retention),\n",
        _EVERYWHERE,
    ),
    mutant(
        "a child is said to have told its parent before it did",
        "_protocol",
        "        notice=child,\n",
        "        notice=False,\n",
        f"{_CHILDREN}test_a_child_is_a_run_of_its_own_and_one_record_of_its_parent",
    ),
    mutant(
        "nobody but the process that ended a child tells its parent",
        "_invoke",
        "    if loaded.run.notice:\n",
        "    if loaded.run.notice and not loaded.run.run_id:\n",
        _EVERYWHERE,
    ),
    mutant(
        "a parent is told again of a child that it was told of",
        "_telling",
        "            yield from _remember(engine, world, run, world.now() if full else None)\n",
        "            pass\n",
        f"{_CHILDREN}test_a_child_is_a_run_of_its_own_and_one_record_of_its_parent",
    ),
    mutant(
        "an end is remembered as told whether it was or not",
        "_telling",
        "        if letter.done:\n",
        "        if letter.name:\n",
        "tests/core/test_letters.py::test_an_end_that_another_thread_took_along_and_could_not_tell_is_told_later",
    ),
    mutant(
        "a child of a row is taken as begun although its id is taken",
        "_child_runs",
        "            if found.op_id != child.op_id or found.status is not Status.PAUSED:\n",
        "            if found.status is Status.PURGED:\n",
        f"{_CHILDREN}test_a_taken_id_in_a_row_of_children_is_one_clear_error",
    ),
    mutant(
        "children that were begun are not counted",
        "_child_runs",
        "            self._begun = first\n",
        "",
        f"{_CHILDREN}test_many_children_are_begun_once_and_recorded_together",
    ),
    mutant(
        "an end that nobody waits for stays in the inbox",
        "_child_runs",
        "            if message.name.startswith(CHILD) and",
        "            if message.name == CHILD and",
        f"{_CHILDREN}test_an_end_that_is_told_again_is_dropped",
    ),
    mutant(
        "a cancel is not passed on to the children",
        "_player",
        "                self.strands.forgo(strand)\n",
        "                pass\n",
        f"{_CHILDREN}test_a_cancel_is_passed_on_and_waited_for_by_nobody",
    ),
    mutant(
        "the children of branches that lost are not told to stop",
        "_strands",
        "            self.forgo(strand)\n",
        "",
        f"{_CHILDREN}test_the_losers_of_a_race_are_cancelled",
    ),
    mutant(
        "somebody else's run is told to stop",
        "_child_runs",
        "lambda child: child.parent == parent, reason",
        "lambda child: child.parent != parent, reason",
        f"{_CHILDREN}test_somebody_elses_run_is_not_cancelled_in_place_of_a_child_never_begun",
    ),
    mutant(
        "a run with another parent is waited for",
        "_child_runs",
        'return "another parent" if step.waits and stored.parent != child.parent else ""',
        'return ""',
        f"{_CHILDREN}test_an_id_that_is_taken_is_one_clear_error_at_the_step",
    ),
    mutant(
        "the end of a child that was begun with another input is taken",
        "_child_runs",
        "        self._refuse_other(asked, notice.flow, notice.asked)\n",
        "",
        f"{_CHILDREN}test_a_child_begun_by_other_code_blocks_its_parent",
    ),
    mutant(
        "a record that is needed no more is taken for a change of the code",
        "_player",
        "            if dropped and record.position in dropped:\n",
        "            if not dropped and record.position in dropped:\n",
        f"{_CHILDREN}test_of_ends_that_come_together_the_first_may_decide_that_of_the_others",
    ),
)
