"""Broken runs repaired from the dashboard alone: a walk for each kind.

Whoever walks knows the first page and reads. What is not done from a page is a deploy: a process
with the mended code that carries on what is due, as a worker does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

from sequential import Sequential
from sequential_dashboard.demo_broken import ALIKE, FLOWS
from sequential_dashboard.demo_broken_flows import mended_registry
from tests.dashboard.pages import errors, said, visit
from tests.fix_dashboard import Opened

REASON = "seen on the dashboard"


def words(test: AppTest) -> str:
    """Return the text of the page without the backslashes that keep it from being markup."""
    return said(test).replace("\\", "")


def follow(address: str) -> AppTest:
    """Open the page behind a link."""
    page, _, query = address.partition("?")
    return visit(page, **dict(parse_qsl(query)))


def from_the_first_page(to: str) -> AppTest:
    """Read the first page, and follow its link to page *to*."""
    first = visit("overview")
    tiles = {each.label: each.value for each in first.metric}
    assert int(tiles["Need somebody"].rstrip("+")) > 0
    assert f"({to})" in said(first)
    return follow(to)


def row_of(test: AppTest, run_id: str) -> dict[str, Any]:
    """Return what the page's table says of the run."""
    frame = test.dataframe[0].value
    (found,) = frame[frame["Run"] == run_id].to_dict("records")
    return {str(name): cell for name, cell in found.items()}


def act(test: AppTest, action: str, key: str = "run") -> AppTest:
    """Choose *action*, say why, confirm, and press the button."""
    test.selectbox(key=f"{key}_action").set_value(action)
    return confirm(test, key)


def confirm(test: AppTest, key: str) -> AppTest:
    test.text_input(key=f"{key}_reason").set_value(REASON)
    test.checkbox(key=f"{key}_sure").check().run()
    test.button(key=f"{key}_do").click().run()
    assert errors(test) == []
    assert [each.value for each in test.success], words(test)
    return test


def deployed(demo: Opened) -> Sequential:
    """Return a process with the mended code."""
    return Sequential(demo.app.storage, plugins=[], registry=mended_registry(), clock=demo.clock)


def work(demo: Opened) -> None:
    """Carry on what is due with the mended code, as a worker does."""
    app = deployed(demo)
    while found := app.storage.due(100, list(app.registry.flows), 0.0):
        for run_id in found:
            app.execute(run_id)


def noted(demo: Opened, action: str, *run_ids: str) -> bool:
    """Tell whether the audit has a row for each of *run_ids*: asked, and done, with the reason."""
    rows = {(row.run_id, row.result) for row in demo.board.audit.last() if row.action == action}
    assert all(row.reason == REASON for row in demo.board.audit.last())
    return rows == {(run_id, each) for run_id in run_ids for each in ("asked", "done")}


def is_healthy(run_id: str) -> bool:
    """Tell whether its page says that the run completed, and of no trouble."""
    test = visit("run", id=run_id)
    assert errors(test) == []
    return "completed" in words(test) and not [*test.warning, *test.error, *test.info]


# -- found under Attention


@pytest.mark.parametrize(
    ("kind", "what", "why", "fix"),
    [
        ("changed-code", "blocked", "the code now asks", "deploy code that fits"),
        ("tool-missing", "blocked", "no tool answers to text.translate", "register the tool"),
        ("quarantined", "quarantined", "killed 8 invocations", "mend what kills the process"),
    ],
)
def test_what_a_deploy_mends_is_redriven(
    demo: Opened, kind: str, what: str, why: str, fix: str
) -> None:
    run_id = f"broken-{kind}"
    row = row_of(from_the_first_page("attention"), run_id)
    assert row["What"] == what
    assert why in row["Why"]
    assert fix in row["Do"]
    assert "redrive" in row["Do"]
    test = follow(row["Open"])
    assert what in words(test)
    assert why in words(test)
    assert fix in words(test)
    if kind == "changed-code":
        (shown,) = [each.value for each in test.code if each.language == "diff"]
        assert '+ asked:    tool call office.draft {"customer":"Ada","language":"en"}' in shown
    act(test, "redrive")
    work(demo)
    assert noted(demo, "redrive", run_id)
    assert is_healthy(run_id)


