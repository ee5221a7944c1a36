"""Wrong variants of values that are kept apart, and of repairs in bulk, that schedules find."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, mutant

_OUTSIDE = "tests/core/test_outside.py::"

VALUES: tuple[Mutant, ...] = (
    mutant(
        "a value whose keeping was not confirmed is taken as kept",
        "_referring",
        "    digest = yield Store(run.run_id, payload.data)\n",
        "    try:\n"
        "        digest = yield Store(run.run_id, payload.data)\n"
        "    except Exception:\n"
        "        digest = hashlib.sha256(payload.data).hexdigest()\n",
        SIMULATOR,
    ),
    mutant(
        "a value is kept as that of the first generation",
        "_referring",
        "Address(run.run_id, run.generation, part, digest, len(held),",
        "Address(run.run_id, 0, part, digest, len(held),",
        SIMULATOR,
    ),
    mutant(
        "a flow that loads what is gone gets nothing",
        "_attempts",
        "        return Settled(StepOutcome.ERROR, gone, started=started)",
        '        return Settled(StepOutcome.VALUE, b"null", started=started)',
        SIMULATOR,
    ),
    mutant(
        "values in a shared place are kept under the bare id",
        "_values_elsewhere",
        '        return f"{self._runs.deployment}.{run_id}"',
        "        return run_id",
        SIMULATOR,
    ),
    mutant(
        "values elsewhere are dropped before it is known that the run is purged",
        "_values_elsewhere",
        "        done = self._runs.purge(expect)\n",
        "        self._values.drop_values(self._owner(expect.run_id))\n"
        "        done = self._runs.purge(expect)\n",
        SIMULATOR,
    ),
    mutant(
        "a purge takes the values of the run's children as well",
        "_memory",
        "[key for key in self._values if key[0] == run_id]",
        "[key for key in self._values if key[0].startswith(run_id)]",
        SIMULATOR,
    ),
)

REPAIRS: tuple[Mutant, ...] = (
    mutant(
        "a retry keeps the step that failed",
        "_kept",
        "    return numbers[0] if numbers else len(steps)",
        "    return numbers[0] + 1 if numbers else len(steps)",
        SIMULATOR,
    ),
    mutant(
        "a retry does everything anew",
        "_kept",
        "    return numbers[0] if numbers else len(steps)",
        "    return 0",
        SIMULATOR,
    ),
    mutant(
        "a retry whose answer was lost is made again",
        "_outside",
        "            run_id, change, lambda before, now: now.generation > before.generation\n",
        "            run_id, change\n",
        f"{_OUTSIDE}test_a_retry_whose_reply_is_lost_is_no_error_when_a_worker_was_faster",
    ),
    mutant(
        "what was done although the answer was lost is refused",
        "_outside",
        "                elif found.run.op_id == op_id or (before and done(before, found.run)):",
        "                elif not op_id:",
        SIMULATOR,
    ),
    mutant(
        "a refusal after an answer that was lost is said to be a no",
        "_outside",
        "            except (StorageUnavailable, StorageRefused):\n                # They say",
        "            except StorageUnavailable:\n                # They say",
        f"{_OUTSIDE}test_a_storage_that_goes_away_after_a_lost_reply_does_not_turn_it_into_a_no",
    ),
    mutant(
        "a blocked run that was looked at since its redrive is said to be refused",
        "_outside",
        "            lambda before, now: now.fence > before.fence,",
        "            lambda before, now: before.attention is None and now.fence > before.fence,",
        f"{_OUTSIDE}test_a_blocked_run_that_a_worker_looked_at_since_is_redriven",
    ),
    mutant(
        "a message that is consumed twice is known twice",
        "_protocol",
        "    new = tuple([each for each in ids if each not in run.seen])\n",
        "    new = ids\n",
        "tests/core/test_protocol.py::test_a_message_that_is_consumed_again_is_known_once",
    ),
    mutant(
        "a cleanup that is repaired is cancelled again",
        "_protocol",
        "    if any(record.outcome is StepOutcome.CANCELLED for record in copied):",
        "    if not copied and run.seen:",
        "tests/core/test_deadlines.py::test_a_cleanup_that_is_repaired_is_not_cancelled_again",
    ),
    mutant(
        "a fork keeps the step that it is asked at",
        "_outside",
        "        kept = list(steps[:-1])",
        "        kept = list(steps)",
        SIMULATOR,
    ),
    mutant(
        "an edit leaves the error that the step had",
        "_outside",
        "outcome=StepOutcome.VALUE, value=payload, fence=run.fence,",
        "value=payload, fence=run.fence,",
        SIMULATOR,
    ),
    mutant(
        "a fork draws other values than its source did",
        "_tending",
        "            seeds=reseeded(source, copied, chosen),",
        "            seeds=reseeded(source, 0, chosen),",
        SIMULATOR,
    ),
    mutant(
        "a fork of nothing keeps the ways of its source",
        "_tending",
        "patches=source.patches if copied else (),",
        "patches=source.patches,",
        "tests/core/test_versions.py::test_a_fork_that_copies_nothing_may_go_either_way",
    ),
    mutant(
        "a deed is noted when it is done",
        "cli._deeds",
        '        self._note(run_id, "asked")\n',
        "",
        SIMULATOR,
    ),
    mutant(
        "a deed that was refused is not noted",
        "cli._deeds",
        '            self._note(run_id, "failed", str(error))\n',
        "",
        SIMULATOR,
    ),
    mutant(
        "one run that is refused stops the others",
        "cli._deeds",
        "                    if len(ids) == 1:",
        "                    if ids:",
        SIMULATOR,
    ),
    mutant(
        "filters choose by what is stored and not by what is shown",
        "cli._deeds",
        "            if is_wanted(run, now, words) and _is_like(",
        "            if _is_like(",
        SIMULATOR,
    ),
    mutant(
        "filters look at the first page",
        "cli._deeds",
        "        after = page.next\n",
        "        after = None\n",
        SIMULATOR,
    ),
)

REPAIR_MUTANTS: tuple[Mutant, ...] = (*VALUES, *REPAIRS)
