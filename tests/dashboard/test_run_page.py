"""The page of one run: every kind of run, a step that is clicked, values and rights."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from sequential.storage import decode_value
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