@pytest.mark.parametrize(
    ("kind", "why"), [("stalled", "an invocation was lost"), ("overdue", "it has been due for")]
)
def test_what_nobody_looks_at_is_resumed(
    demo: Opened, monkeypatch: pytest.MonkeyPatch, kind: str, why: str
) -> None:
    run_id, sent = f"broken-{kind}", list[str]()
    monkeypatch.setattr(demo.board.reader.app.transport, "carries", True)
    monkeypatch.setattr(demo.app.transport, "carries", True)
    monkeypatch.setattr(
        demo.app.transport, "send", lambda messages: sent.extend(each.run_id for each in messages)
    )
    monkeypatch.setattr(demo.app.driver, "_transport", demo.app.transport)
    row = row_of(from_the_first_page("attention"), run_id)
    assert row["What"] == kind
    assert why in row["Why"]
    assert "resume it now" in row["Do"]
    test = follow(row["Open"])
    assert "resume it now" in words(test)
    act(test, "resume")
    assert sent == [run_id]
    deployed(demo).resume(run_id)
    assert noted(demo, "resume", run_id)
    assert is_healthy(run_id)


@pytest.mark.parametrize("kind", ["stalled", "overdue"])
def test_where_nothing_carries_messages_a_worker_is_what_helps(demo: Opened, kind: str) -> None:
    run_id = f"broken-{kind}"
    test = from_the_first_page("attention")
    row = row_of(test, run_id)
    assert f"start a worker that has flow {FLOWS[kind][0]!r}" in row["Do"]
    assert "Start one that has their flow, with `sequential worker`" in said(test)
    assert "resume" not in test.button_group(key="attention_what").options
    assert "resume" not in follow(row["Open"]).selectbox(key="run_action").options
    work(demo)
    assert is_healthy(run_id)


def test_what_goes_on_failing_goes_on_by_itself_once_it_is_mended(demo: Opened) -> None:
    run_id = "broken-retrying"
    row = row_of(from_the_first_page("attention"), run_id)
    assert row["What"] == "retrying"
    assert "has been tried 5 times; ConnectionError: partner.example" in row["Why"]
    assert "it goes on by itself" in row["Do"]
    test = follow(row["Open"])
    assert "the password has expired" in words(test)
    assert "attempt 6" in words(test)
    assert "next look in 23" in words(test)
    demo.clock.advance(3600.0)
    work(demo)
    assert is_healthy(run_id)


def test_a_damaged_result_is_done_anew_in_a_fork(demo: Opened) -> None:
    run_id = "broken-damaged"
    row = row_of(from_the_first_page("attention"), run_id)
    assert "step 1: cannot read the value" in row["Why"]
    assert "fork it from the step named" in row["Do"]
    test = follow(row["Open"])
    assert "fork it from the step named" in words(test)
    act(test, "terminate")
    test.text_input(key="fork_at:1").set_value("1")
    confirm(test, "fork")
    (forked,) = demo.app.find(tags={"forked_from": run_id}).runs
    assert f"(run?id={forked.run_id})" in test.success[-1].value
    work(demo)
    # It waits for the signal anew: the page asks for it.
    demo.expect(forked.run_id, "")
    test = visit("run", id=forked.run_id)
    test.text_area(key=f"signal:{forked.run_id}:closed:").set_value('"yes"')
    confirm(test, f"signal:{forked.run_id}:closed")
    work(demo)
    assert noted(demo, "terminate", run_id)
    assert is_healthy(forked.run_id)
    assert demo.app.get(run_id).status == "cancelled"


# -- found under Failures


def group_of(test: AppTest, flow: str) -> AppTest:
    """Choose the group of the failures of *flow*."""
    (name,) = [
        each for each in test.selectbox(key="failures_group").options if f"of {flow}" in each
    ]
    return test.selectbox(key="failures_group").set_value(name).run()


def test_a_run_whose_tool_is_mended_is_retried_from_its_page(demo: Opened) -> None:
    run_id = "broken-failed"
    test = group_of(from_the_first_page("failures"), "label")
    assert "the label printer does not answer" in words(test)
    assert "retry from the failed step" in words(test)
    assert f"(run?id={run_id}&step=1)" in said(test).replace("\\", "")
    test = visit("run", id=run_id, step="1")
    assert "retry from the failed step" in words(test)
    act(test, "retry")
    work(demo)
    assert noted(demo, "retry", run_id)
    assert is_healthy(run_id)


