"""Wrong variants of what runs are to each other, which seeded schedules or random programs find."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, mutant

_CHILDREN = "tests/core/test_children.py::"

CHILDREN: tuple[Mutant, ...] = (
    mutant(
        "the id of a child follows from the claim as well",
        "_run_id",
        '    whole = f"{parent.run_id}~{position}{later}"',
        '    whole = f"{parent.run_id}~{position}{later}.{parent.fence}"',
        SIMULATOR,
    ),
    mutant(
        "a child that was never created is waited for",
        "_telling",
        "            return (yield request)\n"
        "        except (OutcomeUnknown, StorageUnavailable) as error:\n"
        "            yield from pause(pauses, error)",
        "            return (yield request)\n"
        "        except (OutcomeUnknown, StorageUnavailable) as error:\n"
        "            return request.run if isinstance(request, Create) else request.runs",
        SIMULATOR,
    ),
    mutant(
        "the end of a child is taken by whoever chose the same id",
        "_child_runs",
        "        if step.run_id is not None and not self._has_begun(asked):",
        "        if step.run_id is None and not self._has_begun(asked):",
        f"{_CHILDREN}test_the_end_of_a_child_is_not_taken_for_that_of_a_later_step_that_chose_the_same_id",
    ),
    mutant(
        "a child that was cancelled is taken for one that completed",
        "_child_runs",
        'StepOutcome.VALUE if notice.end == "completed" else StepOutcome.ERROR',
        'StepOutcome.VALUE if notice.end != "failed" else StepOutcome.ERROR',
        SIMULATOR,
    ),
    mutant(
        "children are counted before the record names them",
        "_child_runs",
        "self.gain({**run.open, **named})",
        "self.gain(run.open)",
        f"{_CHILDREN}test_a_child_that_was_begun_is_not_counted_for_another_step_of_changed_code",
    ),
    mutant(
        "a parent whose inbox is full is told nothing more",
        "_telling",
        "world.now() if full else None)",
        "None)",
        SIMULATOR,
    ),
    mutant(
        "a child that is terminated tells nobody",
        "_protocol",
        "    return evolve(end(run, Status.CANCELLED, now, terms), fence=run.fence + 1)",
        "    over = end(run, Status.CANCELLED, now, terms)\n"
        "    return evolve(over, fence=run.fence + 1, notice=False)",
        SIMULATOR,
    ),
    mutant(
        "a child that is retried tells of the end that it had",
        "_protocol",
        "        notice=False,\n        result=None,",
        "        result=None,",
        SIMULATOR,
    ),
    mutant(
        "an end that nobody waits for is kept for ever",
        "_runner",
        "        consumed = (*taken, *children.surplus())",
        "        consumed = tuple(taken)",
        SIMULATOR,
    ),
    mutant(
        "a flow that is over leaves the children that it needs no more to themselves",
        "_runner",
        "        yield from self._alone()\n        self._settling.refuse_left()",
        "        self._settling.refuse_left()",
        SIMULATOR,
    ),
    mutant(
        "children that were to be left are told to stop",
        "_child_runs",
        'step.waits and step.on_cancel == "cancel":',
        "step.waits:",
        SIMULATOR,
    ),
    mutant(
        "a child that was only started tells of its end",
        "_protocol",
        "    child = run.parent is not None and run.parent.waits",
        "    child = run.parent is not None",
        SIMULATOR,
    ),
)

DEADLINES: tuple[Mutant, ...] = (
    mutant(
        "a deadline is over before its time",
        "_protocol",
        "    over = run.deadline is not None and run.deadline <= now\n",
        "    over = run.deadline is not None and run.deadline <= now + 2\n",
        SIMULATOR,
    ),
    mutant(
        "who waits for a signal is not told that the deadline is over",
        "_protocol",
        "    if run.deadline is not None and not isinstance(wake, In):",
        "    if run.deadline is not None and isinstance(wake, At):",
        SIMULATOR,
    ),
    mutant(
        "a run that is woken by its deadline is not told",
        "_cancelling",
        "    late = run.deadline is not None and is_overdue(run, holding.world.now())",
        "    late = False",
        SIMULATOR,
    ),
    mutant(
        "a cancel that the generation before was sent does not count for the next",
        "_cancelling",
        "    told = tuple(dict.fromkeys((cancel_id(run), *sent)))",
        "    told = tuple(sent)[:1] or (cancel_id(run),)",
        SIMULATOR,
    ),
    mutant(
        "what is told of the deadline is told again at the next step",
        "_cancelling",
        "    told = tuple(dict.fromkeys((cancel_id(run), *sent)))",
        "    told = tuple(sent)",
        SIMULATOR,
    ),
)

PATCHES: tuple[Mutant, ...] = (
    mutant(
        "who has come past a change goes its new way",
        "_scope",
        "return self.patches.setdefault(patch, not self.behind)",
        "return self.patches.setdefault(patch, True)",
        SIMULATOR,
    ),
    mutant(
        "a new run goes the old way of a change",
        "_scope",
        "return self.patches.setdefault(patch, not self.behind)",
        "return self.patches.setdefault(patch, False)",
        SIMULATOR,
    ),
    mutant(
        "a patch is kept before any step went its way",
        "_holding",
        "self.way(wanted) if records or wanted.open else wanted",
        "self.way(wanted)",
        SIMULATOR,
    ),
    mutant(
        "a flow that is kept warm insists on its way",
        "_player",
        "            if any(new != (each in run.patches) for each, new in scope.patches.items()):",
        "            if run is None:",
        "tests/core/test_versions.py::"
        "test_a_flow_that_is_kept_warm_does_not_insist_on_a_way_without_a_step",
    ),
    mutant(
        "a retry of everything keeps the ways of before",
        "_protocol",
        "        patches=run.patches if copied else (),",
        "        patches=run.patches,",
        "tests/core/test_versions.py::test_a_retry_that_copies_nothing_may_go_either_way",
    ),
)

FAMILY_MUTANTS: tuple[Mutant, ...] = (*CHILDREN, *DEADLINES, *PATCHES)
