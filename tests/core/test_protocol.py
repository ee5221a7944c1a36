"""Each transition: when its guard holds, when it does not, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequential import _protocol as p
from sequential._kept import kept_by_retry
from sequential._model import (
    At,
    Attention,
    ErrorValue,
    In,
    Message,
    Open,
    Parent,
    Payload,
    Run,
    Status,
    StepKind,
    StepOutcome,
    StepRecord,
    evolve,
)
from sequential._protocol import CANCEL, NOW, Gain, Terms

TERMS = Terms()
NOTHING = Gain()
NULL = Payload(b"null", size=4)
NOT_OPEN = [each for each in Status if each not in (Status.PAUSED, Status.RUNNING)]


def paused(**changes: Any) -> Run:
    run = Run("r", "flow", NULL, fence=3, wake=At(100.0), cursor=2, version=7, created=50.0)
    return evolve(run, **changes)


def running(**changes: Any) -> Run:
    return evolve(paused(status=Status.RUNNING, owner="me", stalls=1, started=60.0), **changes)


def sent(message_id: str, name: str = "go") -> Message:
    return Message(message_id, name, NULL, 90.0)


def record(number: int, outcome: StepOutcome = StepOutcome.VALUE) -> StepRecord:
    return StepRecord(
        0, number, str(number), StepKind.TOOL, "t.x", "f", outcome, NULL, None, 1, 0.0, 1.0, 1, "o"
    )


def differs(before: Run, after: Run) -> set[str]:
    return {name for name in vars(before) if getattr(before, name) != getattr(after, name)}


# -- due and mine --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING])
def test_an_open_run_is_due_from_its_wake_on(status: Status) -> None:
    run = paused(status=status)
    assert [p.is_due(run, now) for now in (99.999, 100.0, 101.0)] == [False, True, True]


def test_a_run_that_waits_for_signals_only_is_never_due() -> None:
    assert not p.is_due(paused(wake=None), 1e12)


def test_a_wake_that_no_storage_resolved_is_not_due() -> None:
    assert not p.is_due(paused(wake=In(0.0)), 1e12)


@pytest.mark.parametrize("status", NOT_OPEN)
def test_a_run_that_is_not_open_is_never_due(status: Status) -> None:
    assert not p.is_due(paused(status=status), 1e12)


@pytest.mark.parametrize(
    "change",
    [
        *({"status": status} for status in Status if status is not Status.RUNNING),
        {"generation": 1},
        {"fence": 4},
        {"fence": 2},
        {"owner": "other"},
        {"owner": ""},
        {"cursor": 3},
        {"cursor": 1},
    ],
    ids=repr,
)
def test_a_run_is_mine_only_if_status_generation_fence_owner_and_cursor_agree(
    change: dict[str, Any],
) -> None:
    assert not p.is_mine(running(**change), running())


def test_a_run_stays_mine_whatever_others_add() -> None:
    added = running(version=9, op_id="x", inbox=(sent("a"),), wake=At(1.0), stalls=5)
    assert p.is_mine(added, running())


# -- claim ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING])
def test_a_claim_takes_a_due_run_and_counts_a_stall(status: Status) -> None:
    run = paused(status=status, owner="old", open={"2": Open(StepKind.SLEEP, due=5.0)})
    taken = p.claim(run, 100.0, "me", TERMS)
    assert taken is not None
    assert differs(run, taken) <= {"status", "fence", "owner", "stalls", "wake", "started"}
    assert (taken.status, taken.fence, taken.owner, taken.stalls) == (Status.RUNNING, 4, "me", 1)
    assert taken.wake == In(60.0)
    assert taken.started == 100.0


def test_a_later_claim_keeps_the_moment_of_the_first() -> None:
    taken = p.claim(paused(started=60.0), 100.0, "me", TERMS)
    assert taken is not None
    assert taken.started == 60.0


def test_nobody_claims_a_run_before_its_wake() -> None:
    assert p.claim(paused(), 99.0, "me", TERMS) is None
    assert p.claim(running(), 99.0, "me", TERMS) is None
    assert p.claim(paused(wake=None), 1e9, "me", TERMS) is None


@pytest.mark.parametrize("status", NOT_OPEN)
def test_nobody_claims_a_run_that_is_not_open(status: Status) -> None:
    assert p.claim(paused(status=status), 1e9, "me", TERMS) is None


@pytest.mark.parametrize(
    ("stalls", "wait"), [(0, 60), (1, 62), (2, 64), (3, 68), (6, 124), (7, 188)]
)
def test_a_lease_after_stalls_is_longer_by_the_crash_backoff(stalls: int, wait: float) -> None:
    taken = p.claim(paused(stalls=stalls), 100.0, "me", TERMS)
    assert taken is not None
    assert taken.wake == In(wait)
    assert taken.stalls == stalls + 1


def test_the_crash_backoff_has_a_cap() -> None:
    taken = p.claim(paused(stalls=1_000), 100.0, "me", Terms(max_stalls=10_000))
    assert taken is not None
    assert taken.wake == In(60.0 + 300.0)


def test_a_run_is_quarantined_after_eight_claims_without_progress() -> None:
    run: Run | None = paused()
    claims = 0
    while run is not None and run.status is not Status.QUARANTINED:
        run = p.claim(evolve(run, wake=At(0.0)), 100.0, f"owner {claims}", TERMS)
        claims += 1
    assert run is not None
    assert claims == 9
    assert run.fence == 3 + 8
    assert (run.wake, run.owner, run.stalls) == (None, "", 8)
    assert p.claim(run, 1e12, "me", TERMS) is None


def test_a_quarantine_needs_a_due_run() -> None:
    assert p.claim(paused(stalls=8), 99.0, "me", TERMS) is None


def test_a_quarantined_run_is_no_longer_its_last_owners() -> None:
    held = running(stalls=8)
    stopped = p.claim(held, 100.0, "other", TERMS)
    assert stopped is not None
    assert not p.is_mine(stopped, held)


# -- progress ------------------------------------------------------------------------------------


def test_progress_that_keeps_the_run_renews_the_lease_and_clears_stalls() -> None:
    run = running(stalls=4, attention=Attention("changed", "x"), open={"2": Open(StepKind.TOOL)})
    kept = p.keep(run, Gain(1), 110.0, TERMS)
    assert differs(run, kept) == {"cursor", "stalls", "wake", "open", "attention"}
    assert (kept.cursor, kept.stalls, kept.wake, kept.open) == (3, 0, In(60.0), {})
    assert kept.attention is None


@pytest.mark.parametrize(("left", "renewed"), [(60, False), (40, False), (39, True), (-500, True)])
def test_a_lease_is_renewed_by_progress_once_a_third_is_over(left: float, renewed: bool) -> None:
    run = running(wake=At(110.0 + left))
    assert p.keep(run, Gain(1), 110.0, TERMS).wake == (In(60.0) if renewed else run.wake)


def test_a_lease_that_no_storage_resolved_is_renewed() -> None:
    assert p.keep(running(wake=None), Gain(1), 110.0, TERMS).wake == In(60.0)


def test_a_commit_without_records_keeps_the_stalls_and_rewrites_what_is_open() -> None:
    state = Open(StepKind.TOOL, "t.x", attempt=2, due=130.0)
    kept = p.keep(running(stalls=4), Gain(open={"2": state}), 110.0, TERMS)
    assert (kept.stalls, kept.cursor, kept.open) == (4, 2, {"2": state})


def test_consumed_messages_leave_the_inbox_and_stay_known() -> None:
    run = running(inbox=(sent("a"), sent("b")), seen=("z",))
    kept = p.keep(run, Gain(1, consumed=("a",)), 110.0, TERMS)
    assert [message.id for message in kept.inbox] == ["b"]
    assert kept.seen == ("z", "a")


def test_consumption_is_computed_from_the_record_that_is_replaced() -> None:
    newer = running(inbox=(sent("a"), sent("late")))
    kept = p.keep(newer, Gain(1, consumed=("a",)), 110.0, TERMS)
    assert [message.id for message in kept.inbox] == ["late"]


def test_only_the_newest_ten_thousand_ids_are_kept() -> None:
    run = running(inbox=(sent("new"),), seen=tuple(str(n) for n in range(10_000)))
    kept = p.keep(run, Gain(1, consumed=("new",)), 110.0, TERMS)
    assert len(kept.seen) == 10_000
    assert (kept.seen[0], kept.seen[-1]) == ("1", "new")


def test_a_park_lets_go_until_its_wake_and_is_progress() -> None:
    state = Open(StepKind.SLEEP, due=500.0)
    run = running(stalls=6)
    parked = p.park(run, Gain(open={"2": state}), At(500.0), known=())
    assert differs(run, parked) == {"status", "owner", "stalls", "wake", "open"}
    assert (parked.status, parked.owner, parked.stalls) == (Status.PAUSED, "", 0)
    assert parked.wake == At(500.0)
    assert parked.fence == run.fence


def test_a_park_that_waits_for_signals_only_has_no_wake() -> None:
    assert p.park(running(), NOTHING, None, known=()).wake is None


@pytest.mark.parametrize("wake", [None, At(500.0), In(5.0)])
def test_a_message_that_was_not_looked_at_makes_a_park_due_at_once(wake: Any) -> None:
    run = running(inbox=(sent("a"), sent("b")))
    assert p.park(run, NOTHING, wake, known={"a"}).wake == NOW
    assert p.park(run, NOTHING, wake, known={"a", "b"}).wake == wake


def test_a_message_that_the_same_commit_consumes_does_not_make_it_due() -> None:
    run = running(inbox=(sent("a"),))
    assert p.park(run, Gain(1, consumed=("a",)), At(9.0), known=()).wake == At(9.0)


def test_a_release_takes_the_claim_back() -> None:
    taken = p.claim(paused(stalls=3, wake=At(0.0)), 100.0, "me", TERMS)
    assert taken is not None
    let_go = p.release(taken)
    assert (let_go.status, let_go.owner, let_go.stalls) == (Status.PAUSED, "", 3)
    assert let_go.wake == NOW
    assert let_go.fence == taken.fence


def test_a_release_after_progress_does_not_count_below_zero() -> None:
    assert p.release(running(stalls=0)).stalls == 0


@pytest.mark.parametrize(
    ("stalls", "wait"), [(1, 2), (2, 4), (3, 8), (7, 128), (8, 256), (9, 300), (1_000, 300)]
)
def test_a_spent_budget_keeps_the_stall_and_backs_off(stalls: int, wait: float) -> None:
    let_go = p.give_up(running(stalls=stalls), TERMS)
    assert (let_go.status, let_go.owner, let_go.stalls) == (Status.PAUSED, "", stalls)
    assert let_go.wake == In(wait)


def test_a_renewal_changes_the_lease_and_nothing_else() -> None:
    run = running(stalls=3)
    renewed = p.renew(run, TERMS)
    assert differs(run, renewed) == {"wake"}
    assert renewed.wake == In(60.0)


def test_continue_as_new_keeps_messages_and_drops_the_history() -> None:
    run = running(
        inbox=(sent("a"),), seen=("z",), open={"2": Open(StepKind.SAVE)}, stalls=2,
        attention=Attention("changed", "x"), tags={"k": "v"}, asked="digest",
    )  # fmt: skip
    new = Payload(b"1", size=1)
    again = p.continue_as_new(run, new, 110.0)
    assert (again.generation, again.cursor, again.stalls, again.open) == (1, 0, 0, {})
    assert (again.status, again.owner, again.wake) == (Status.PAUSED, "", NOW)
    assert (again.inbox, again.seen, again.input, again.asked) == (run.inbox, ("z",), new, "digest")
    assert again.attention is None
    assert (again.begun, again.seeds) == (110.0, ((0, f"{run.run_id}:1"),))
    assert not p.is_mine(again, run)


# -- blocked -------------------------------------------------------------------------------------


def test_a_block_says_why_and_does_not_count_as_a_stall() -> None:
    run = running(stalls=3)
    stuck = p.block(run, Attention("changed", "why", "diff", 70.0), TERMS)
    assert (stuck.status, stuck.owner, stuck.stalls) == (Status.PAUSED, "", 2)
    assert (stuck.wake, stuck.cursor) == (In(60.0), run.cursor)
    assert stuck.attention == Attention("changed", "why", "diff", 70.0, 1)


def test_each_look_at_a_blocked_run_doubles_the_wait_up_to_an_hour() -> None:
    run, waits = running(), []
    for look in range(9):
        stuck = p.block(run, Attention("changed", f"look {look}", "", 70.0 + look), TERMS)
        assert isinstance(stuck.wake, In)
        assert stuck.attention is not None
        waits.append(stuck.wake.seconds)
        assert (stuck.attention.tries, stuck.attention.since) == (look + 1, 70.0)
        assert stuck.attention.message == f"look {look}"
        again = p.claim(evolve(stuck, wake=At(0.0)), 100.0, "me", TERMS)
        assert again is not None
        run = again
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_run_that_was_looked_at_for_ever_still_has_a_wait() -> None:
    stuck = p.block(
        running(attention=Attention("changed", "x", tries=10_000)), Attention("changed", "x"), TERMS
    )
    assert stuck.wake == In(3600.0)


def test_another_reason_starts_the_waits_anew() -> None:
    run = running(attention=Attention("changed", "x", since=1.0, tries=6))
    stuck = p.block(run, Attention("corrupt", "y", since=90.0), TERMS)
    assert stuck.attention == Attention("corrupt", "y", since=90.0, tries=1)
    assert stuck.wake == In(60.0)


def test_progress_forgets_why_a_run_was_blocked() -> None:
    run = running(attention=Attention("changed", "x"))
    assert p.keep(run, Gain(1), 110.0, TERMS).attention is None
    assert p.park(run, Gain(1), NOW, ()).attention is None


# -- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_an_end_writes_the_outcome_and_lets_go(status: Status) -> None:
    cancel = Message("c", CANCEL, NULL)
    inbox = (sent("a"), cancel)
    run = running(inbox=inbox, seen=("z",), open={"2": Open(StepKind.SAVE)}, stalls=3)
    error = ErrorValue("ValueError", "x")
    over = p.end(run, status, 110.0, TERMS, result=NULL, error=error)
    assert (over.status, over.owner, over.ended) == (status, "", 110.0)
    assert (over.result, over.error, over.stalls, over.open) == (NULL, error, 0, {})
    # What nobody took stays for a retry; the cancel has done what it was sent for.
    assert (over.inbox, over.seen) == ((sent("a"),), ("z", "c"))
    assert (over.wake, over.notice) == (In(7 * 86_400.0), False)
    assert over.cursor == run.cursor
    assert not p.is_mine(over, run)


def test_a_run_cannot_end_in_a_status_that_is_no_end() -> None:
    with pytest.raises(AssertionError):
        p.end(running(), Status.QUARANTINED, 1.0, TERMS)


def test_a_child_has_still_to_tell_its_parent() -> None:
    over = p.end(running(parent=Parent("p", "3")), Status.COMPLETED, 110.0, TERMS, result=NULL)
    assert (over.notice, over.wake) == (True, NOW)
    told = p.notice_sent(over, TERMS)
    assert told is not None
    assert (told.notice, told.wake) == (False, In(TERMS.retention))
    assert differs(over, told) == {"notice", "wake"}


def test_a_run_without_parent_has_nothing_to_tell() -> None:
    over = p.end(running(), Status.COMPLETED, 110.0, TERMS, result=NULL)
    assert p.notice_sent(over, TERMS) is None


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING, Status.QUARANTINED])
def test_terminate_ends_a_run_and_overtakes_its_owner(status: Status) -> None:
    run = running(status=status)
    over = p.terminate(run, 120.0, TERMS)
    assert over is not None
    assert (over.status, over.fence, over.owner, over.ended) == (Status.CANCELLED, 4, "", 120.0)
    assert not p.is_mine(over, run)


@pytest.mark.parametrize(
    "status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.PURGED]
)
def test_nobody_terminates_a_run_that_has_ended(status: Status) -> None:
    assert p.terminate(paused(status=status), 1.0, TERMS) is None


# -- messages ------------------------------------------------------------------------------------


def test_a_message_makes_a_paused_run_due() -> None:
    run = paused(wake=None, stalls=2)
    told = p.message(run, sent("a"))
    assert told is not None
    assert differs(run, told) == {"inbox", "wake"}
    assert told.wake == NOW


def test_a_message_leaves_the_lease_of_a_running_one() -> None:
    run = running()
    told = p.message(run, sent("a"))
    assert told is not None
    assert differs(run, told) == {"inbox"}
    assert p.is_mine(told, run)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_a_message_to_a_run_that_has_ended_is_refused(status: Status) -> None:
    assert p.message(paused(status=status), sent("a")) is None


def test_a_message_id_is_accepted_once_while_it_waits_in_the_inbox() -> None:
    told = p.message(paused(), sent("a"))
    assert told is not None
    assert p.message(told, sent("a", "other name")) is None


def test_a_message_that_is_consumed_again_is_known_once() -> None:
    run = running(seen=("a", "b"))
    assert p.keep(run, Gain(1, consumed=("a", "c")), 110.0, TERMS).seen == ("a", "b", "c")


def test_a_message_id_is_accepted_once_also_after_it_was_consumed() -> None:
    told = p.message(running(), sent("a"))
    assert told is not None
    taken = p.keep(told, Gain(1, consumed=("a",)), 110.0, TERMS)
    assert p.message(taken, sent("a")) is None


def test_a_message_id_is_accepted_once_also_after_a_retry() -> None:
    told = p.message(running(), sent("a"))
    assert told is not None
    over = p.end(told, Status.FAILED, 1.0, TERMS)
    assert p.message(over, sent("a")) is None
    again = p.retry(over, 1, 9.0)
    assert again is not None
    assert p.message(again, sent("a")) is None
    assert p.message(again, sent("b")) is not None


def test_messages_are_kept_in_the_order_of_their_arrival() -> None:
    run: Run | None = paused()
    for name in "abc":
        assert run is not None
        run = p.message(run, sent(name))
    assert run is not None
    assert [message.id for message in run.inbox] == ["a", "b", "c"]


# -- repair --------------------------------------------------------------------------------------


def test_a_redrive_gives_a_quarantined_run_all_its_chances_back() -> None:
    run = paused(status=Status.QUARANTINED, stalls=8, wake=None)
    again = p.redrive(run)
    assert again is not None
    assert differs(run, again) == {"status", "fence", "stalls", "wake"}
    assert (again.status, again.fence, again.stalls) == (Status.PAUSED, 4, 0)
    assert again.wake == NOW


def test_a_redrive_looks_at_a_blocked_run_at_once() -> None:
    run = paused(attention=Attention("changed", "x"), wake=At(9_000.0))
    again = p.redrive(run)
    assert again is not None
    assert differs(run, again) == {"wake"}


@pytest.mark.parametrize(
    "run",
    [
        paused(),
        running(),
        running(attention=Attention("changed", "x")),
        paused(status=Status.COMPLETED),
        paused(status=Status.FAILED),
        paused(status=Status.CANCELLED),
        paused(status=Status.PURGED),
    ],
    ids=lambda run: run.status,
)
def test_nothing_else_is_redriven(run: Run) -> None:
    assert p.redrive(run) is None


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.QUARANTINED])
def test_a_retry_starts_a_new_generation(status: Status) -> None:
    run = paused(
        status=status, cursor=5, stalls=8, result=NULL, error=ErrorValue("E", "m"), ended=9.0,
        notice=True, open={"1": Open(StepKind.SAVE)}, attention=Attention("x", "y"), seen=("a",),
    )  # fmt: skip
    again = p.retry(run, 4, 9.0)
    assert again is not None
    assert (again.generation, again.fence, again.cursor, again.stalls) == (1, 4, 4, 0)
    assert (again.status, again.owner, again.wake) == (Status.PAUSED, "", NOW)
    assert (again.result, again.error, again.ended, again.notice) == (None, None, None, False)
    assert (again.open, again.attention, again.seen) == ({}, None, ("a",))


@pytest.mark.parametrize("status", [Status.PAUSED, Status.RUNNING, Status.COMPLETED, Status.PURGED])
def test_only_a_run_that_ended_badly_is_retried(status: Status) -> None:
    assert p.retry(paused(status=status), 0, 9.0) is None


V, E, C, T = StepOutcome.VALUE, StepOutcome.ERROR, StepOutcome.CANCELLED, StepOutcome.TIMEOUT


@pytest.mark.parametrize(
    ("status", "position", "outcomes", "copied"),
    [
        (Status.FAILED, "", [], 0),
        # The flow itself raised, and nothing went wrong last: mended code goes on after all of it.
        (Status.FAILED, "", [V, V], 2),
        (Status.FAILED, "", [E, V, E, V], 4),
        # What went wrong last is done again, whether it was raised or returned.
        (Status.FAILED, "", [V, E], 1),
        (Status.FAILED, "", [V, T], 1),
        # The step whose error ended the run, though more was recorded since.
        (Status.FAILED, "1", [V, E, V], 1),
        (Status.FAILED, "0", [E, V, E], 0),
        (Status.CANCELLED, "", [V, C], 1),
        # What follows a cancel is compensation: without the cancel, none of it is repeated.
        (Status.CANCELLED, "", [V, C, V, E], 1),
        (Status.CANCELLED, "", [E, C, E], 1),
        # Terminated: no record says so.
        (Status.CANCELLED, "", [V, E], 2),
        (Status.QUARANTINED, "", [V, E], 2),
    ],
)
def test_a_retry_copies_the_records_before_the_one_that_failed_the_run(
    status: Status, position: str, outcomes: list[StepOutcome], copied: int
) -> None:
    steps = [record(number, outcome) for number, outcome in enumerate(outcomes)]
    error = ErrorValue("E", "x", position=position) if status is Status.FAILED else None
    assert kept_by_retry(paused(status=status, error=error), steps) == copied


# -- all together --------------------------------------------------------------------------------

TRANSITIONS: list[tuple[str, Callable[[Run], Run | None]]] = [
    ("claim", lambda run: p.claim(run, 1e9, "other", TERMS)),
    ("terminate", lambda run: p.terminate(run, 1.0, TERMS)),
    ("redrive", p.redrive),
    ("retry", lambda run: p.retry(run, 0, 9.0)),
]


@pytest.mark.parametrize("name", [name for name, _ in TRANSITIONS])
@pytest.mark.parametrize("status", list(Status))
def test_whatever_hands_a_run_on_takes_it_from_who_held_it(name: str, status: Status) -> None:
    before = running(status=status, stalls=1)
    after = dict(TRANSITIONS)[name](before)
    if after is not None:
        assert after.fence == before.fence + 1
        assert not p.is_mine(after, before)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.PURGED])
def test_a_completed_run_is_final(status: Status) -> None:
    run = paused(status=status)
    assert [change(run) for _, change in TRANSITIONS] == [None] * 4
    assert p.message(run, sent("a")) is None