def test_a_group_that_failed_alike_is_retried_together(demo: Opened) -> None:
    ids = [f"broken-failed-alike-{number}" for number in range(ALIKE)]
    test = group_of(from_the_first_page("failures"), "payout")
    assert "our certificate has expired" in words(test)
    act(test, "retry", "failures")
    work(demo)
    assert noted(demo, "retry", *ids)
    assert all(is_healthy(each) for each in ids)


def test_a_wrong_result_is_replaced_in_a_fork(demo: Opened) -> None:
    run_id = "broken-wrong-result"
    test = group_of(from_the_first_page("failures"), "quote")
    assert "the price of 'lamp' is -1" in words(test)
    assert "fork from that step, with another result" in words(test)
    test = visit("run", id=run_id, step="0")
    assert "fork from that step" in words(test)
    assert "shop.price" in words(test)
    assert "-1" in [each.value for each in test.code]
    test.checkbox(key="fork_edits").check().run()
    test.text_area(key="fork_edit").set_value("30")
    confirm(test, "fork")
    work(demo)
    (forked,) = demo.app.find(tags={"forked_from": run_id}).runs
    assert noted(demo, "fork", run_id)
    assert is_healthy(forked.run_id)
    test = visit("run", id=forked.run_id)
    assert "60" in [each.value for each in test.code]


# -- found under Waiting


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("wrong-signal", "'aproval', which nothing has asked for, lies in its inbox"),
        ("unfit-signal", "$.approve does not fit"),
    ],
)
def test_a_run_that_a_signal_missed_is_answered(demo: Opened, kind: str, note: str) -> None:
    run_id = f"broken-{kind}"
    test = from_the_first_page("waiting")
    assert run_id in list(test.dataframe[0].value["Run"])[:2], (
        "what another signal came for is first"
    )
    row = row_of(test, run_id)
    assert note in row["Note"]
    page = follow(row["Open"])
    assert note in words(page)
    test.selectbox(key="waiting_answer").set_value(f"{run_id} · approval").run()
    key = f"signal:{run_id}:approval"
    test.checkbox(key=f"{key}:approve").check()
    test.number_input(key=f"{key}:days").set_value(5)
    confirm(test, key)
    work(demo)
    assert noted(demo, "signal", run_id)
    assert is_healthy(run_id)


def test_a_run_is_asked_to_stop_and_cleans_up(demo: Opened) -> None:
    run_id = "broken-to-cancel"
    row = row_of(from_the_first_page("waiting"), run_id)
    assert row["Signal"] == "returned"
    test = follow(row["Open"])
    test.selectbox(key="run_action").set_value("cancel").run()
    assert "so that it can clean up" in words(test)
    act(test, "cancel")
    work(demo)
    assert noted(demo, "cancel", run_id)
    test = visit("run", id=run_id)
    assert "cancelled" in words(test)
    test.toggle(key="run_table").set_value(True).run()
    steps = [each.strip() for each in test.dataframe[0].value["What"]]
    assert steps[-1] == "depot.release"


# -- found under Runs


def test_a_run_that_must_not_go_on_is_ended_at_once(demo: Opened) -> None:
    run_id = "broken-to-terminate"
    row = row_of(visit("runs", tag="broken=to-terminate"), run_id)
    assert row["State"] == "waiting"
    test = follow(row["Open"])
    test.selectbox(key="run_action").set_value("terminate").run()
    assert "none of its code runs any more" in words(test)
    act(test, "terminate")
    assert noted(demo, "terminate", run_id)
    work(demo)
    assert [step.tool for step in demo.app.steps(run_id)] == ["mail.everybody"]
    assert "cancelled" in words(visit("run", id=run_id))


def test_every_kind_has_a_line_in_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/find-what-is-wrong.md"
    told = re.findall(r"`broken-([a-z-]+?)(?:-\d)?`", page.read_text("utf-8"))
    assert sorted(told) == sorted(FLOWS)
