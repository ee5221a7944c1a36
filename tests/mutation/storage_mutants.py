"""Wrong variants of what an invocation stands on: storages, clocks, sweepers, workers, callers."""

from __future__ import annotations

from tests.mutation.patch import SIMULATOR, Mutant, Patch, mutant

_MEMORY = "tests/core/test_storage.py::TestMemory::"
_FILE = "tests/core/test_storage.py::TestSqlite::"
_SQLITE = "tests/core/test_sqlite.py::"
_OUTSIDE = "tests/core/test_outside.py::"
_WORKER = "tests/core/test_worker.py::"
_APP = "tests/core/test_app.py::"
_SURVIVORS = "tests/mutation/test_survivors.py::"
_PAYLOAD = "tests/core/test_payload.py::"

MEMORY: tuple[Mutant, ...] = (
    mutant(
        "a commit is compared by version only",
        "_storage_rules",
        "stored.version == expect.version and stored.op_id == expect.op_id",
        "stored.version == expect.version",
        f"{_MEMORY}test_a_version_of_another_history_is_another_version",
    ),
    mutant(
        "a commit is not compared",
        "_memory",
        "            if stored is None or not is_same(stored, expect):",
        "            if stored is None:",
        SIMULATOR,
    ),
    mutant(
        "the steps are written before the commit is compared",
        "_memory",
        "            if stored is None or not is_same(stored, expect):\n"
        "                return STALE\n",
        "            if steps:\n"
        "                self._append(run_id, steps)\n"
        "            if stored is None or not is_same(stored, expect):\n"
        "                return STALE\n"
        "            steps = ()\n",
        SIMULATOR,
    ),
    mutant(
        "a step that is recorded is written over",
        "_memory",
        "            if position in recorded:",
        "            if position is None:",
        f"{_MEMORY}test_a_recorded_step_is_never_replaced",
    ),
    mutant(
        "of several steps the good ones stay when one is refused",
        "_memory",
        "                    del there[earlier]\n",
        "                    there.get(earlier)\n",
        f"{_MEMORY}test_a_repeated_position_is_refused_and_nothing_is_written",
    ),
    mutant(
        "a completed run is deleted",
        "_memory",
        "            self._runs[run_id] = run\n            if self._nudged:",
        "            self._runs[run_id] = run\n"
        "            if run.status is Status.COMPLETED:\n"
        "                del self._runs[run_id]\n"
        "            if self._nudged:",
        f"{_APP}test_run_returns_the_result_also_the_second_time",
    ),
    mutant(
        "create writes over what is there",
        "_memory",
        "            if run.run_id in self._runs:",
        "            if run.run_id in ():",
        f"{_MEMORY}test_creating_a_taken_id_returns_what_is_stored",
    ),
    mutant(
        "a run that was handed out is handed out again at once",
        "_memory",
        "            held = nudged is not None and nudged > now - hold",
        "            held = False",
        f"{_MEMORY}test_a_run_that_was_handed_out_is_held",
    ),
    mutant(
        "a commit does not end the hold of what was handed out",
        "_memory",
        "                self._nudged.pop(run_id, None)\n            return run\n",
        "                pass\n            return run\n",
        f"{_MEMORY}test_a_commit_ends_the_hold",
    ),
    mutant(
        "a purge is not compared",
        "_memory",
        "            if run is None or not is_same(run, expect):",
        "            if run is None:",
        f"{_MEMORY}test_an_open_run_or_another_version_is_not_purged",
    ),
    mutant(
        "a run that goes on may be purged",
        "_storage_rules",
        "    if run.status not in ENDED_STATUSES:",
        "    if run.status is Status.PURGED:",
        f"{_MEMORY}test_an_open_run_or_another_version_is_not_purged",
    ),
    mutant(
        "the time of a storage goes backwards",
        "_storage_rules",
        "            self._mark = max(self._mark, stored, time)",
        "            self._mark = max(stored, time)",
        f"{_MEMORY}test_time_never_goes_back",
    ),
)

_STEP_GUARD = " WHERE run_id = ? AND version = ? AND op_id = ? AND wake = ?"
_RUN_GUARD = " WHERE run_id = ? AND version = ? AND op_id = ? AND tags = ?"

