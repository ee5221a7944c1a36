"""The transitions of a run: pure functions from record to record, and nothing else.

Two rules hold here. Every change of a run's record is one of these functions, so this is the only
file that knows claims, leases, stalls, messages and generations. And nothing here asks for the
time, a random number or a storage: what a transition needs is handed to it, so that the simulator
and production run the very same lines.

A transition returns the record as it should become; the caller commits it if the version it
started from is still the stored one. `None` means that the guard does not hold. Moments are
relative (`In`) wherever they can be, so that only the storage's clock counts.

Why it is safe: each claim grows the fence by one in a guarded commit, so a fence is handed out
once; progress needs the fence, the owner, the generation and the cursor that the claim knew, so
nothing of an overtaken invocation can be committed, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ._kept import reseeded
from ._model import (
    ENDED_STATUSES,
    OPEN_STATUSES,
    At,
    Attention,
    ErrorValue,
    In,
    Message,
    Open,
    Payload,
    Run,
    Status,
    StepOutcome,
    StepRecord,
    Wake,
    evolve,
)

CANCEL = "$cancel"
CHILD = "$child:"
"""What the name of the message begins with that tells a parent of the end of a child."""
NOW = In(0.0)
_ROOM = 64 * 1024
"""Bytes of children's ends that an inbox holds at most, about, each with 200 around its value."""
_SEEN_LIMIT = 10_000
"""Ids of consumed messages that are kept: a duplicate older than that many is taken for new."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The numbers of the protocol. Seconds, but for *max_stalls*.

    Attributes:
        lease: How long a claim holds without a sign of life.
        max_stalls: Claims without progress before a run is quarantined.
        longest_backoff: Cap on the wait after a crash.
        blocked_first: First wait before a blocked run is looked at again.
        blocked_longest: Cap on that wait.
        retention: How long an ended run keeps its payload.
        step_timeout: How long a lease is renewed for one attempt without a heartbeat.
    """

    lease: float = 60.0
    max_stalls: int = 8
    longest_backoff: float = 300.0
    blocked_first: float = 60.0
    blocked_longest: float = 3600.0
    retention: float = 7 * 86_400.0
    step_timeout: float = 900.0


class Gain(NamedTuple):
    """What an invocation adds to a record in one commit.

    Attributes:
        records: How many step records are appended, 0 or more.
        open: What is in flight or waited for afterwards.
        consumed: Ids of messages that the records took.
        children: How many child runs have begun by now, as `Run.children` counts.
        unneeded: How many were told that they are needed no more, as `Run.unneeded` counts.
    """

    records: int = 0
    open: Mapping[str, Open] | None = None
    consumed: tuple[str, ...] = ()
    children: int = 0
    unneeded: int = 0


# -- who may act ---------------------------------------------------------------------------------


def is_due(run: Run, now: float) -> bool:
    """Tell whether anybody may claim *run* at storage time *now*."""
    return run.status in OPEN_STATUSES and isinstance(run.wake, At) and run.wake.time <= now


def is_mine(run: Run, held: Run) -> bool:
    """Tell whether *run*, as stored now, still belongs to the invocation that holds *held*."""
    return (
        run.status is Status.RUNNING
        and run.generation == held.generation
        and run.fence == held.fence
        and run.owner == held.owner
        and run.cursor == held.cursor
    )


def holds(run: Run, held: Run) -> bool:
    """Tell the same for a renewal, whatever was recorded since: it adds nothing and takes nothing.

    While an attempt is under way the same invocation may record what other branches came to.
    """
    return is_mine(run, evolve(held, cursor=run.cursor))


def claim(run: Run, now: float, owner: str, terms: Terms) -> Run | None:
    """Take *run* for *owner*, or quarantine it after too many stalls; None if it is not due."""
    if not is_due(run, now):
        return None
    if run.stalls >= terms.max_stalls:
        return evolve(run, status=Status.QUARANTINED, wake=None, owner="")
    return claimed(run, now, owner, terms)


def claimed(run: Run, now: float, owner: str, terms: Terms) -> Run:
    """Return *run* as *owner* holds it. For `claim`, and for a run created already claimed."""
    stalls = run.stalls + 1
    return evolve(
        run,
        status=Status.RUNNING,
        fence=run.fence + 1,
        owner=owner,
        stalls=stalls,
        wake=In(terms.lease + _backoff(stalls - 1, terms)),
        started=now if run.started is None else run.started,
    )


def _backoff(stalls: int, terms: Terms) -> float:
    return min(2.0 ** min(stalls, 64), terms.longest_backoff) if stalls > 0 else 0.0


# -- what an invocation commits ------------------------------------------------------------------


