"""Lists: filters that are addresses, pages one after the other, actions on several runs."""

from __future__ import annotations

import pytest

from sequential.storage import Status, evolve
from sequential_dashboard import failures
from sequential_dashboard.views import waiting
from tests.dashboard.pages import address, errors, said, visit
from tests.fix_dashboard import Opened


def test_a_saved_view_is_an_address(demo: Opened) -> None:
    test = visit("runs", state="failed", flow="refund")
    found = test.dataframe[0].value
    assert {state for [state] in found["State"]} == {"failed"}
    assert set(found["Flow"]) == {"refund"}
    assert address(test) == {"state": ["failed"], "flow": ["refund"]}
    test.multiselect(key="f_state").set_value(["blocked"]).run()
    test.selectbox(key="f_flow").set_value("").run()
    assert address(test) == {"state": ["blocked"]}
    assert {state for [state] in test.dataframe[0].value["State"]} == {"blocked"}


def test_what_is_ticked_stays_ticked_while_time_passes(demo: Opened) -> None:
    test = visit("runs", window="last week")
    ticked = test.dataframe[0].value["Run"][0]
    test.session_state["runs_ticked"] = [ticked]
    demo.clock.advance(200.0)
    test.run()
    assert "1 ticked" in said(test)


def test_an_address_that_says_nonsense_shows_all_runs(demo: Opened) -> None:
    test = visit("runs", state="purple", window="soon", tag="=", flow="no-such")
    assert errors(test) == []
    assert test.selectbox(key="f_flow").value == "no-such"
    assert test.multiselect(key="f_state").value == []


def test_a_search_finds_by_the_beginning_of_the_id(demo: Opened) -> None:
    run_id = demo.runs("completed")[0]
    assert list(visit("runs", search=run_id).dataframe[0].value["Run"]) == [run_id]
    found = visit("runs", search="feed").dataframe[0].value["Run"]
    assert all(each.startswith("feed") for each in found)


def test_pages_follow_each_other_and_lead_back(demo: Opened) -> None:
    test = visit("runs")
    first = list(test.dataframe[0].value["Run"])
    assert len(first) == 50
    test.button(key="runs_on").click().run()
    second = list(test.dataframe[0].value["Run"])
    assert second
    assert not set(first) & set(second)
    test.button(key="runs_back").click().run()
    assert list(test.dataframe[0].value["Run"]) == first


def test_the_table_of_runs_leads_to_their_pages(demo: Opened) -> None:
    found = visit("runs").dataframe[0].value
    assert list(found["Open"]) == [f"run?id={each}" for each in found["Run"]]


def test_a_group_of_failures_is_retried_at_once(demo: Opened) -> None:
    test = visit("failures", flow="refund")
    group = next(each for each in test.selectbox(key="failures_group").options if "refund" in each)
    test.selectbox(key="failures_group").set_value(group).run()
    failed = [each for each in demo.runs("failed") if each.startswith("refund")]
    test.text_input(key="failures_reason").set_value("the bank is mended").run()
    test.checkbox(key="failures_sure").check().run()
    test.button(key="failures_do").click().run()
    assert errors(test) == []
    assert failed
    assert all(demo.app.get(each).generation == 1 for each in failed)


def test_a_quarantined_run_is_helped_from_the_attention_page(demo: Opened) -> None:
    run_id = demo.runs("quarantined")[0]
    test = visit("attention")
    test.button_group(key="attention_what").set_value("redrive").run()
    test.multiselect(key="attention_ids_redrive").set_value([run_id]).run()
    test.text_input(key="attention_reason").set_value("more memory").run()
    test.checkbox(key="attention_sure").check().run()
    test.button(key="attention_do").click().run()
    assert errors(test) == []
    assert demo.app.get(run_id).status is Status.PAUSED


def test_a_signal_is_answered_from_the_waiting_page(demo: Opened) -> None:
    run_id, name = next(each for each in demo.runs("waiting") if "approval" in each), "decision"
    demo.expect(run_id, "")
    test = visit("waiting")
    assert run_id in list(test.dataframe[0].value["Run"])
    test.selectbox(key="waiting_answer").set_value(f"{run_id} · {name}").run()
    key = f"signal:{run_id}:{name}"
    test.text_area(key=f"{key}:").set_value('{"approve": false, "limit": 1}').run()
    test.text_input(key=f"{key}_reason").set_value("no").run()
    test.checkbox(key=f"{key}_sure").check().run()
    test.button(key=f"{key}_do").click().run()
    assert errors(test) == []
    assert len(demo.app.get(run_id).inbox) == 1


def test_two_runs_are_compared_by_an_address(demo: Opened) -> None:
    left, right = [each for each in demo.runs("completed") if each.startswith("order")][:2]
    test = visit("compare", a=left, b=right)
    assert errors(test) == []
    assert len(test.dataframe[0].value) == 5
    assert "part at step" in said(test) or "is the same" in said(test)
    test = visit("compare", a=left, b="nobody")
    assert "there is no run" in test.error[0].value.replace("\\", "")


def test_the_system_page_shows_what_was_done_from_here(demo: Opened) -> None:
    from sequential_dashboard.access import Right, Viewer
    from sequential_dashboard.actions import Asked

    ada = Viewer("Ada", frozenset(Right))
    demo.board.actor.act(ada, Asked("retry", demo.runs("failed")[0], "why"))
    cells = "".join(each.value.to_csv() for each in visit("system").dataframe)
    assert "Ada" in cells
    assert demo.app.storage.deployment in cells


def test_the_system_page_says_whether_anybody_sweeps(demo: Opened) -> None:
    facts = "".join(each.value.to_csv() for each in visit("system").dataframe)
    assert "longest due" in facts
    assert "not kept" in facts
    demo.clock.advance(3600.0)
    assert "nobody looks at it" in said(visit("system"))


def test_older_failures_and_waits_are_a_page_away(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "LOOKED_THROUGH", 3)
    monkeypatch.setattr(waiting, "LOOKED_THROUGH", 3)
    for page in ("failures", "waiting"):
        test = visit(page)
        first = said(test)
        test.button(key=f"{page}_on").click().run()
        assert errors(test) == []
        test.button(key=f"{page}_back").click().run()
        assert said(test) == first
        assert test.button(key=f"{page}_back").disabled


def test_attention_shows_the_first_of_many_findings(demo: Opened) -> None:
    source = demo.app.get(demo.runs("quarantined")[0])
    waits = demo.app.get(next(each for each in demo.runs("waiting") if "approval" in each))
    for number in range(130):
        for run, name in ((source, "q"), (waits, "w")):
            demo.app.storage.create(evolve(run, run_id=f"{name}-{number}"))
    assert "The first 100 of" in said(visit("attention"))
