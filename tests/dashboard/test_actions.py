"""Each action does what its button says, through the application."""

from __future__ import annotations

from typing import Any

import pytest

from sequential.storage import Status
from sequential_dashboard.access import Right, Viewer
from sequential_dashboard.actions import ACTIONS, ActionRefused, Asked, possible
from sequential_dashboard.words import STORED
from tests.fix_dashboard import Opened

ADA = Viewer("Ada", frozenset(Right))


def act(demo: Opened, action: str, run_id: str, **more: Any) -> str:
    return demo.board.actor.act(ADA, Asked(action, run_id, "why", **more))


def test_redrive_gives_a_quarantined_run_another_chance(demo: Opened) -> None:
    run_id = demo.runs("quarantined")[0]
    act(demo, "redrive", run_id)
    assert demo.app.get(run_id).status is Status.PAUSED


def test_cancel_asks_once(demo: Opened) -> None:
    run_id = demo.runs("waiting")[0]
    assert act(demo, "cancel", run_id) == "it was asked to stop"
    assert "before" in act(demo, "cancel", run_id)


def test_terminate_ends_a_run_at_once(demo: Opened) -> None:
    run_id = demo.runs("blocked")[0]
    act(demo, "terminate", run_id)
    assert demo.app.get(run_id).status is Status.CANCELLED


def test_purge_deletes_what_ended_and_refuses_what_goes_on(demo: Opened) -> None:
    ended, open_ = demo.runs("completed")[0], demo.runs("waiting")[0]
    act(demo, "purge", ended)
    assert demo.app.get(ended).status is Status.PURGED
    with pytest.raises(ActionRefused, match="goes on"):
        act(demo, "purge", open_)


def test_a_signal_sent_twice_with_one_key_is_one_signal(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("approval"))
    act(demo, "signal", run_id, name="decision", value={"approve": True, "limit": 1}, key="k")
    assert "once is enough" in act(demo, "signal", run_id, name="decision", value=2, key="k")
    assert len(demo.app.get(run_id).inbox) == 1


def test_resume_says_what_to_do_where_nothing_carries_messages(demo: Opened) -> None:
    with pytest.raises(ActionRefused, match="start one that has flow"):
        act(demo, "resume", demo.runs("due")[0])
    assert demo.board.audit.last()[0].result == "failed"


def test_resume_sends_a_message_where_they_are_carried(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(demo.app.transport, "carries", True)
    monkeypatch.setattr(
        demo.app.transport, "send", lambda messages: sent.extend(each.run_id for each in messages)
    )
    monkeypatch.setattr(demo.app.driver, "_transport", demo.app.transport)
    run_id = demo.runs("due")[0]
    act(demo, "resume", run_id)
    assert sent == [run_id]


def test_a_record_that_changed_since_it_was_looked_at_is_left_alone(demo: Opened) -> None:
    run = demo.app.get(demo.runs("waiting")[0])
    demo.app.signal(run.run_id, "news")
    with pytest.raises(ActionRefused, match="changed since"):
        act(demo, "terminate", run.run_id, version=run.version)
    assert demo.app.get(run.run_id).status is Status.PAUSED


@pytest.mark.parametrize("action", ["retry", "redrive", "terminate", "nonsense"])
def test_what_cannot_be_done_is_said_in_a_sentence(demo: Opened, action: str) -> None:
    with pytest.raises(ActionRefused):
        act(demo, action, demo.runs("completed")[0])


def test_every_action_is_for_some_state_and_says_what_it_does() -> None:
    for action in ACTIONS.values():
        assert action.states
        assert action.states <= STORED.keys()
        assert action.says.endswith(".")
    assert possible("completed", many=True) == ["purge"]


def test_a_signal_of_another_type_is_refused_with_what_is_expected(demo: Opened) -> None:
    run_id = next(each for each in demo.runs("waiting") if each.startswith("approval"))
    with pytest.raises(ActionRefused, match="missing required field `approve`"):
        act(demo, "signal", run_id, name="decision", value={"x": 1})
    assert demo.board.audit.last()[0].result == "failed"
    assert not demo.app.get(run_id).inbox