SQLITE: tuple[Mutant, ...] = (
    Mutant(
        "SQLite: a commit is not compared",
        (
            Patch(
                "_sqlite.queries",
                _STEP_GUARD,
                " WHERE run_id = ? AND ? != '' AND ? IS NOT NULL AND wake = ?",
            ),
            Patch(
                "_sqlite.queries",
                _RUN_GUARD,
                " WHERE run_id = ? AND ? != '' AND ? IS NOT NULL AND tags = ?",
            ),
        ),
        f"{_FILE}test_a_commit_against_another_version_writes_nothing",
    ),
    Mutant(
        "SQLite: a commit is compared by version only",
        (
            Patch(
                "_sqlite.queries",
                _STEP_GUARD,
                " WHERE run_id = ? AND version = ? AND ? IS NOT NULL AND wake = ?",
            ),
            Patch(
                "_sqlite.queries",
                _RUN_GUARD,
                " WHERE run_id = ? AND version = ? AND ? IS NOT NULL AND tags = ?",
            ),
        ),
        f"{_FILE}test_a_version_of_another_history_is_another_version",
    ),
    mutant(
        "SQLite: a short commit is not compared",
        "_sqlite.queries",
        _STEP_GUARD,
        " WHERE run_id = ? AND ? != '' AND ? IS NOT NULL AND wake = ?",
        f"{_FILE}test_of_two_commits_that_change_little_the_second_is_stale",
    ),
    mutant(
        "SQLite: a step that is recorded is written over",
        "_sqlite.queries",
        'f"INSERT INTO steps (',
        'f"INSERT OR REPLACE INTO steps (',
        f"{_FILE}test_a_recorded_step_is_never_replaced",
    ),
    mutant(
        "SQLite: the steps are written in a transaction of their own",
        "_sqlite.storage",
        "                return STALE\n            _append_rows(connection, run_id, rows)\n"
        "            self._tell(connection, now)\n",
        "                return STALE\n            self._tell(connection, now)\n"
        "        with self._connections.writing() as connection:\n"
        "            _append_rows(connection, run_id, rows)\n",
        f"{_FILE}test_a_repeated_position_is_refused_and_nothing_is_written",
    ),
    mutant(
        "SQLite: create writes over what is there",
        "_sqlite.queries",
        '    " ON CONFLICT (run_id) DO NOTHING"\n',
        '    " ON CONFLICT (run_id) DO UPDATE SET state = excluded.state"\n',
        f"{_FILE}test_creating_a_taken_id_returns_what_is_stored",
    ),
    mutant(
        "SQLite: steps of earlier generations are read too",
        "_sqlite.queries",
        "run_id = ? AND generation = ? AND number >= ?",
        "run_id = ? AND generation <= ? AND number >= ?",
        f"{_FILE}test_a_new_generation_hides_the_steps_of_the_old",
    ),
    mutant(
        "SQLite: a failed COMMIT is taken for not applied",
        "_sqlite.driver_errors",
        "    if rolled_back and result_code(error) in _CERTAIN_AT_COMMIT:",
        "    if rolled_back:",
        f"{_SQLITE}test_an_error_means_what_it_leaves_behind",
    ),
    mutant(
        "SQLite: a commit is not on the disk when it returns",
        "_sqlite.connection",
        'connection.execute(f"PRAGMA synchronous = {self._settings.synchronous.upper()}")',
        'connection.execute("PRAGMA synchronous = OFF")',
        f"{_SQLITE}test_full_is_what_a_file_is_written_with",
    ),
    mutant(
        "SQLite: the file is waited for anew after the threads",
        "_sqlite.connection",
        "            connection = self._begin_writing(slot, until)\n",
        "            until = time.monotonic() + self._settings.timeout\n"
        "            connection = self._begin_writing(slot, until)\n",
        f"{_SQLITE}test_threads_and_the_file_are_waited_for_together",
    ),
    mutant(
        "SQLite: the time that others have told is not looked at",
        "_sqlite.storage",
        "        if now >= self._read + _MARK_EVERY:",
        "        if now < 0:",
        f"{_SQLITE}test_time_does_not_go_back_for_a_process_whose_clock_is_behind",
    ),
    mutant(
        "SQLite: a damaged value is handed out",
        "_sqlite.storage",
        " or hashlib.sha256(data).hexdigest() != digest:",
        ":",
        f"{_SQLITE}test_a_value_with_other_bytes_is_corrupt_until_it_is_put_again",
    ),
    mutant(
        "SQLite: a run that was handed out is handed out again at once",
        "_sqlite.queries",
        "(nudged IS NULL OR nudged <= ?)",
        "(nudged IS NULL OR nudged IS NOT ?)",
        f"{_FILE}test_a_run_that_was_handed_out_is_held",
    ),
    mutant(
        "SQLite: a short commit does not end the hold",
        "_sqlite.queries",
        '    "UPDATE runs SET version = ?, op_id = ?, state = ?, nudged = NULL"\n',
        '    "UPDATE runs SET version = ?, op_id = ?, state = ?"\n',
        f"{_FILE}test_a_commit_that_moves_no_wake_ends_the_hold",
    ),
)