def keep(run: Run, gain: Gain, now: float, terms: Terms) -> Run:
    """Add *gain* and go on holding the run, its lease renewed once a third of it is over.

    Before that the stored wake stays as it is: the lease is long enough, and a storage need not
    move the run in its index of wakes with every step. No guard asks for the time, so this changes
    nothing but how soon a lost invocation is noticed, and only for the better.
    """
    wake = run.wake
    if not isinstance(wake, At) or wake.time - now < terms.lease * 2 / 3:
        wake = In(terms.lease)
    return evolve(run, wake=wake, **_gained(run, gain))


def park(run: Run, gain: Gain, wake: Wake, known: Collection[str]) -> Run:
    """Add *gain* and let go until *wake*.

    *known* are the ids of the messages that the invocation has looked at: if others arrived
    meanwhile they might be what it waits for, so the run is looked at again at once. So it is when
    its deadline is over. A park that waits is progress and clears the stalls.
    """
    after = _gained(run, gain)
    if run.deadline is not None and not isinstance(wake, In):
        # What cancels it now takes the deadline's place.
        told = cancel_id(run) in run.seen or cancel_id(run) in gain.consumed
        wake = wake if told else At(min(wake.time, run.deadline) if wake else run.deadline)
    inbox: tuple[Message, ...] = after["inbox"]  # type: ignore[assignment]
    if any(message.id not in known for message in inbox):
        wake = NOW
    return evolve(run, status=Status.PAUSED, owner="", wake=wake, **(after | {"stalls": 0}))


def release(run: Run) -> Run:
    """Let go at once, as if the claim had not been: shutdown, throttling, storage trouble."""
    return evolve(run, status=Status.PAUSED, owner="", wake=NOW, stalls=max(run.stalls - 1, 0))


def give_up(run: Run, terms: Terms) -> Run:
    """Let go because the budget ended with nothing recorded: the stall stays counted."""
    wake = In(_backoff(run.stalls, terms))
    return evolve(run, status=Status.PAUSED, owner="", wake=wake)


def block(run: Run, attention: Attention, terms: Terms) -> Run:
    """Park *run* with a reason that a deploy or a person removes; look again with backoff."""
    last = run.attention
    tries = last.tries + 1 if last is not None and last.reason == attention.reason else 1
    since = last.since if last is not None and tries > 1 else attention.since
    wake = In(min(terms.blocked_first * 2.0 ** min(tries - 1, 32), terms.blocked_longest))
    found = Attention(attention.reason, attention.message, attention.diff, since, tries)
    return evolve(release(run), wake=wake, attention=found)


def end(
    run: Run,
    status: Status,
    now: float,
    terms: Terms,
    *,
    result: Payload | None = None,
    error: ErrorValue | None = None,
) -> Run:
    """Write the outcome, once. A child has still to tell who waits for it, so it stays due."""
    assert status in ENDED_STATUSES
    child = run.parent is not None and run.parent.waits
    return evolve(
        run,
        status=status,
        owner="",
        wake=NOW if child else In(terms.retention),
        stalls=0,
        open={},
        # Signals that nobody took stay, for a retry; what the engine sends has served its purpose.
        inbox=tuple([message for message in run.inbox if message.name[:1] != "$"]),
        seen=_seen(run, tuple([m.id for m in run.inbox if m.name == CANCEL])),
        attention=None,
        notice=child,
        result=result,
        error=error,
        ended=now,
    )


def renew(run: Run, terms: Terms) -> Run:
    """Prolong the lease, and nothing else."""
    return evolve(run, wake=In(terms.lease))


def continue_as_new(run: Run, given: Payload, now: float) -> Run:
    """Start over with *given* as input and an empty history; messages stay."""
    return evolve(
        run,
        generation=run.generation + 1,
        begun=now,
        seeds=reseeded(run, 0, f"{run.run_id}:{run.generation + 1}"),
        patches=(),
        status=Status.PAUSED,
        owner="",
        input=given,
        wake=NOW,
        cursor=0,
        stalls=0,
        open={},
        attention=None,
        children=0,
        unneeded=0,
    )


def _gained(run: Run, gain: Gain) -> dict[str, object]:
    changes: dict[str, object] = {
        "cursor": run.cursor + gain.records,
        "open": {} if gain.open is None else gain.open,
        "inbox": run.inbox,
        "attention": None,
    }
    if gain.records:
        changes["stalls"] = 0
    if gain.children or gain.unneeded:
        changes["children"] = max(run.children, gain.children)
        changes["unneeded"] = max(run.unneeded, gain.unneeded)
    if gain.consumed:
        consumed = frozenset(gain.consumed)
        changes["inbox"] = tuple([m for m in run.inbox if m.id not in consumed])
        # The end of a child is recorded where nothing is waited for any more: told again, it is
        # dropped. Thousands of ids would be written anew with every commit.
        kept = tuple([each for each in gain.consumed if not each.startswith(CHILD)])
        changes["seen"] = _seen(run, kept) if kept else run.seen
    return changes


