"""Wrong variants of the transitions: who may act, what is committed, what others do to a run."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, Patch, mutant

_PROTOCOL = "tests/core/test_protocol.py::"
_RUNNER = "tests/core/test_runner.py::"
_INVOKE = "tests/core/test_invoke.py::"
_HOLDING = "tests/core/test_holding.py::"
_LEASES = "tests/core/test_leases.py::"
_MINE = f"{_PROTOCOL}test_a_run_is_mine_only_if_status_generation_fence_owner_and_cursor_agree"

_FENCE = Patch("_protocol", "        and run.fence == held.fence\n", "")
_WAKES = "    wake = _woken(run, sent) if run.status is Status.PAUSED else run.wake\n"
_OWNER = Patch("_protocol", "        and run.owner == held.owner\n", "")

_STALLS_STAY = ('        changes["stalls"] = 0\n', "        pass\n")
_PARKED_STALLS_STAY = ('**(after | {"stalls": 0})', "**after")

_DEADLINES = "tests/core/test_deadlines.py::"

DEADLINES: tuple[Mutant, ...] = (
    mutant(
        "a wait outlasts the deadline",
        "_protocol",
        "At(min(wake.time, run.deadline) if wake else run.deadline)",
        "wake",
        f"{_DEADLINES}test_a_run_is_cancelled_when_its_deadline_is_over_and_cleans_up",
    ),
    mutant(
        "a deadline is told again during the cleanup",
        "_protocol",
        "    return over and cancel_id(run) not in run.seen\n",
        "    return over\n",
        f"{_DEADLINES}test_a_run_is_cancelled_when_its_deadline_is_over_and_cleans_up",
    ),
    mutant(
        "a deadline that was told still wakes the run",
        "_protocol",
        "wake = wake if told else At(",
        "wake = At(",
        f"{_DEADLINES}test_a_run_is_cancelled_when_its_deadline_is_over_and_cleans_up",
    ),
    mutant(
        "a retry keeps a deadline that is over",
        "_protocol",
        "deadline=None if run.deadline is not None and run.deadline <= now else run.deadline,",
        "deadline=run.deadline,",
        f"{_DEADLINES}test_a_retry_keeps_a_deadline_that_is_still_ahead_and_drops_one_that_is_over",
    ),
)

CLAIMS: tuple[Mutant, ...] = (
    Mutant("the fence is not compared", (_FENCE,), _MINE),
    Mutant(
        "the owner is not compared",
        (_OWNER,),
        f"{_HOLDING}test_a_reissued_fence_with_another_owner_is_refused",
    ),
    Mutant("neither fence nor owner is compared", (_FENCE, _OWNER), SIMULATOR),
    mutant(
        "the status is not compared",
        "_protocol",
        "        run.status is Status.RUNNING\n        and run.generation == held.generation\n",
        "        run.generation == held.generation\n",
        _MINE,
    ),
    mutant(
        "the generation is not compared",
        "_protocol",
        "        and run.generation == held.generation\n",
        "",
        _MINE,
    ),
    mutant(
        "the cursor is not compared",
        "_protocol",
        "        and run.cursor == held.cursor\n",
        "",
        f"{_INVOKE}test_clones_of_an_invocation_cannot_both_record_a_step",
    ),
    mutant(
        "the claim is checked by time only",
        "_holding",
        "            if not is_mine(found.run, held):",
        "            if getattr(held.wake, 'time', 0.0) <= self.world.now():",
        SIMULATOR,
    ),
    mutant(
        "the claim is checked by status only",
        "_holding",
        "            if not is_mine(found.run, held):",
        "            if found.run.status is not Status.RUNNING:",
        f"{_HOLDING}test_a_lost_lease_cannot_write",
    ),
    mutant(
        "a claim does not grow the fence",
        "_protocol",
        "        fence=run.fence + 1,\n        owner=owner,",
        "        fence=run.fence,\n        owner=owner,",
        SIMULATOR,
    ),
    mutant(
        "a claim ignores the wake",
        "_protocol",
        "isinstance(run.wake, At) and run.wake.time <= now",
        "isinstance(run.wake, At)",
        f"{_PROTOCOL}test_nobody_claims_a_run_before_its_wake",
    ),
    mutant(
        "an ended run may be claimed",
        "_protocol",
        "    return run.status in OPEN_STATUSES and isinstance(",
        "    return isinstance(",
        f"{_PROTOCOL}test_a_run_that_is_not_open_is_never_due",
    ),
    mutant(
        "a claim does not count as a stall",
        "_protocol",
        "    stalls = run.stalls + 1\n",
        "    stalls = run.stalls\n",
        f"{_INVOKE}test_a_run_that_kills_its_invocations_is_quarantined_and_can_be_redriven",
    ),
    mutant(
        "no run is quarantined",
        "_protocol",
        "    if run.stalls >= terms.max_stalls:",
        "    if run.stalls < 0:",
        f"{_INVOKE}test_a_run_that_kills_its_invocations_is_quarantined_and_can_be_redriven",
    ),
    mutant(
        "a run is quarantined one stall too early",
        "_protocol",
        "    if run.stalls >= terms.max_stalls:",
        "    if run.stalls >= terms.max_stalls - 1:",
        SIMULATOR,
    ),
    mutant(
        "a crash makes nobody wait longer",
        "_protocol",
        " if stalls > 0 else 0.0",
        " if stalls < 0 else 0.0",
        f"{_PROTOCOL}test_a_lease_after_stalls_is_longer_by_the_crash_backoff",
    ),
)

PROGRESS: tuple[Mutant, ...] = (
    mutant(
        "progress does not clear the stalls",
        "_protocol",
        *_STALLS_STAY,
        f"{_PROTOCOL}test_progress_that_keeps_the_run_renews_the_lease_and_clears_stalls",
    ),
    mutant(
        "a park that waits does not clear the stalls",
        "_protocol",
        *_PARKED_STALLS_STAY,
        f"{_PROTOCOL}test_a_park_lets_go_until_its_wake_and_is_progress",
    ),
    Mutant(
        "the stalls are never cleared",
        (Patch("_protocol", *_STALLS_STAY), Patch("_protocol", *_PARKED_STALLS_STAY)),
        SIMULATOR,
    ),
    mutant(
        "progress never renews the lease",
        "_protocol",
        "    if not isinstance(wake, At) or wake.time - now < terms.lease * 2 / 3:",
        "    if not isinstance(wake, At):",
        f"{_PROTOCOL}test_a_lease_is_renewed_by_progress_once_a_third_is_over",
    ),
    mutant(
        "a park ignores messages that nobody has looked at",
        "_protocol",
        "    if any(message.id not in known for message in inbox):",
        "    if not isinstance(inbox, tuple):",
        f"{_RUNNER}test_a_signal_that_arrives_while_the_run_parks_is_seen_at_once",
    ),
    mutant(
        "a park keeps the owner",
        "_protocol",
        '    return evolve(run, status=Status.PAUSED, owner="", wake=wake, **(after',
        "    return evolve(run, status=Status.PAUSED, wake=wake, **(after",
        f"{_PROTOCOL}test_a_park_lets_go_until_its_wake_and_is_progress",
    ),
    mutant(
        "the cursor does not grow with the records",
        "_protocol",
        '        "cursor": run.cursor + gain.records,',
        '        "cursor": run.cursor,',
        SIMULATOR,
    ),
    mutant(
        "a release counts as a stall",
        "_protocol",
        "stalls=max(run.stalls - 1, 0))",
        "stalls=run.stalls)",
        f"{_PROTOCOL}test_a_release_takes_the_claim_back",
    ),
    mutant(
        "a budget that ends with nothing done is no stall",
        "_protocol",
        '    return evolve(run, status=Status.PAUSED, owner="", wake=wake)\n',
        '    return evolve(run, status=Status.PAUSED, owner="", wake=wake, stalls=0)\n',
        "tests/core/test_pause.py::test_an_invocation_without_time_does_nothing_and_is_counted",
    ),
    mutant(
        "a blocked run counts its claims as stalls",
        "_protocol",
        "    return evolve(release(run), wake=wake, attention=found)",
        "    return evolve(release(run), wake=wake, attention=found, stalls=run.stalls)",
        f"{_PROTOCOL}test_a_block_says_why_and_does_not_count_as_a_stall",
    ),
    mutant(
        "a blocked run is never looked at again",
        "_protocol",
        "    return evolve(release(run), wake=wake, attention=found)",
        "    return evolve(release(run), wake=None, attention=found)",
        "tests/core/test_player.py::test_changed_code_blocks_the_run_with_a_diff_and_heals",
    ),
    mutant(
        "a renewal clears the stalls",
        "_protocol",
        "    return evolve(run, wake=In(terms.lease))\n",
        "    return evolve(run, wake=In(terms.lease), stalls=0)\n",
        f"{_LEASES}test_a_renewal_changes_nothing_but_the_wake",
    ),
    mutant(
        "an ended child does not stay due",
        "_protocol",
        "        wake=NOW if child else In(terms.retention),",
        "        wake=In(terms.retention),",
        f"{_PROTOCOL}test_a_child_has_still_to_tell_its_parent",
    ),
    mutant(
        "continue as new stays in its generation",
        "_protocol",
        "        generation=run.generation + 1,\n        begun=now,",
        "        begun=now,",
        f"{_RUNNER}test_a_flow_may_start_over_with_a_new_input_and_no_history",
    ),
    mutant(
        "continue as new drops the messages",
        "_protocol",
        "        input=given,\n        wake=NOW,",
        "        input=given,\n        inbox=(),\n        wake=NOW,",
        f"{_PROTOCOL}test_continue_as_new_keeps_messages_and_drops_the_history",
    ),
)

MESSAGES: tuple[Mutant, ...] = (
    mutant(
        "a message leaves a paused run asleep",
        "_protocol",
        _WAKES,
        "    wake = run.wake\n",
        f"{_INVOKE}test_a_signal_at_any_boundary_is_consumed_once",
    ),
    Mutant(
        "a message wakes nobody, and a park does not look for it",
        (
            Patch(
                "_protocol",
                _WAKES,
                "    wake = run.wake\n",
            ),
            Patch(
                "_protocol",
                "    if any(message.id not in known for message in inbox):",
                "    if not isinstance(inbox, tuple):",
            ),
        ),
        f"{_INVOKE}test_a_signal_at_any_boundary_is_consumed_once",
    ),
    mutant(
        "a message ends the lease of a running run",
        "_protocol",
        _WAKES,
        "    wake = NOW\n",
        f"{_PROTOCOL}test_a_message_leaves_the_lease_of_a_running_one",
    ),
    mutant(
        "a message to a running run is lost",
        "_protocol",
        "    return evolve(run, inbox=(*run.inbox, sent), wake=wake)",
        "    kept = run.inbox if run.status is Status.RUNNING else (*run.inbox, sent)\n"
        "    return evolve(run, inbox=kept, wake=wake)",
        SIMULATOR,
    ),
    mutant(
        "a message that was consumed is accepted again",
        "_protocol",
        " or run.status is Status.PURGED or sent.id in run.seen:",
        " or run.status is Status.PURGED:",
        SIMULATOR,
    ),
    mutant(
        "a message that still waits is accepted again",
        "_protocol",
        "    if any(other.id == sent.id for other in run.inbox):",
        "    if not isinstance(run.inbox, tuple):",
        SIMULATOR,
    ),
    mutant(
        "a message to an ended run is accepted",
        "_protocol",
        "    if run.status in ENDED_STATUSES or run.status is Status.PURGED or sent.id",
        "    if sent.id",
        "tests/core/test_outside.py::test_a_signal_to_a_run_that_has_ended_says_so",
    ),
    mutant(
        "a consumed message stays in the inbox",
        "_protocol",
        '        changes["inbox"] = tuple([m for m in run.inbox if m.id not in consumed])\n',
        "",
        SIMULATOR,
    ),
    mutant(
        "the id of a consumed message is forgotten",
        "_protocol",
        '        changes["seen"] = _seen(run, kept) if kept else run.seen\n',
        "",
        SIMULATOR,
    ),
    mutant(
        "an end keeps the cancel that it answers",
        "_protocol",
        '[message for message in run.inbox if message.name[:1] != "$"]',
        "[message for message in run.inbox]",
        SIMULATOR,
    ),
)

REPAIRS: tuple[Mutant, ...] = (
    mutant(
        "terminate does not grow the fence",
        "_protocol",
        "    return evolve(end(run, Status.CANCELLED, now, terms), fence=run.fence + 1)",
        "    return end(run, Status.CANCELLED, now, terms)",
        f"{_PROTOCOL}test_terminate_ends_a_run_and_overtakes_its_owner",
    ),
    mutant(
        "terminate ends a run that has ended",
        "_protocol",
        "    if run.status not in OPEN_STATUSES | {Status.QUARANTINED}:",
        "    if run.status is Status.PURGED:",
        SIMULATOR,
    ),
    mutant(
        "a redrive keeps the stalls",
        "_protocol",
        "fence=run.fence + 1, stalls=0, wake=NOW)",
        "fence=run.fence + 1, wake=NOW)",
        SIMULATOR,
    ),
    mutant(
        "a retry stays in its generation",
        "_protocol",
        "        generation=run.generation + 1,\n        fence=run.fence + 1,",
        "        fence=run.fence + 1,",
        SIMULATOR,
    ),
    mutant(
        "a retry copies the step that failed",
        "_kept",
        "    return numbers[0] if numbers else len(steps)",
        "    return numbers[0] + 1 if numbers else len(steps)",
        f"{_RUNNER}test_a_retry_goes_on_from_the_failed_step_with_a_new_key",
    ),
    mutant(
        "a completed run may be retried",
        "_protocol",
        "    if run.status not in (Status.FAILED, Status.CANCELLED, Status.QUARANTINED):",
        "    if run.status not in (*ENDED_STATUSES, Status.QUARANTINED):",
        f"{_PROTOCOL}test_a_completed_run_is_final",
    ),
    mutant(
        "a retry draws other deterministic values for the copied steps",
        "_kept",
        "    return (*[each for each in seeds_of(run) if each[0] < copied], (copied, seed))",
        "    return ((0, seed),)",
        "tests/core/test_scope.py::"
        "test_a_retry_draws_for_the_kept_steps_what_they_were_recorded_with",
    ),
)

PROTOCOL_MUTANTS = (*CLAIMS, *DEADLINES, *PROGRESS, *MESSAGES, *REPAIRS)
