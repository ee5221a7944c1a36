"""What other tests leave out: each remaining filter, button and switch, with data; and sizes."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sequential.storage import Status, evolve
from sequential_dashboard import attention
from tests.dashboard.pages import PAGES, address, errors, said, visit
from tests.dashboard.records import loaded, step
from tests.fix_dashboard import Opened


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many rows each table has that is made from now on."""
    made: list[int] = []
    original = pd.DataFrame.__init__

    def noted(frame: pd.DataFrame, *given: Any, **named: Any) -> None:
        original(frame, *given, **named)
        made.append(len(frame))

    monkeypatch.setattr(pd.DataFrame, "__init__", noted)
    return made


@pytest.fixture
def many(demo: Opened) -> Opened:
    """Return a dashboard over more runs of each kind than a page has, one of them of many steps."""
    kinds = ("quarantined", "waiting", "failed", "completed", "blocked")
    for state in kinds:
        source = demo.app.get(demo.runs(state)[0])
        for number in range(130):
            run = evolve(source, run_id=f"{state}-{number:03}", cursor=0)
            demo.app.storage.create(run)
    for name in ("long", "longer"):
        steps = [step(number, 1.0, 2.0) for number in range(250)]
        run = evolve(loaded(*steps).run, run_id=name, tags={"long": "yes"})
        demo.app.storage.create(run, steps)
    return demo


@pytest.mark.parametrize("page", PAGES)
def test_no_page_makes_a_table_of_more_than_a_page_of_rows(
    many: Opened, frames: list[int], page: str
) -> None:
    query = {"run": {"id": "long"}, "compare": {"a": "long", "b": "longer"}}.get(page, {})
    test = visit(page, **query)
    assert errors(test) == []
    assert frames
    assert max(frames) <= 100
    assert many.app.count()


def test_a_run_of_many_steps_has_a_table_of_pages(many: Opened, frames: list[int]) -> None:
    test = visit("run", id="long")
    test.toggle(key="run_table").set_value(True).run()
    test.number_input(key="run_table_page").set_value(3).run()
    assert errors(test) == []
    assert list(test.dataframe[0].value["Step"])[-1] == "249"
    assert max(frames) <= 100
    assert many.app.get("long").cursor == 250


def test_a_tag_a_time_and_the_beginning_of_an_id_narrow_the_runs(demo: Opened) -> None:
    test = visit("runs")
    test.text_input(key="f_tag").set_value("broken=stalled")
    test.run()
    assert list(test.dataframe[0].value["Run"]) == ["broken-stalled"]
    test.text_input(key="f_tag").set_value("")
    test.text_input(key="f_search").set_value("broken-failed").run()
    assert len(test.dataframe[0].value) == len(
        [each for each in demo.runs("failed") if each.startswith("broken-failed")]
    )
    test.selectbox(key="f_window").set_value("last hour").run()
    assert "There are no runs like that" in said(test)
    assert address(test) == {"window": ["last hour"], "search": ["broken-failed"]}


def test_the_overview_counts_the_runs_of_the_time_that_is_chosen(demo: Opened) -> None:
    test = visit("overview")
    everything = sum(demo.app.count().values())
    assert {each.label: each.value for each in test.metric}["Runs"] == str(everything)
    test.button_group(key="overview_window").set_value("last hour").run()
    assert errors(test) == []
    tiles = {each.label: each.value for each in test.metric}
    assert not tiles or int(tiles["Runs"]) < everything


def test_failures_of_one_flow_are_chosen(demo: Opened) -> None:
    test = visit("failures")
    test.selectbox(key="failures_flow").set_value("quote").run()
    assert list(test.dataframe[0].value["Flow"]) == ["quote"]
    assert demo.runs("failed")


def test_attention_is_looked_through_page_by_page(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LOOKED_THROUGH", 6)
    test = visit("attention")
    first = said(test)
    test.button(key="attention_on").click().run()
    assert errors(test) == []
    assert said(test) != first
    test.button(key="attention_back").click().run()
    assert said(test) == first
    assert demo.runs("waiting")


def test_what_differs_in_a_step_of_two_runs_is_shown(demo: Opened) -> None:
    left, right = [f"broken-failed-alike-{number}" for number in (0, 1)]
    test = visit("compare", a=left, b=right)
    assert "A-0" in said(test)
    test.selectbox(key="compare_step").set_value("0").run()
    assert '"amount": 11' in said(test)
    assert demo.app.get(left).status is Status.FAILED


def test_looking_again_can_be_stopped(demo: Opened) -> None:
    test = visit("runs")
    test.toggle(key="runs_pause").set_value(True).run()
    assert errors(test) == []
    test = visit("run", id=demo.runs("waiting")[0])
    test.toggle(key="run_follow").set_value(False).run()
    assert errors(test) == []


@pytest.mark.parametrize(
    ("state", "action", "then"),
    [
        ("completed", "purge", Status.PURGED),
        ("quarantined", "terminate", Status.CANCELLED),
        ("cancelled", "retry", Status.PAUSED),
        ("blocked", "redrive", Status.PAUSED),
    ],
)
def test_what_is_ticked_is_acted_on(demo: Opened, state: str, action: str, then: Status) -> None:
    test = visit("runs", state=state)
    (ticked, *_) = test.dataframe[0].value["Run"]
    test.session_state["runs_ticked"] = [ticked]
    test.run()
    test.selectbox(key="runs_action").set_value(action)
    test.text_input(key="runs_reason").set_value("seen")
    test.checkbox(key="runs_sure").check().run()
    test.button(key="runs_do").click().run()
    assert errors(test) == []
    assert demo.app.get(ticked).status is then
    assert demo.board.audit.last()[0].result == "done"
