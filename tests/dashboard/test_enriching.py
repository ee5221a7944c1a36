"""What a span store adds to a timeline, and that nothing is missing without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sequential.spans import SpanRow, attempt_span_id, run_span_id, step_span_id
from sequential.storage import At, Loaded
from sequential_dashboard.timeline.enriching import enriched
from sequential_dashboard.timeline.gaps import KINDS, ledger_of, pieces_of
from sequential_dashboard.timeline.payload import payload_of
from sequential_dashboard.timeline.spans import Span, spans_of
from sequential_dashboard.words import trace_of
from tests.dashboard.records import loaded, sleep, step

TRACE = trace_of(loaded().run)
ROOT = f"{run_span_id('r'):016x}"


def own(position: str, generation: int = 0) -> str:
    return f"{step_span_id('r', generation, position):016x}"


def row(span: str, parent: str, start: float, end: float, **changes: Any) -> SpanRow:
    return SpanRow(TRACE, span, parent, "GET", "client", start, end)._replace(**changes)


def attempt(position: str, number: int, start: float, end: float, error: str = "") -> SpanRow:
    step = step_span_id("r", 0, position)
    told: dict[str, str | int] = {"sequential.run.id": "r", "sequential.attempt": number}
    span = f"{attempt_span_id(step, number, 1):016x}"
    return row(span, own(position), start, end, name="attempt a.b", error=error, attributes=told)


def invocation(start: float, end: float, **told: str) -> SpanRow:
    attributes = {"sequential.run.id": "r"} | {
        f"sequential.{name}": each for name, each in told.items()
    }
    return row(
        f"{int(start * 1000):016x}", ROOT, start, end, name="invocation", attributes=attributes
    )


def tree(found: Loaded, rows: Sequence[SpanRow]) -> list[tuple[str, str, str]]:
    spans = enriched(found, spans_of(found), rows)
    return [
        (each.key, spans[each.parent].key if each.parent >= 0 else "", each.name) for each in spans
    ]


TRIED = step(0, 1, 40, attempts=3)
ATTEMPTS = [
    attempt("0", 1, 1, 3, "OSError"), attempt("0", 2, 13, 14, "OSError"), attempt("0", 3, 34, 40),
]  # fmt: skip


def test_a_store_that_knows_nothing_changes_nothing() -> None:
    found = loaded(TRIED, step(1, 41, 42))
    assert enriched(found, spans_of(found), []) == spans_of(found)


def test_attempts_and_the_waits_between_them_stand_inside_their_step() -> None:
    found = loaded(TRIED, step(1, 41, 42))
    spans = enriched(found, spans_of(found), ATTEMPTS)
    assert tree(found, ATTEMPTS) == [
        ("run", "", "order"), ("0", "run", "shop.pack"), ("0#1", "0", "attempt 1"),
        ("0#2-", "0", "backoff before attempt 2"), ("0#2", "0", "attempt 2"),
        ("0#3-", "0", "backoff before attempt 3"), ("0#3", "0", "attempt 3"),
        ("1", "run", "shop.pack"),
    ]  # fmt: skip
    assert [each.status for each in spans if each.kind == "attempt"] == ["error", "error", "value"]
    assert spans[1].tries == 3
    assert {each.step for each in spans[2:7]} == {"0"}


def test_rows_of_the_waits_themselves_are_not_taken_for_attempts() -> None:
    found = loaded(TRIED)
    told: dict[str, str | int] = {"sequential.attempt": 2, "sequential.wait.kind": "backoff"}
    wait = row("f" * 16, own("0"), 3, 13, name="backoff a.b", attributes=told)
    assert tree(found, [ATTEMPTS[0], wait, *ATTEMPTS[1:]]) == tree(found, ATTEMPTS)


def test_only_attempts_count_as_work_where_they_are_known() -> None:
    found = loaded(TRIED)
    without = ledger_of(pieces_of(found, spans_of(found)))
    known = ledger_of(pieces_of(found, enriched(found, spans_of(found), ATTEMPTS)))
    assert without.shares == {"queued": 1, "retrying": 39}
    assert known.shares == {"working": 9, "queued": 1, "retrying": 30}
    lost = ledger_of(pieces_of(found, enriched(found, spans_of(found), ATTEMPTS[1:])))
    assert lost.shares == {"working": 7, "queued": 1, "retrying": 32}
    assert list(known.shares) == [each for each in KINDS if each in known.shares]


def test_an_only_attempt_has_no_row_and_what_its_tool_did_hangs_from_the_step() -> None:
    found = loaded(step(0, 1, 9))
    span = f"{attempt_span_id(step_span_id('r', 0, '0'), 1, 1):016x}"
    calls = [
        row("a" * 16, span, 2, 4),
        row("b" * 16, "a" * 16, 2, 3, name="connect", error="OSError"),
    ]
    expected = [
        ("run", "", "order"), ("0", "run", "shop.pack"), ("~aaaaaaaa", "0", "GET"),
        ("~bbbbbbbb", "~aaaaaaaa", "connect"),
    ]  # fmt: skip
    assert tree(found, calls) == expected
    assert tree(found, [attempt("0", 1, 1, 9), *calls]) == expected
    assert enriched(found, spans_of(found), calls)[-1].status == "error"


def test_a_step_that_is_tried_again_shows_the_backoff_that_goes_on() -> None:
    opened = type("Open", (), {
        "kind": "tool", "tool": "a.b", "attempt": 2, "error": "no", "started": 1.0, "due": 160.0,
        "name": "",
    })()  # fmt: skip
    found = loaded(now=100.0, open={"0": opened}, wake=At(160.0))
    spans = enriched(found, spans_of(found), [attempt("0", 1, 1, 2, "OSError")])
    last = spans[-1]
    assert (last.key, last.kind, last.end, last.due) == ("0#2-", "backoff", None, 160.0)
    assert pieces_of(found, spans)[-1].why == "backoff before attempt 2"


def test_each_invocation_says_what_woke_it_and_why_it_paused() -> None:
    rows = [
        invocation(1, 2, **{"invocation.outcome": "paused", "invocation.reason": "sleep"}),
        invocation(62, 63, **{"invocation.outcome": "completed"})._replace(kind="consumer"),
    ]
    found = loaded(step(0, 1, 2), sleep(1, 2, 62))
    assert tree(found, rows)[3:] == [
        ("invocations", "run", "invocations"),
        ("invocations#1", "invocations", "invocation 1: paused: sleep"),
        ("invocations#2", "invocations", "invocation 2: woken by a message, completed"),
    ]
    assert ledger_of(pieces_of(found, enriched(found, spans_of(found), rows))) == ledger_of(
        pieces_of(found, spans_of(found))
    )


def test_a_wait_ends_when_it_was_over_and_not_when_somebody_came() -> None:
    found = loaded(step(0, 1, 2), sleep(1, 2, 90), step(2, 90, 91, fence=2))
    rows = [row(own("1"), ROOT, 2, 62, name="sleep")]
    spans = enriched(found, spans_of(found), rows)
    assert (spans[2].start, spans[2].end) == (2, 62)
    assert [(each.kind, each.seconds) for each in pieces_of(found, spans)] == [
        ("queued", 1), ("working", 1), ("timer", 60), ("queued", 28), ("working", 1),
    ]  # fmt: skip


def test_spans_in_branches_hang_from_their_own_step() -> None:
    found = loaded(
        step(0, 1, 2), step(1, 2, 5, position="1.0.0", attempts=2),
        step(2, 3, 9, position="1.1.0"), step(3, 3, 9, position="1.1.1.0.0"),
    )  # fmt: skip
    rows = [
        attempt("1.0.0", 1, 2, 3, "OSError"), attempt("1.0.0", 2, 4, 5),
        row("c" * 16, own("1.1.1.0.0"), 4, 5),
    ]  # fmt: skip
    assert [each[:2] for each in tree(found, rows)] == [
        ("run", ""), ("0", "run"), ("1", "run"), ("1.0", "1"), ("1.0.0", "1.0"),
        ("1.0.0#1", "1.0.0"), ("1.0.0#2-", "1.0.0"), ("1.0.0#2", "1.0.0"), ("1.1", "1"),
        ("1.1.0", "1.1"), ("1.1.1", "1.1"), ("1.1.1.0", "1.1.1"), ("1.1.1.0.0", "1.1.1.0"),
        ("~cccccccc", "1.1.1.0.0"),
    ]  # fmt: skip


def test_what_hangs_from_nothing_known_is_left_out() -> None:
    found = loaded(step(0, 1, 2))
    rows = [
        row("a" * 16, "f" * 16, 1, 2), row("b" * 16, "b" * 16, 1, 2),
        row("c" * 16, own("0", generation=7), 1, 2),
        row("d" * 16, ROOT, 1, 2, attributes={"sequential.run.id": "r"}),
        row("e" * 16, ROOT, 1, 2, name="the flow itself called"),
    ]  # fmt: skip
    assert [key for key, _, _ in tree(found, rows)] == ["run", "0", "~eeeeeeee"]


def test_spans_that_look_alike_keep_keys_of_their_own() -> None:
    found = loaded(step(0, 1, 2))
    rows = [row("abcdef00" + "1" * 8, own("0"), 1, 2), row("abcdef00" + "2" * 8, own("0"), 1, 2)]
    keys = [key for key, _, _ in tree(found, [*rows, *rows])]
    assert len(set(keys)) == len(keys) == 4


def test_spans_as_deep_as_a_well_are_no_trouble() -> None:
    found = loaded(step(0, 1, 2))
    above = [own("0"), *(f"{n:08x}" * 2 for n in range(3000))]
    rows = [row(span, parent, 1, 2) for parent, span in pairwise(above)]
    assert len(tree(found, rows)) == 3002


def test_five_thousand_rows_of_a_store_are_less_than_250_kilobytes() -> None:
    found = loaded(step(0, 1, 9000))
    rows = [row(f"{n * 2654435761 % 2**32:08x}{n:08x}", own("0"), n, n + 0.7) for n in range(5000)]
    spans = enriched(found, spans_of(found), rows)
    sent = json.dumps(payload_of(spans, pieces_of(found, spans)), separators=(",", ":"))
    assert len(spans) == 5002
    assert len(sent) < 250_000
    assert all(isinstance(each, Span) for each in spans)
