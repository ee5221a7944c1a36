"""Three traps of building this on Streamlit, each of which would ship a serious bug."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from sequential.storage import evolve
from sequential_dashboard.views import runs
from tests.dashboard.pages import PAGES, address, errors, said, visit
from tests.fix_dashboard import Opened

LEAK = "no answer from https://reader:hunter2@feeds.example/daily"

# -- 1. a tick is a position, and positions move when runs arrive


def test_a_tick_becomes_the_id_of_the_row_that_stood_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state: dict[str, Any] = {
        "runs_shown": ["a", "b", "c"],
        runs.TABLE: {"selection": {"rows": [2, 0, 7], "columns": []}},
    }
    monkeypatch.setattr(st, "session_state", state)
    runs.ticked()
    assert state["runs_ticked"] == ["c", "a"]


def test_a_tick_is_turned_into_an_id_at_once(demo: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[dict[str, Any]] = []
    drawn = st.dataframe

    def noted(*given: Any, **named: Any) -> Any:
        tables.append(named)
        return drawn(*given, **named)

    monkeypatch.setattr(st, "dataframe", noted)
    test = visit("runs")
    (table,) = tables
    # In the callback: it runs before anything is asked for anew.
    assert table["on_select"] is runs.ticked
    assert list(test.session_state["runs_shown"]) == list(test.dataframe[0].value["Run"])
    assert demo.runs("failed")


def test_runs_that_arrive_while_one_is_ticked_do_not_change_what_is_acted_on(
    demo: Opened,
) -> None:
    test = visit("runs", state="failed")
    shown = list(test.dataframe[0].value["Run"])
    ticked = shown[2]
    test.session_state["runs_ticked"] = [ticked]
    newer = _fail_three(demo)
    test.run()
    assert errors(test) == []
    assert list(test.dataframe[0].value["Run"]) == shown
    assert "3 newer" in said(test)
    test.text_input(key="runs_reason").set_value("again").run()
    test.checkbox(key="runs_sure").check().run()
    test.button(key="runs_do").click().run()
    assert demo.app.get(ticked).generation == 1
    assert all(demo.app.get(each).generation == 0 for each in [*newer, *shown] if each != ticked)


def _fail_three(demo: Opened) -> list[str]:
    """Let three runs arrive that have failed: copies of one that did."""
    failed = demo.app.get(demo.runs("failed")[0])
    ids = [f"new-{number}" for number in range(3)]
    for run_id in ids:
        demo.clock.advance(60.0)
        now = demo.clock.now()
        demo.app.storage.create(evolve(failed, run_id=run_id, created=now, ended=now, cursor=0))
    return ids


# -- 2. the selected row is no part of the data, or each click would send all of it again


def test_a_click_sends_nothing_of_the_timeline_again(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def component(*args: Any, **kwargs: Any) -> Any:
        def mount(**given: Any) -> Any:
            sent.append(given["data"])
            return type("Result", (), {"selected": chosen})()

        return mount

    monkeypatch.setattr(st.components.v2, "component", component)
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    chosen = ""
    test = visit("run", id=run_id)
    for chosen in ("1", "2", "run"):
        demo.clock.advance(5.0)
        test.run()
        assert errors(test) == []
        assert address(test)["step"] == [chosen]
    assert len(sent) == 4
    assert all(each == sent[0] for each in sent)


# -- 3. a hidden column still reaches the browser


@pytest.fixture
def leaky(demo: Opened) -> Opened:
    """Return the demonstration with a message as it was stored before messages were masked."""
    storage = demo.app.storage
    failed, blocked = demo.app.get(demo.runs("failed")[0]), demo.app.get(demo.runs("blocked")[0])
    assert failed.error is not None
    assert blocked.attention is not None
    error = failed.error._replace(message=LEAK)
    storage.commit(evolve(failed, error=error, op_id="leak"), failed)
    storage.commit(
        evolve(blocked, attention=blocked.attention._replace(message=LEAK), op_id="leak"), blocked
    )
    return demo


@pytest.mark.parametrize("page", PAGES)
def test_what_may_not_be_seen_is_in_no_cell_of_no_table(leaky: Opened, page: str) -> None:
    leaky.settle(payloads=False)
    test = visit(page)
    assert errors(test) == []
    cells = "".join(each.value.to_csv() for each in test.dataframe)
    assert "hunter2" not in cells + said(test)


@pytest.mark.parametrize("page", ["attention", "failures", "runs"])
def test_the_demonstration_has_something_that_may_not_be_seen(leaky: Opened, page: str) -> None:
    cells = "".join(each.value.to_csv() for each in visit(page).dataframe)
    assert "hunter2" in cells
