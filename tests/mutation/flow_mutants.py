"""Wrong variants of the flow's side: attempts of its tools, its replay, the leases meanwhile."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, Patch, mutant

_ATTEMPTS = "tests/core/test_attempts.py::"
_INVOKE = "tests/core/test_invoke.py::"
_LEASES = "tests/core/test_leases.py::"
_PLAYER = "tests/core/test_player.py::"
_REFS = "tests/core/test_refs.py::"
_SCOPE = "tests/core/test_scope.py::"
_SURVIVORS = "tests/mutation/test_survivors.py::"
_TOOLS = "tests/core/test_tools.py::"

_RAW_KEPT = Patch(
    "_attempts",
    "            return self._settled(StepOutcome.VALUE, _codec.encode(value), attempts)\n",
    "            data = _codec.encode(value)\n"
    "            RAW[data] = value\n"
    "            return self._settled(StepOutcome.VALUE, data, attempts)\n",
)
_RAW_PLACE = Patch(
    "_attempts",
    '_INTERRUPTED = "StepInterrupted"\n',
    '_INTERRUPTED = "StepInterrupted"\nRAW: dict[bytes, object] = {}\n',
)
_RAW_TOLD = Patch(
    "_replies",
    "tool.result\n    value = _codec.decode(data)\n",
    "tool.result\n"
    "    from ._attempts import RAW\n"
    "    value = RAW.pop(data) if data in RAW else _codec.decode(data)\n",
)

_LOOP = "        while not (state.intent or state.name):"
_INTENT_IGNORED = (
    _LOOP,
    f"        state = state._replace(intent=False, name='') if state.intent else state\n{_LOOP}",
)
_ANYBODYS_INTENT = (
    "            if found is not None and found.intent and found.name != mark:",
    "            if found is not None and found.intent and found.name is None:",
)

ATTEMPTS: tuple[Mutant, ...] = (
    mutant(
        "at most once runs without an intent",
        "_attempts",
        '            if self.options.mode == "at-most-once":',
        "            if self.options.mode is None:",
        SIMULATOR,
    ),
    mutant(
        "an intent that was found is ignored",
        "_attempts",
        *_INTENT_IGNORED,
        f"{_ATTEMPTS}"
        "test_a_crash_in_an_at_most_once_tool_is_an_interruption_and_it_never_runs_again",
    ),
    Mutant(
        "an intent that was found is ignored, whosever it is",
        (Patch("_attempts", *_INTENT_IGNORED), Patch("_attempts", *_ANYBODYS_INTENT)),
        SIMULATOR,
    ),
    mutant(
        "whose intent it is does not matter",
        "_attempts",
        *_ANYBODYS_INTENT,
        f"{_INVOKE}test_clones_of_an_invocation_run_an_at_most_once_tool_once",
    ),
    mutant(
        "at most once is tried again after a failure that says nothing",
        "_attempts",
        '        once = self.options.mode == "at-most-once" and not retry.is_definite(error)',
        "        once = False",
        f"{_ATTEMPTS}test_at_most_once_tries_again_only_after_a_definite_failure",
    ),
    mutant(
        "a claim found lost while a tool ran is kept quiet",
        "_attempts",
        "        if done.lost:\n",
        "        if done is None:\n",
        f"{_SURVIVORS}test_a_claim_that_was_lost_while_a_tool_ran_asks_for_nothing_more",
    ),
    mutant(
        "the idempotency key changes with every claim",
        "_calls",
        "            self.deployment, run.run_id, run.generation, self.position, self.epoch",
        "            self.deployment, run.run_id, run.fence, self.position, self.epoch",
        f"{_TOOLS}test_the_key_stays_over_a_crash_and_over_attempts_whose_effect_is_unknown",
    ),
    mutant(
        "the idempotency key changes with every attempt",
        "_attempts",
        "            epoch=state.epoch + 1 if retry.is_definite(error) else state.epoch,",
        "            epoch=state.epoch + 1,",
        f"{_TOOLS}test_the_key_stays_over_a_crash_and_over_attempts_whose_effect_is_unknown",
    ),
    mutant(
        "the idempotency key stays after a definite failure",
        "_attempts",
        "            epoch=state.epoch + 1 if retry.is_definite(error) else state.epoch,",
        "            epoch=state.epoch,",
        f"{_TOOLS}test_the_key_is_new_after_a_definite_failure",
    ),
    mutant(
        "two generations share idempotency keys",
        "_calls",
        "    parts = (deployment, run_id, str(generation), position, str(epoch))",
        "    parts = (deployment, run_id, position, str(epoch))",
        SIMULATOR,
    ),
    mutant(
        "a failed attempt is not stored before the next",
        "_attempts",
        "                yield from self._note(state)",
        "                pass",
        f"{_ATTEMPTS}test_a_crash_in_a_later_attempt_does_not_forget_the_earlier_ones",
    ),
    mutant(
        "there is no last attempt",
        "_tools",
        "        if attempt >= self.max_attempts:",
        "        if attempt < 0:",
        SIMULATOR,
    ),
    mutant(
        "a long wait for the next attempt is slept under the lease",
        "_attempts",
        "        return None if wait > min(lease / 3, world.left()) or world.stopping() else wait",
        "        return wait",
        f"{_ATTEMPTS}test_waits_longer_than_a_third_of_the_lease_park",
    ),
    mutant(
        "a result that cannot be stored runs the tool again",
        "_attempts",
        "        except NotEncodable as error:\n",
        "        except LeaseLost as error:\n",
        f"{_ATTEMPTS}test_a_result_that_cannot_be_stored_is_an_error_once",
    ),
    mutant(
        "a call whose answer comes later is made again",
        "_attempts",
        _LOOP,
        f"        state = state._replace(name='') if not state.intent else state\n{_LOOP}",
        f"{_ATTEMPTS}test_a_pending_call_is_not_made_again_after_a_crash",
    ),
    mutant(
        "a late answer is waited for for ever",
        "_attempts",
        "        if state.due is not None and state.due <= self.holding.world.now():",
        "        if state.due is None and state.attempt < 0:",
        f"{_ATTEMPTS}test_an_answer_may_come_under_a_name_and_may_be_too_late",
    ),
    Mutant(
        "the first run sees the result as the tool returned it",
        (_RAW_PLACE, _RAW_KEPT, _RAW_TOLD),
        "tests/core/test_flow.py::"
        "test_a_flow_sees_the_decoded_value_on_the_first_run_and_on_replay",
    ),
)

REPLAY: tuple[Mutant, ...] = (
    mutant(
        "an error comes back as another on replay",
        "_player",
        "        self.ready = deque(records)",
        "        self.ready = deque(\n"
        "            each._replace(outcome=StepOutcome.CANCELLED)\n"
        "            if each.outcome is StepOutcome.ERROR else each for each in records)",
        f"{_PLAYER}test_a_caught_error_is_replayed_the_same_way",
    ),
    mutant(
        "code is not held against the records",
        "_player",
        "        if isinstance(strand.step, ContinueStep) or not agrees(",
        "        if isinstance(strand.step, ContinueStep) and not agrees(",
        f"{_PLAYER}test_changed_code_blocks_the_run_with_a_diff_and_heals",
    ),
    mutant(
        "fingerprints are not compared",
        "_replay",
        '    return check == "names" or record.fingerprint == asked.fingerprint',
        "    return True",
        "tests/core/test_replay.py::test_each_check_finds_what_it_is_for",
    ),
    mutant(
        "names of tools are not compared",
        "_replay",
        "    if record.tool != asked.tool:\n        return False\n",
        "",
        "tests/core/test_replay.py::test_each_check_finds_what_it_is_for",
    ),
    mutant(
        "kinds of steps are not compared",
        "_replay",
        "    if record.kind is not asked.kind or record.position != asked.position:",
        "    if record.position != asked.position:",
        "tests/core/test_replay.py::test_each_check_finds_what_it_is_for",
    ),
    mutant(
        "a flow may end while records are left",
        "_player",
        "                raise self._changed(run, record, None)\n            strand",
        "                self.ready.clear()\n                break\n            strand",
        f"{_PLAYER}test_changed_code_blocks_the_run_with_a_diff_and_heals",
    ),
    mutant(
        "a step in flight is not compared",
        "_settling",
        "            self._refuse_other(strand.step, asked, found)\n",
        "            pass\n",
        f"{_PLAYER}test_a_step_in_flight_is_compared_by_what_it_is",
    ),
    mutant(
        "a flow may end while a step is in flight",
        "_settling",
        "                self._refuse(position, found, None)\n",
        "                pass\n",
        f"{_PLAYER}test_an_exception_where_the_history_says_that_the_flow_waited_blocks_it",
    ),
    mutant(
        "deterministic values are drawn anew on every replay",
        "_scope",
        '        point = f"{deployment}\\0{seed}\\0{self.records}:{self.draws}"',
        '        point = f"{deployment}\\0{seed}\\0{self.records}:{self.draws}:{uuid.uuid4()}"',
        f"{_SCOPE}test_deterministic_values_are_the_same_on_every_replay",
    ),
    mutant(
        "deterministic values do not depend on the run",
        "_player",
        "(number, self.engine.deployment, seed) for",
        "(number, self.engine.deployment, '') for",
        f"{_SCOPE}test_deterministic_values_differ_between_runs_and_generations",
    ),
    mutant(
        "deterministic time does not follow the records",
        "_player",
        "        scope.now = record.ended\n",
        "",
        f"{_SCOPE}test_now_is_the_end_of_the_last_record_and_before_it_the_creation",
    ),
)

LEASES: tuple[Mutant, ...] = (
    mutant(
        "a renewal does not check the claim",
        "_leases",
        "                if found is None or not holds(found.run, lease.run):",
        "                if found is None:",
        f"{_LEASES}test_a_lease_that_is_lost_is_said_to_be_lost_and_left_alone",
    ),
    Mutant(
        "a renewal revives a run that has ended",
        (
            Patch(
                "_leases",
                "                if found is None or not holds(found.run, lease.run):",
                "                if found is None:",
            ),
            Patch(
                "_protocol",
                "    return evolve(run, wake=In(terms.lease))\n",
                "    return evolve(run, wake=In(terms.lease), status=Status.RUNNING)\n",
            ),
        ),
        f"{_LEASES}test_a_terminated_run_is_not_revived",
    ),
    mutant(
        "no lease is renewed while a tool runs",
        "_leases",
        "                self._renew(lease, now)\n",
        "                pass\n",
        f"{_LEASES}test_a_lease_lives_as_long_as_its_tool",
    ),
    mutant(
        "a lease is renewed for ever",
        "_leases",
        " and now - lease.since < self._terms.step_timeout:",
        ":",
        f"{_LEASES}test_renewal_ends_at_the_step_timeout",
    ),
    mutant(
        "a heartbeat counts for nothing",
        "_leases",
        "            if lease.beats != lease.hold.beats:",
        "            if lease.beats < 0:",
        f"{_LEASES}test_a_heartbeat_starts_the_step_timeout_anew",
    ),
    mutant(
        "a lease that was lost is not said to be lost",
        "_leases",
        "                    lease.hold.lost = True\n",
        "                    pass\n",
        f"{_LEASES}test_a_lease_that_is_lost_is_said_to_be_lost_and_left_alone",
    ),
    mutant(
        "a lease is renewed after its tool has ended",
        "_leases",
        "        self._table.pop(id(lease), None)",
        "        self._table.get(id(lease))",
        f"{_LEASES}test_a_lease_that_was_removed_is_not_renewed",
    ),
)

_VERSIONS = "tests/core/test_versions.py::"
_SIGNALS = "tests/core/test_signals.py::"
_PROGRESS = "tests/core/test_progress.py::"

TOLD: tuple[Mutant, ...] = (
    mutant(
        "a patch is in wherever nobody has said so",
        "_scope",
        "setdefault(patch, not self.behind)",
        "setdefault(patch, True)",
        f"{_VERSIONS}test_a_run_goes_the_new_way_unless_it_had_passed_the_point",
    ),
    mutant(
        "a patch is decided at each call",
        "_scope",
        "return self.patches.setdefault(patch, not self.behind)",
        "return self.patches.get(patch) or not self.behind",
        f"{_VERSIONS}test_a_run_goes_the_new_way_unless_it_had_passed_the_point",
    ),
    mutant(
        "what was begun before does not count for a patch",
        "_player",
        "        behind = bool(self.ready) or bool(run.open)\n",
        "        behind = bool(self.ready)\n",
        f"{_VERSIONS}test_a_step_that_the_old_code_began_keeps_the_old_way",
    ),
    mutant(
        "patches are not stored",
        "_player",
        "(*run.patches, *fresh)) if fresh else run",
        "(*run.patches, *fresh)) if not fresh else run",
        f"{_VERSIONS}test_a_run_goes_the_new_way_unless_it_had_passed_the_point",
    ),
    mutant(
        "a pinned run goes on anywhere",
        "_registry",
        "found is not None and found.carries(run.flow_version)",
        "found is not None",
        f"{_VERSIONS}test_code_carries_on_the_versions_that_it_says",
    ),
    mutant(
        "a replay publishes its progress again",
        "_scope",
        "    if not scope.replaying:\n        scope.said = data\n",
        "    scope.said = data\n",
        f"{_PROGRESS}test_a_replay_of_other_code_says_nothing_of_what_is_over",
    ),
    mutant(
        "a signal of any type is accepted",
        "_outside",
        "        if refusals and all(refusals):\n",
        "        if not refusals:\n",
        f"{_SIGNALS}test_a_signal_that_does_not_fit_is_refused_and_nothing_is_written",
    ),
    mutant(
        "a token answers any generation",
        "_tending",
        "        if recorded or loaded.run.generation != named.generation:\n",
        "        if recorded:\n",
        f"{_SIGNALS}test_a_retry_of_the_run_makes_a_token_void",
    ),
)

REFS: tuple[Mutant, ...] = (
    mutant(
        "a large value of a Ref stays in its record",
        "_written",
        '            data = yield from apart(self._holding.engine, run, f"{part}:ref", data)',
        "            pass",
        f"{_REFS}test_a_ref_is_handed_on_and_loaded",
    ),
    mutant(
        "what a flow loads is recorded as the ref",
        "_attempts",
        "        data = yield from encoded(holding.engine, step.ref)",
        "        yield from encoded(holding.engine, step.ref)\n"
        "        data = _codec.encode(step.ref)",
        f"{_REFS}test_what_is_loaded_once_outlives_the_run_that_kept_it",
    ),
    mutant(
        "a value that was purged is taken for a damaged one",
        "_referring",
        "        if found is None or found.run.status is Status.PURGED:",
        "        if found is None:",
        f"{_REFS}test_what_is_loaded_once_outlives_the_run_that_kept_it",
    ),
    mutant(
        "only a whole result is put apart",
        "_referring",
        "        if len(held) > RECORD_LIMIT:\n            _ref.move(",
        "        if number < 0:\n            _ref.move(",
        f"{_REFS}test_refs_inside_a_result_are_kept_apart_each",
    ),
    mutant(
        "a value of a Ref is not bound to its place",
        "_referring",
        "    payload = engine.payloads.wrap(held, Place(run.run_id, run.generation, part))",
        '    payload = engine.payloads.wrap(held, Place("", 0, ""))',
        f"{_REFS}test_a_ref_goes_through_the_codecs",
    ),
)

FLOW_MUTANTS = (*ATTEMPTS, *REPLAY, *LEASES, *TOLD, *REFS)