def _seen(run: Run, ids: tuple[str, ...]) -> tuple[str, ...]:
    # What one wait dropped another may have taken: a second time it would push others out.
    new = tuple([each for each in ids if each not in run.seen])
    return (run.seen + new)[-_SEEN_LIMIT:]


def cancel_id(run: Run) -> str:
    """Return the id under which this generation of *run* is asked to stop, once, by anybody."""
    return f"{CANCEL}:{run.generation}"


def is_overdue(run: Run, now: float) -> bool:
    """Tell whether *run* is to be cancelled at *now* because its deadline is over.

    A run that was cancelled before is not told again: what it does since is its cleanup.
    """
    over = run.deadline is not None and run.deadline <= now
    return over and cancel_id(run) not in run.seen


def over_copies(run: Run, copied: Sequence[StepRecord]) -> Run:
    """Return *run*, which begins with *copied* records, as told of the cancel that is among them.

    What is left of such a history is its cleanup.
    """
    if any(record.outcome is StepOutcome.CANCELLED for record in copied):
        return evolve(run, seen=_seen(run, (cancel_id(run),)))
    return run


# -- what others commit --------------------------------------------------------------------------


def message(run: Run, sent: Message) -> Run | None:
    """Put *sent* into the inbox; None if its id was accepted before, or the run has ended.

    A paused run becomes due; a running one keeps its lease, its owner finds the message; a
    quarantined one stays as it is, with the message for after its redrive.
    """
    if run.status in ENDED_STATUSES or run.status is Status.PURGED or sent.id in run.seen:
        return None
    if any(other.id == sent.id for other in run.inbox):
        return None
    wake = _woken(run, sent) if run.status is Status.PAUSED else run.wake
    return evolve(run, inbox=(*run.inbox, sent), wake=wake)


def terminate(run: Run, now: float, terms: Terms) -> Run | None:
    """End *run* as cancelled without running any of its code; None if it has ended."""
    if run.status not in OPEN_STATUSES | {Status.QUARANTINED}:
        return None
    return evolve(end(run, Status.CANCELLED, now, terms), fence=run.fence + 1)


def redrive(run: Run) -> Run | None:
    """Give a quarantined run another chance, and a blocked one a look at once; else None."""
    if run.status is Status.QUARANTINED:
        return evolve(run, status=Status.PAUSED, fence=run.fence + 1, stalls=0, wake=NOW)
    if run.status is Status.PAUSED and run.attention is not None:
        return evolve(run, wake=NOW)
    return None


def retry(run: Run, copied: int, now: float) -> Run | None:
    """Start a new generation over the first *copied* records; None unless it ended badly.

    A deadline that is over is gone: whoever retries the run still wants it.
    """
    if run.status not in (Status.FAILED, Status.CANCELLED, Status.QUARANTINED):
        return None
    return evolve(
        run,
        generation=run.generation + 1,
        fence=run.fence + 1,
        seeds=reseeded(run, copied, f"{run.run_id}:{run.generation + 1}"),
        status=Status.PAUSED,
        owner="",
        wake=NOW,
        cursor=copied,
        stalls=0,
        open={},
        attention=None,
        children=0,
        unneeded=0,
        notice=False,
        result=None,
        error=None,
        ended=None,
        deadline=None if run.deadline is not None and run.deadline <= now else run.deadline,
        patches=run.patches if copied else (),
    )


def _woken(run: Run, sent: Message) -> Wake:
    # Who is due stays due since then: messages that keep coming must not keep putting it last.
    due = isinstance(run.wake, At) and run.wake.time <= sent.sent
    return run.wake if due else NOW


def has_room(run: Run) -> bool:
    """Tell whether *run* can be told the end of one more child.

    The inbox is written anew with every message: thousands of ends would cost millions of bytes.
    """
    ends = [len(each.value.data) + 200 for each in run.inbox if each.name.startswith(CHILD)]
    return sum(ends) < _ROOM


def notice_deferred(run: Run, now: float) -> Run | None:
    """Tell the parent later: soon after the end, then less and less often, up to 5 minutes."""
    wait = min(max(1.0, (now - (run.ended or now)) / 2), 300.0)
    return evolve(run, wake=In(wait)) if run.notice else None


def notice_sent(run: Run, terms: Terms) -> Run | None:
    """Remember that the parent was told; None if there was nothing to tell."""
    return evolve(run, notice=False, wake=In(terms.retention)) if run.notice else None