OTHERS: tuple[Mutant, ...] = (
    mutant(
        "the host's clock decides what is due",
        "_drive",
        "        if abs(offset - self._offset) > _ROUNDING:",
        "        if abs(offset) < 0:",
        f"{_APP}test_the_storages_clock_decides_and_not_this_hosts",
    ),
    mutant(
        "there is no sweeper",
        "_tending",
        "        ids = self.storage.due(limit, None, 30.0)",
        "        ids: tuple[str, ...] = ()",
        f"{_SURVIVORS}test_a_sweep_only_sends",
    ),
    mutant(
        "the sweeper executes what it finds",
        "_tending",
        "        return self.driver.send_all([ResumeMessage(run_id) for run_id in ids])",
        "        return sum(bool(self.driver.resume(run_id)) for run_id in ids)",
        f"{_SURVIVORS}test_a_sweep_only_sends",
    ),
    mutant(
        "a message that is not sent breaks the sweep off",
        "_drive",
        '            _log.warning("%s", error)\n'
        "            return len(messages) - len(error.unsent)\n",
        "            raise\n",
        f"{_SURVIVORS}test_a_message_that_is_not_sent_stops_no_sweep",
    ),
    mutant(
        "a sweep that fails ends the worker",
        "_worker",
        '            _log.warning("the sweep failed, the next one follows: %s", error)',
        "            raise",
        f"{_WORKER}test_a_sweep_that_fails_does_not_stop_the_worker",
    ),
    mutant(
        "one run is carried on by two threads of a worker",
        "_worker",
        "            return free\n",
        "            return True\n",
        f"{_WORKER}test_a_run_under_way_is_not_taken_twice_and_is_looked_at_once_more",
    ),
    mutant(
        "who asked for a run under way is forgotten",
        "_worker",
        "            self._again[run_id] = not free",
        "            self._again[run_id] = False",
        f"{_WORKER}test_a_run_under_way_is_not_taken_twice_and_is_looked_at_once_more",
    ),
    mutant(
        "an ended run is purged before its time",
        "_tending",
        "        over = run.wake.time <= self.driver.time.now()",
        "        over = True",
        f"{_SURVIVORS}test_an_ended_run_is_kept_until_its_time",
    ),
    mutant(
        "a change from outside whose answer was lost is made again",
        "_outside",
        "                elif found.run.op_id == op_id or (before and done(before, found.run)):",
        "                elif before is None:",
        f"{_OUTSIDE}test_a_terminate_whose_reply_is_lost_ends_the_run_once",
    ),
    mutant(
        "a change from outside is not recognised after a worker was faster",
        "_outside",
        "found.run.op_id == op_id or (before and done(before, found.run)):",
        "found.run.op_id == op_id:",
        f"{_OUTSIDE}test_a_redrive_whose_reply_is_lost_is_no_error_when_a_worker_was_faster",
    ),
    mutant(
        "an accepted signal whose answer was lost is said to be a duplicate",
        "_outside",
        "                    return found.run if lost else None",
        "                    return None",
        f"{_OUTSIDE}test_a_signal_whose_reply_is_lost_is_accepted_once",
    ),
    mutant(
        "a storage that goes away turns unknown into not written",
        "_outside",
        "                # It says that nothing was written, which is no longer known.\n"
        "                if lost is None:\n",
        "                if lost is None or tries >= 0:\n",
        f"{_OUTSIDE}test_a_storage_that_goes_away_after_a_lost_reply_does_not_turn_it_into_a_no",
    ),
    mutant(
        "a run is started twice with two inputs",
        "_outside",
        '                raise RunTaken(run.run_id, "another input")\n',
        "                pass\n",
        f"{_APP}test_starting_with_another_input_or_flow_is_refused",
    ),
    mutant(
        "payload codecs are undone in the order of storing",
        "_payload",
        "        for name in reversed(payload.codecs):",
        "        for name in payload.codecs:",
        f"{_PAYLOAD}test_codecs_are_applied_in_order_and_undone_in_reverse",
    ),
    mutant(
        "a value is not bound to its place",
        "_payload",
        "            data = codec.encode(data, place)\n",
        "            data = codec.encode(data, _TRIAL)\n",
        f"{_PAYLOAD}test_a_value_moved_to_another_place_is_refused",
    ),
)

STORAGE_MUTANTS = (*MEMORY, *SQLITE, *OTHERS)
