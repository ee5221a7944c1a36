"""The page of one run: every kind of run, a step that is clicked, values and rights."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from streamlit.testing.v1 import AppTest

from sequential._model import Parent
from sequential.errors import StorageUnavailable
from sequential.spans import LogRow, SpanRow, attempt_span_id, run_span_id, step_span_id
from sequential.storage import Run, decode_value, evolve
from sequential_dashboard.demo_flows import demo_registry
from sequential_dashboard.words import trace_of
from tests.dashboard.pages import errors, said, visit
from tests.fix_dashboard import Opened

STATES = (
    "completed", "failed", "cancelled", "waiting", "due", "running", "stalled", "blocked",
    "quarantined",
)  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_run_in_each_state_has_a_page(demo: Opened, state: str) -> None:
    run_id = demo.runs(state)[0]
    test = visit("run", id=run_id)
    assert errors(test) == []
    assert any(run_id in each.value for each in test.code)
    assert state in said(test)


def test_a_run_that_there_is_not_is_said_to_be_none(demo: Opened) -> None:
    test = visit("run", id="nobody")
    assert errors(test) == []
    assert "there is no run" in test.error[0].value.replace("\\", "")


def clicked(test: AppTest, run_id: str, key: str) -> AppTest:
    """Select the row *key*, as a click on the canvas does."""
    test.session_state[f"timeline:{run_id}"] = {"selected": key}
    return test.run()


def test_a_click_on_a_step_shows_its_input_and_output(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    test = clicked(visit("run", id=run_id), run_id, "1")
    assert errors(test) == []
    assert "bank" in test.subheader[0].value
    assert "paid" in said(test)
    assert any("card_token" in each.value for each in test.json)


def test_the_address_of_a_step_opens_it(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("failed") if each.startswith("order"))
    test = visit("run", id=run_id, step="1")
    assert errors(test) == []
    assert "1 · bank" in test.subheader[0].value.replace("\\", "")
    assert [tab.label for tab in test.tabs][:2] == ["Input", "Error"]


def test_without_the_right_to_payloads_secrets_are_masked_and_no_history_is_given(
    demo: Opened,
) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("feed"))
    whole = visit("run", id=run_id)
    assert "k-123456" in "".join(each.value for each in whole.json)
    assert any(each.key == "run_replay" for each in whole.get("download_button"))
    demo.settle(payloads=False)
    masked = visit("run", id=run_id)
    assert "k-123456" not in "".join(each.value for each in masked.json)
    shown = "".join(each.value for each in masked.json) + said(masked)
    assert "hunter2" not in shown + "".join(str(each.value) for each in masked.dataframe)
    assert not any(each.key == "run_replay" for each in masked.get("download_button"))


def test_a_run_can_be_retried_from_its_page(demo: Opened) -> None:
    run_id = demo.runs("failed")[0]
    test = visit("run", id=run_id)
    test.text_input(key="run_reason").set_value("the bank is back").run()
    test.selectbox(key="run_action").set_value("retry").run()
    test.checkbox(key="run_sure").check().run()
    test.button(key="run_do").click().run()
    assert errors(test) == []
    assert "it goes on" in test.success[0].value.replace("\\", "")
    assert demo.app.get(run_id).generation == 1
    assert [row.result for row in demo.board.audit.last()] == ["done", "asked"]


SCHEMA = """{"type": "object", "required": ["approve", "limit"], "properties": {
    "approve": {"type": "boolean"}, "limit": {"type": "integer"},
    "comment": {"type": "string", "default": ""}}}"""


def test_a_signal_has_a_form_of_the_fields_that_it_expects(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("approval"))
    demo.expect(run_id, SCHEMA)
    key = f"signal:{run_id}:decision"
    test = visit("run", id=run_id)
    test.checkbox(key=f"{key}:approve").check().run()
    test.number_input(key=f"{key}:limit").set_value(7).run()
    test.text_input(key=f"{key}_reason").set_value("seen").run()
    test.checkbox(key=f"{key}_sure").check().run()
    test.button(key=f"{key}_do").click().run()
    assert errors(test) == []
    (message,) = demo.app.get(run_id).inbox
    assert decode_value(message.value.data) == {"approve": True, "limit": 7}


def test_a_signal_that_expects_anything_takes_json(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("approval"))
    demo.expect(run_id, "")
    key = f"signal:{run_id}:decision"
    test = visit("run", id=run_id)
    test.text_area(key=f"{key}:").set_value('{"approve": true, "limit": 5}').run()
    test.text_input(key=f"{key}_reason").set_value("seen").run()
    test.checkbox(key=f"{key}_sure").check().run()
    test.button(key=f"{key}_do").click().run()
    assert errors(test) == []
    assert [each.name for each in demo.app.get(run_id).inbox] == ["decision"]


def test_a_run_is_forked_with_an_edited_result(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    test = visit("run", id=run_id)
    test.text_input(key="fork_at:4").set_value("2").run()
    test.checkbox(key="fork_edits").check().run()
    test.text_area(key="fork_edit").set_value('"packed twice"').run()
    test.text_input(key="fork_reason").set_value("what if").run()
    test.checkbox(key="fork_sure").check().run()
    test.button(key="fork_do").click().run()
    assert errors(test) == []
    forked = demo.app.find(tags={"forked_from": run_id}).runs[0]
    assert demo.app.value(forked, demo.app.steps(forked.run_id)[-1]) == "packed twice"


def test_a_run_is_started_again_with_another_input(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = demo_registry(demo.clock, random.Random(1))
    monkeypatch.setattr(demo.app.engine.registry, "flows", registry.flows)
    run_id = next(each for each in demo.runs("failed") if each.startswith("order"))
    key = f"again:{run_id}"
    test = visit("run", id=run_id)
    given = json.loads(test.text_area(key=f"{key}:input").value or "")
    assert given.keys() == {"item", "amount"}
    test.text_area(key=f"{key}:input").set_value(json.dumps(given | {"amount": 1})).run()
    test.text_input(key=f"{key}_reason").set_value("cheaper").run()
    for _ in range(2):  # pressed twice it is one run
        test.checkbox(key=f"{key}_sure").check().run()
        test.button(key=f"{key}_do").click().run()
        assert errors(test) == []
    (again,) = demo.app.find(tags={"forked_from": run_id}).runs
    assert decode_value(again.input.data) == given | {"amount": 1}


def test_what_is_masked_is_not_offered_as_an_input(demo: Opened) -> None:
    demo.settle(payloads=False)
    run_id = next(each for each in demo.runs("waiting") if each.startswith("feed"))
    assert visit("run", id=run_id).text_area(key=f"again:{run_id}:input").value == "{}"


# -- what a span store adds


class Kept:
    """A span store of one run: two attempts, what the second called, an invocation, two lines."""

    def __init__(self, run: Run, position: str) -> None:
        self.trace, self.position = trace_of(run), position
        step = step_span_id(run.run_id, run.generation, position)
        one, other = (f"{attempt_span_id(step, number, 1):016x}" for number in (1, 2))
        at, root = run.created, f"{run_span_id(run.run_id):016x}"
        told = {"sequential.run.id": run.run_id}
        self.rows = [
            SpanRow(
                self.trace, one, f"{step:016x}", "attempt", "internal", at + 1, at + 2, "OSError",
                {**told, "sequential.attempt": 1},
            ),
            SpanRow(
                self.trace, other, f"{step:016x}", "attempt", "internal", at + 4, at + 5,
                attributes={**told, "sequential.attempt": 2},
            ),
            SpanRow(
                self.trace, "ab" * 8, other, "GET /carrier", "client", at + 4, at + 5,
                attributes={"url.full": "https://reader:hunter2@feeds.example"}, service="shop",
            ),
            SpanRow(
                self.trace, "cd" * 8, root, "invocation", "consumer", at, at + 5,
                attributes={**told, "sequential.invocation.outcome": "paused"},
            ),
        ]  # fmt: skip

    def spans_of(self, trace: str, limit: int = 5000) -> Sequence[SpanRow]:
        return self.rows if trace == self.trace else []

    def logs_of(
        self, trace: str, position: str | None = None, limit: int = 200
    ) -> Sequence[LogRow]:
        assert trace == self.trace
        lines = [
            LogRow(trace, self.position, 1.0, "WARNING", "shop", "basic dXNlcjpwYXNzd29yZA=="),
            LogRow(trace, "", 2.0, "INFO", "flows", "the flow says so"),
        ]
        return [each for each in lines if position in (None, each.position)]

    def add(self, spans: Sequence[SpanRow], logs: Sequence[LogRow] = ()) -> None:
        raise AssertionError("a page wrote")

    def drop(self, before: float, limit: int = 10_000) -> int:
        raise AssertionError("a page wrote")

    def close(self) -> None: ...


@pytest.fixture
def kept(demo: Opened) -> str:
    """Return a run that the dashboard's span store knows of."""
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    demo.board.reader.spans = Kept(demo.app.get(run_id), "4")
    return run_id


