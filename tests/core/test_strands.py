"""The tree of strands by itself: who asks, who goes on, who is told to stop, what is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sequential import Registry, Steps, flow, gather, race, save
from sequential._frame import Frame
from sequential._model import StepKind
from sequential._replay import Asked
from sequential._scope import Scope
from sequential._steps import Step
from sequential._strands import Ended, Strand, Strands
from sequential.errors import BranchCancelled, NotAStep, RunCancelled
from tests.core.branches import Body


def begun(body: Body) -> Strands:
    """Return the strands of *body*, standing at its first steps."""
    made = flow(name="f", registry=Registry())(body)
    frame = Frame(made, {}, Scope(((0, "d", "s"),), 0.0, replaying=False))
    strands = Strands(frame, lambda strand, _: Asked(strand.position, StepKind.SAVE))
    strands.advance(strands.root, Ended())
    return strands


def give(strands: Strands, position: str, value: Any = None) -> None:
    """Let the step at *position* come to *value*, or to an error."""
    error = value if isinstance(value, BaseException) else None
    strands.advance(strands.waiting[position], Ended(None if error else value, error))


def steps(count: int) -> Steps[list[Any]]:
    """Take *count* steps."""
    got = []
    for _ in range(count):
        got.append((yield save()))  # noqa: PERF401  (a comprehension cannot yield)
    return got


def test_every_branch_asks_at_once_and_is_known_by_its_position() -> None:
    def body() -> Steps[Any]:
        yield save()
        return (yield gather(save(), steps(2), gather(save(), steps(1))))

    strands = begun(body)
    give(strands, "0")
    assert list(strands.waiting) == ["1.0", "1.1.0", "1.2.0", "1.2.1.0"]
    assert [each.position for each in strands.fresh] == ["1.0", "1.1.1", "1.2.0", "1.2.1.1"]
    give(strands, "1.1.0", "a")
    give(strands, "1.2.1.0", "b")
    assert list(strands.waiting) == ["1.0", "1.2.0", "1.1.1"]
    for position in ("1.2.0", "1.0", "1.1.1"):
        give(strands, position, position)
    assert strands.ended == Ended(("1.0", ["a", "1.1.1"], ("1.2.0", ["b"])))
    assert (list(strands.waiting), list(strands.dropped)) == ([], [])


def test_the_first_to_end_wins_whoever_was_asked_first() -> None:
    def body() -> Steps[Any]:
        return (yield race(steps(2), save(), save()))

    strands = begun(body)
    give(strands, "0.0.0")
    give(strands, "0.2", "third")
    assert strands.ended == Ended((2, "third"))
    assert strands.lately_dropped() == ["0.0.1", "0.1"]
    assert strands.lately_dropped() == []


def test_branches_begin_in_order_and_only_as_many_as_may() -> None:
    def body() -> Steps[Any]:
        return (yield gather(*[steps(1) for _ in range(5)], max_concurrency=2))

    strands = begun(body)
    asked = [list(strands.waiting)]
    for position in ("0.1.0", "0.2.0", "0.0.0", "0.3.0", "0.4.0"):
        give(strands, position)
        asked.append(list(strands.waiting))
    assert asked == [
        ["0.0.0", "0.1.0"], ["0.0.0", "0.2.0"], ["0.0.0", "0.3.0"], ["0.3.0", "0.4.0"],
        ["0.4.0"], [],
    ]  # fmt: skip


def test_a_cancelled_branch_is_told_once_and_its_own_branches_with_it() -> None:
    told: list[str] = []

    def careful(name: str, inner: Callable[[], Any]) -> Steps[None]:
        try:
            yield inner()
        except RunCancelled as error:
            told.append(f"{name} {type(error).__name__}")
            yield save()
            told.append(f"{name} cleaned up")
            raise

    def body() -> Steps[Any]:
        inner = race(careful("in", save), save())
        return (yield race(careful("out", lambda: inner), save(), save()))

    strands = begun(body)
    give(strands, "0.1", "won")
    assert told == ["in BranchCancelled"]
    assert list(strands.waiting) == ["0.0.0.0.1"]
    assert list(strands.dropped) == ["0.0.0.0.0", "0.0.0.1", "0.2"]
    give(strands, "0.0.0.0.1")
    assert told[1:] == ["in cleaned up", "out BranchCancelled"]
    assert strands.ended is None
    give(strands, "0.0.1")
    assert strands.ended == Ended((1, "won"))


def test_a_loser_that_cleans_up_is_not_told_again_from_further_out() -> None:
    told: list[str] = []

    def careful() -> Steps[None]:
        try:
            yield save()
        except BranchCancelled:
            told.append("told")
            yield save()
            told.append("cleaned up")

    def body() -> Steps[Any]:
        return (yield race(race(careful(), save()), save()))

    strands = begun(body)
    give(strands, "0.0.1")
    give(strands, "0.1", "won")
    assert list(strands.waiting) == ["0.0.0.1"]
    give(strands, "0.0.0.1")
    assert (told, strands.ended) == (["told", "cleaned up"], Ended((1, "won")))


def test_an_error_in_the_cleanup_of_a_loser_changes_nothing() -> None:
    def careless() -> Steps[None]:
        try:
            yield save()
        except BranchCancelled:
            raise KeyError from None

    def body() -> Steps[Any]:
        return (yield race(careless(), save()))

    strands = begun(body)
    give(strands, "0.1", 1)
    assert strands.ended == Ended((1, 1))


def test_the_first_error_counts_and_later_ones_do_not() -> None:
    def body() -> Steps[Any]:
        return (yield gather(save(), save()))

    strands = begun(body)
    first = ValueError("first")
    give(strands, "0.1", first)
    assert strands.ended is not None
    assert strands.ended.error is first


def test_a_cancel_of_the_run_is_nobodys_victory_and_goes_up_when_all_are_over() -> None:
    def body() -> Steps[Any]:
        return (yield race(save(), gather(save(), save()), save()))

    strands = begun(body)
    for position in ("0.0", "0.1.0", "0.1.1"):
        give(strands, position, RunCancelled("r"))
        assert strands.ended is None
    give(strands, "0.2", RunCancelled("r"))
    assert strands.ended is not None
    assert isinstance(strands.ended.error, RunCancelled)
    assert not isinstance(strands.ended.error, BranchCancelled)


def test_branches_do_not_begin_any_more_when_one_got_the_cancel_of_the_run() -> None:
    branches: list[Any] = [steps(1), steps(2), gather(steps(3))]

    def body() -> Steps[Any]:
        return (yield gather(*branches, max_concurrency=1))

    strands = begun(body)
    give(strands, "0.0.0", RunCancelled("r"))
    assert list(strands.waiting) == []
    assert strands.ended is not None
    assert isinstance(strands.ended.error, RunCancelled)
    assert branches[1].gi_frame is None, "what does not begin is closed"


def test_a_branch_that_ends_at_once_may_win_before_others_begin() -> None:
    begun_branches: list[int] = []

    def at_once(n: int) -> Steps[int]:
        begun_branches.append(n)
        yield from ()
        return n

    def body() -> Steps[Any]:
        raced = yield race(at_once(1), at_once(2), steps(1))
        return [raced, (yield gather(at_once(3)))]

    strands = begun(body)
    assert strands.ended == Ended([(0, 1), (3,)])
    assert begun_branches == [1, 3]


def test_thousands_of_branches_end_without_deep_recursion() -> None:
    def body() -> Steps[Any]:
        yield gather(*[steps(0) for _ in range(5_000)], max_concurrency=1)
        return (yield race(*[gather(save()) for _ in range(5_000)]))

    strands = begun(body)
    give(strands, "1.4999.0")
    assert strands.ended == Ended((4_999, (None,)))
    assert len(strands.dropped) == 4_999


def test_what_is_no_step_is_refused_in_a_branch_too() -> None:
    def wrong() -> Steps[None]:
        yield 5

    def body() -> Steps[Any]:
        return (yield gather(save(), wrong()))

    with pytest.raises(NotAStep, match="5"):
        begun(body)


def test_discarding_unwinds_the_inner_branches_before_the_outer() -> None:
    unwound: list[str] = []

    def unwinding(name: str, inner: Step[Any]) -> Steps[None]:
        try:
            yield inner
        finally:
            unwound.append(name)

    def body() -> Steps[Any]:
        inner = gather(unwinding("a", save()), unwinding("b", save()), steps(1),
                       max_concurrency=2)  # fmt: skip
        yield gather(unwinding("out", inner), unwinding("last", save()))
        unwound.append("not reached")

    strands = begun(body)
    strands.discard()
    assert unwound == ["last", "b", "a", "out"]


def test_a_strand_knows_where_its_next_step_stands() -> None:
    def body() -> Steps[Any]:
        yield gather(steps(3), save())

    strands = begun(body)
    give(strands, "0.0.0")
    strand: Strand = strands.waiting["0.0.1"]
    assert (strand.position, strands.root.position) == ("0.0.2", "1")
    assert strands.waiting["0.1"].position == "0.1"
