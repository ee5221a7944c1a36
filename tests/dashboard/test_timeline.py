"""The rows of a timeline, where the time went, and what the canvas is sent."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sequential import Registry, Sequential, flow, gather, race, tool, wait_for_signal
from sequential import sleep as sleep_for
from sequential.patterns import remind
from sequential.storage import At, Loaded, Status
from sequential.testing import FakeClock
from sequential_dashboard.timeline.gaps import FOLDED_FROM, folded, ledger_of, pieces_of
from sequential_dashboard.timeline.payload import GOES_ON, payload_of
from sequential_dashboard.timeline.spans import Span, spans_of
from tests.dashboard.records import loaded, sleep, step
from tests.fix_dashboard import Opened


def kinds(found: Loaded) -> list[tuple[str, float]]:
    return [(piece.kind, piece.seconds) for piece in pieces_of(found, spans_of(found))]


def tree(spans: list[Span]) -> list[tuple[str, str]]:
    return [(span.key, spans[span.parent].key if span.parent >= 0 else "") for span in spans]


# -- rows


def test_steps_hang_from_the_run_in_order_of_position() -> None:
    found = spans_of(loaded(step(10, 2, 3), step(9, 1, 2)))
    assert tree(found) == [("run", ""), ("9", "run"), ("10", "run")]


def test_steps_in_branches_hang_from_a_row_for_each_branch() -> None:
    found = spans_of(
        loaded(
            step(0, 1, 2),
            step(1, 2, 5, position="1.0.0"),
            step(2, 3, 9, position="1.1.0", outcome="error"),
        )
    )
    assert tree(found) == [
        ("run", ""), ("0", "run"), ("1", "run"), ("1.0", "1"), ("1.0.0", "1.0"), ("1.1", "1"),
        ("1.1.0", "1.1"),
    ]  # fmt: skip
    branches = found[2]
    assert (branches.start, branches.end, branches.status) == (2, 9, "error")


def test_branches_of_a_real_run_are_nested_and_their_time_is_counted_once() -> None:
    registry, clock = Registry(), FakeClock()

    @tool("shop", "pack", registry=registry)
    def pack(what: str) -> str:
        return what

    async def slow() -> None:
        await sleep_for(5)
        await gather(pack("a"), sleep_for(20), pack("b"))

    @flow(registry=registry)
    async def nested() -> None:
        await pack("first")
        await race(slow(), wait_for_signal("go"))
        await remind(wait_for_signal("end"), every=30, remind=lambda number: pack(str(number)))

    app = Sequential("memory:", clock=clock, registry=registry, pause="when-waiting")
    run_id = app.start(nested)

    def after(seconds: float) -> dict[str, Span]:
        clock.advance(seconds)
        app.execute(run_id)
        found = app.storage.load(run_id)
        assert found is not None
        spans = spans_of(found)
        length = (found.run.ended or found.now) - spans[0].start
        assert sum(piece.seconds for piece in pieces_of(found, spans)) == pytest.approx(length)
        for span in spans[1:]:
            above = spans[span.parent]
            assert above.key == (span.key.rpartition(".")[0] or "run")
            assert above.start <= span.start
            assert above.end is None or (span.end is not None and span.end <= above.end)
        return {span.key: span for span in spans}

    waiting = after(0)
    assert [waiting[key].status for key in ("1", "1.0", "1.0.0", "1.1")] == ["waiting"] * 4
    forked = after(5)
    assert {"1.0.1", "1.0.1.0", "1.0.1.1", "1.0.1.2"} <= forked.keys()
    assert (forked["1.0"].kind, forked["1.0"].name) == ("branch", "branch 0")
    assert (forked["1.0.1"].end, forked["1.0.1.2"].status) == (None, "value")
    won = after(20)
    assert won["1"].end == won["1.0"].end == clock.now()
    assert won["2.0.0"].name == "signal end"
    assert after(30)["2.1.1"].status == "value"
    app.signal(run_id, "end", None)
    assert after(3)["run"].status == "completed"


def test_a_child_run_hangs_from_the_step_that_started_it(demo: Opened) -> None:
    from sequential.storage import evolve
    from tests.dashboard.records import run_of

    parent = type("Parent", (), {"run_id": "r", "position": "0"})()
    child = evolve(run_of(), run_id="c", flow="pay", parent=parent)
    found = spans_of(loaded(step(0, 1, 2)), [child])
    assert tree(found)[-1] == ("0@c", "0")
    assert found[-1].run_id == "c"


def test_what_is_in_flight_has_a_row_without_an_end(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("feed"))
    found = spans_of(demo.board.reader.loaded(run_id))[-1]
    assert (found.status, found.end) == ("retrying", None)
    assert found.tries > 5
    assert "does not answer" in found.note


def test_a_step_under_a_lost_lease_is_stalled(demo: Opened) -> None:
    run_id = demo.runs("stalled")[0]
    found = demo.board.reader.loaded(run_id)
    spans = spans_of(found)
    assert (spans[-1].key, spans[-1].status) == ("next", "stalled")
    assert pieces_of(found, spans)[-1].kind == "stalled"


# -- where the time went


def test_the_whole_time_of_a_run_is_accounted_for_once() -> None:
    found = loaded(step(0, 2, 4), sleep(1, 4, 64), step(2, 66, 67, fence=2))
    assert kinds(found) == [
        ("queued", 1), ("working", 3), ("timer", 60), ("queued", 2), ("working", 1),
    ]  # fmt: skip
    ledger = ledger_of(pieces_of(found, spans_of(found)))
    assert (ledger.wall, ledger.active) == (67, 4)
    assert sum(ledger.shares.values()) == ledger.wall


def test_time_between_steps_of_one_invocation_is_the_flows_own() -> None:
    assert kinds(loaded(step(0, 1, 2), step(1, 5, 6))) == [("queued", 1), ("working", 5)]


def test_of_two_steps_at_once_the_one_that_works_counts() -> None:
    found = loaded(sleep(0, 1, 9), step(1, 3, 5), step(2, 8, 10, attempts=3))
    assert kinds(found)[1:] == [
        ("timer", 2), ("working", 2), ("timer", 3), ("retrying", 2),
    ]  # fmt: skip


def test_a_run_that_was_retried_had_ended_in_between() -> None:
    found = loaded(
        step(0, 1, 2), step(1, 50, 51, fence=3), status=Status.COMPLETED, ended=51.0,
        generation=1, seeds=((1, "r:1"),), wake=None,
    )  # fmt: skip
    assert ("ended", 48) in kinds(found)


def test_an_open_run_says_why_nothing_goes_on() -> None:
    blocked = type("Attention", (), {"reason": "changed", "message": "secret"})()
    cases: dict[str, dict[str, Any]] = {
        "queued": {"wake": At(50.0)},
        "stalled": {"status": Status.RUNNING, "wake": At(50.0)},
        "blocked": {"attention": blocked},
        "working": {"status": Status.RUNNING, "wake": At(150.0)},
    }
    for kind, changes in cases.items():
        found = loaded(step(0, 1, 2), **changes)
        last = pieces_of(found, spans_of(found))[-1]
        assert (last.kind, last.end) == (kind, 100.0)
        assert "secret" not in last.why


def test_long_waits_are_folded_and_work_never_is() -> None:
    found = loaded(
        step(0, 1, 1000), sleep(1, 1000, 1019), sleep(2, 1019, 4000), step(3, 4000, 4001)
    )
    pieces = pieces_of(found, spans_of(found))
    assert [(each.start, each.end) for each in folded(pieces)] == [(1000, 4000)]
    short = loaded(step(0, 1, 2), sleep(1, 2, 2 + FOLDED_FROM), step(2, 2 + FOLDED_FROM, 9))
    assert folded(pieces_of(short, spans_of(short))) == []


@given(
    some.lists(
        some.tuples(
            some.integers(0, 500), some.integers(0, 200), some.booleans(), some.integers(1, 3)
        ),
        max_size=12,
    )
)
def test_pieces_never_overlap_and_leave_nothing_out(
    drawn: list[tuple[int, int, bool, int]],
) -> None:
    steps = [
        (sleep if waits else step)(number, begin, begin + lasts, fence=fence)
        for number, (begin, lasts, waits, fence) in enumerate(drawn)
    ]
    end = max([each.ended for each in steps], default=10.0)
    found = loaded(*steps, status=Status.COMPLETED, ended=end, wake=None)
    spans = spans_of(found)
    pieces = pieces_of(found, spans)
    assert all(one.end == other.start for one, other in pairwise(pieces))
    if end > spans[0].start:
        assert (pieces[0].start, pieces[-1].end) == (spans[0].start, end)


# -- what is sent


def test_the_payload_holds_each_row_once_and_words_once() -> None:
    found = loaded(step(0, 1, 2), step(1, 2, 3.5), sleep(2, 3.5, 400), step(3, 400, 401))
    spans = spans_of(found)
    sent = payload_of(spans, pieces_of(found, spans))
    assert sent["key"] == ["run", "0", "1", "2", "3"]
    assert [sent["names"][each] for each in sent["name"]] == [
        "order", "shop.pack", "shop.pack", "sleep", "shop.pack",
    ]  # fmt: skip
    assert sent["length"][2] == 1500
    assert sent["folds"] == [[3500, 400_000, sent["reasons"].index("sleeping")]]


def test_what_goes_on_is_sent_without_its_end_so_that_it_does_not_change() -> None:
    changes = {"status": Status.RUNNING, "wake": At(50.0)}
    sent = []
    for now in (100.0, 160.0):
        found = loaded(step(0, 1, 2), now=now, **changes)
        spans = spans_of(found)
        sent.append(payload_of(spans, pieces_of(found, spans)))
    assert sent[0] == sent[1]
    assert sent[0]["length"][0] == GOES_ON
    assert sent[0]["folds"][-1][1] == GOES_ON


def test_five_thousand_rows_are_less_than_250_kilobytes() -> None:
    found = loaded(*(step(number, number, number + 0.7) for number in range(5000)))
    spans = spans_of(found)
    sent = json.dumps(payload_of(spans, pieces_of(found, spans)), separators=(",", ":"))
    assert len(sent) < 250_000