def test_an_attempt_is_inspected_with_its_step(demo: Opened, kept: str) -> None:
    test = visit("run", id=kept, step="4#1")
    assert errors(test) == []
    assert "4 · shop" in test.subheader[0].value.replace("\\", "")
    assert [tab.label for tab in test.tabs] == ["Input", "Output", "Attempts", "Logs", "Raw"]
    (attempts,) = [each.value for each in test.dataframe]
    assert list(attempts["What"]) == ["attempt 1", "backoff before attempt 2", "attempt 2"]
    assert list(attempts["Error"]) == ["OSError", "", ""]


def test_a_call_that_a_tool_made_and_an_invocation_have_an_inspector(
    demo: Opened, kept: str
) -> None:
    demo.settle(payloads=False)
    call = visit("run", id=kept, step="~abababab")
    assert errors(call) == []
    assert "in shop" in said(call)
    assert "feeds.example" in "".join(each.value for each in call.json)
    assert "hunter2" not in said(call) + "".join(each.value for each in call.json)
    turn = visit("run", id=kept, step="invocations#1")
    assert errors(turn) == []
    assert "woken by a message" in turn.subheader[0].value
    assert errors(visit("run", id=kept, step="invocations")) == []


def test_lines_are_shown_of_a_step_or_of_the_run_without_secrets(demo: Opened, kept: str) -> None:
    demo.settle(payloads=False, log_link="https://logs.example/?q={run_id}&t={trace_id}&s={step}")
    step = visit("run", id=kept, step="4")
    assert errors(step) == []
    assert "WARNING  shop: •••" in said(step)
    assert "the flow says so" not in said(step)
    assert "dXNlcjpwYXNzd29yZA" not in said(visit("run", id=kept))
    assert "the flow says so" in said(visit("run", id=kept))
    (link,) = [each for each in step.get("link_button") if "Logs" in each.proto.label]
    trace = trace_of(demo.app.get(kept))
    assert link.proto.url == f"https://logs.example/?q={kept}&t={trace}&s=4"


def test_a_span_store_that_is_gone_hides_no_run(
    demo: Opened, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StorageUnavailable("the span store", "no connection")

    for name in ("spans_of", "logs_of"):
        monkeypatch.setattr(demo.board.reader.spans, name, gone)
    test = visit("run", id=kept, step="4")
    assert errors(test) == []
    assert "cannot be read" in said(test)
    assert "4 · shop" in test.subheader[0].value.replace("\\", "")


def test_a_child_run_has_a_row_that_leads_to_it(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("completed") if each.startswith("order"))
    parent = Parent(run_id, "1")
    source = demo.app.get(demo.runs("failed")[0])
    for number in range(7):
        child = evolve(source, run_id=f"child-{number}", parent=parent, cursor=0)
        demo.app.storage.create(child)
    test = visit("run", id=run_id, step="1@child-3")
    assert errors(test) == []
    assert "2 children more" in said(test)
    urls = [each.proto.url for each in test.get("link_button")]
    assert len(urls) == 6
    assert "run?id=child-3" in urls
