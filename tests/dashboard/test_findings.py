"""Attention, failures in groups, two runs compared: what is found in records."""

from __future__ import annotations

import pytest

from sequential._model import Open, StepKind
from sequential.storage import Page, Payload, Query, Status, evolve
from sequential_dashboard import attention, failures
from sequential_dashboard.comparing import difference, first_difference, rows
from sequential_dashboard.reading import Filter
from tests.dashboard.pages import errors, visit
from tests.dashboard.records import loaded, step
from tests.fix_dashboard import NOW, Opened


def test_each_kind_of_trouble_is_found_with_what_would_help(demo: Opened) -> None:
    found = attention.look(demo.board.reader)
    by_kind = {each.what: each for each in found.findings}
    assert {"blocked", "quarantined", "stalled", "overdue", "retrying"} <= by_kind.keys()
    assert by_kind["blocked"].action == by_kind["quarantined"].action == "redrive"
    assert by_kind["stalled"].action == by_kind["overdue"].action == "resume"
    assert all(each.why and each.fix for each in found.findings)


def test_what_waits_as_it_should_needs_nobody(demo: Opened) -> None:
    found = {each.run_id for each in attention.look(demo.board.reader).findings}
    reminders = [each for each in demo.runs("waiting") if each.startswith("reminder")]
    assert reminders
    assert not found & set(reminders)
    assert not found & set(demo.runs("completed"))


def test_open_runs_are_looked_through_by_their_wake_and_not_by_their_age(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Query] = []
    find = demo.app.storage.find

    def noted(query: Query) -> Page:
        asked.append(query)
        return find(query)

    monkeypatch.setattr(demo.app.storage, "find", noted)
    attention.look(demo.board.reader)
    demo.board.reader.page(Filter(states=("stalled",)))
    demo.board.reader.page(Filter(states=("due", "blocked")))
    hour = NOW + 3600
    assert [each.wakes_before for each in asked] == [hour, None, NOW, hour]
    assert set(asked[0].statuses) == {"paused", "running"}
    assert asked[1].statuses == (Status.QUARANTINED,)
    asked.clear()
    demo.board.reader.page(Filter(states=("due", "waiting")))
    assert asked[0].wakes_before is None


def test_what_nothing_will_ever_wake_is_looked_for_when_asked_for(demo: Opened) -> None:
    source = demo.app.get(demo.runs("waiting")[0])
    demo.app.storage.create(evolve(source, run_id="lost", wake=None, open={}, created=NOW))
    several = attention.lost(demo.board.reader).findings
    (found,) = [each for each in several if each.what == attention.LOST]
    assert (found.run_id, found.what, found.action) == ("lost", "lost", "terminate")
    test = visit("attention")
    test.toggle(key="attention_lost").set_value(True).run()
    assert errors(test) == []
    assert set(test.dataframe[0].value["Run"]) == {each.run_id for each in several}


def test_the_shown_word_of_a_run_is_what_the_command_line_says(demo: Opened) -> None:
    from sequential.cli._views import word
    from sequential_dashboard.words import STORED, state_of

    page = demo.board.reader.app.find(limit=1000)
    words = {state_of(run, page.runs[0].created + 1e6) for run in page.runs}
    for run in page.runs:
        assert state_of(run, demo.board.reader.now()) == word(run, demo.board.reader.now())
    assert words <= STORED.keys()


def test_runs_that_failed_alike_are_one_group(demo: Opened) -> None:
    found = failures.look(demo.board.reader).groups
    refunds = [each for each in found if each.flow == "refund"]
    assert len(refunds) == 1
    assert refunds[0].size == sum(each.startswith("refund") for each in demo.runs("failed"))
    assert refunds[0].where == "1"
    assert sum(each.size for each in found) == len(demo.runs("failed"))


def test_numbers_ids_addresses_and_quotes_make_no_other_pattern() -> None:
    one = failures.pattern_of("order A-17 at https://a.example/x failed: 'pear' (3 of 5)")
    other = failures.pattern_of("order B-9 at https://b.example/y failed: 'lamp' (4 of 50)")
    assert one.replace("A-#", "#") == other.replace("B-#", "#")
    assert failures.pattern_of("the bank said no") != failures.pattern_of("the bank is shut")


def test_a_state_that_no_storage_knows_is_looked_for_page_by_page(demo: Opened) -> None:
    blocked = demo.runs("blocked")
    assert blocked
    assert all(each.startswith(("invoice", "broken")) for each in blocked)
    page = demo.board.reader.page(Filter(states=("blocked",)), limit=1)
    assert page.runs[0].run_id == blocked[0]


def test_runs_that_are_stalled_are_not_shown_as_running(demo: Opened) -> None:
    assert demo.runs("running")
    assert not set(demo.runs("running")) & set(demo.runs("stalled"))


def test_pages_of_a_search_through_states_lose_none_and_repeat_none(demo: Opened) -> None:
    everything, after = [], None
    while True:
        page = demo.board.reader.page(Filter(states=("due", "stalled", "blocked")), after, limit=3)
        everything += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            break
    together = [*demo.runs("due"), *demo.runs("stalled"), *demo.runs("blocked")]
    assert sorted(everything) == sorted(together)


# -- two runs


def test_equal_runs_differ_in_nothing_but_time() -> None:
    found = rows(loaded(step(0, 1, 2)), loaded(step(0, 1, 9)))
    assert first_difference(found) is None
    assert (found[0].left_seconds, found[0].right_seconds) == (1, 8)


def test_where_two_runs_part_is_found() -> None:
    left = loaded(step(0, 1, 2), step(1, 2, 3), step(2, 3, 4))
    for changed, why in (
        (step(1, 2, 3, fingerprint="other"), "input"),
        (step(1, 2, 3, outcome="error"), "outcome"),
        (step(1, 2, 3, tool="shop.sell"), "step"),
        (step(1, 2, 3, value=Payload(b"1", (), None, 1)), "result"),
    ):
        first = first_difference(rows(left, loaded(step(0, 1, 2), changed, step(2, 3, 4))))
        assert first is not None
        assert (first.position, first.differs) == ("1", why)
    missing = first_difference(rows(left, loaded(step(0, 1, 2), step(1, 2, 3))))
    assert missing is not None
    assert (missing.position, missing.differs) == ("2", "missing")


def test_a_difference_is_told_line_by_line() -> None:
    assert difference({"a": 1}, {"a": 1}) == ""
    assert '-  "a": 1\n+  "a": 2' in difference({"a": 1}, {"a": 2})


def test_a_signal_that_was_dropped_is_found_among_what_nothing_wakes(demo: Opened) -> None:
    source = demo.app.get(demo.runs("waiting")[0])
    wait = Open(StepKind.SIGNAL, name="go", error="ValueMismatch: expected `int`, got `str`")
    demo.app.storage.create(evolve(source, run_id="deaf", wake=None, open={"0": wait}, created=NOW))
    several = attention.lost(demo.board.reader).findings
    found = next(each for each in several if each.run_id == "deaf")
    assert (found.run_id, found.what, found.step) == ("deaf", "dropped", "0")
    assert "signal 'go' came and was dropped: ValueMismatch: expected `int`" in found.why
    assert "send it again" in found.fix
