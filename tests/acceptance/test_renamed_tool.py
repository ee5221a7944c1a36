"""A deploy that renames a tool under an open run: the run is blocked, and heals with the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sequential import Registry, RetryPolicy, Sequential, Steps, flow, sleep, tool, tool_call
from sequential._model import At, Status, StepRecord
from sequential._outcomes import Blocked, Completed, Paused
from sequential.errors import RunBlocked
from sequential.testing import FakeClock

RUN = "order-1"
Deploy = Callable[[str], Sequential]


class Shop:
    """One storage, and the processes of one deploy after another."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.url = f"sqlite:///{folder}/runs.db?synchronous=normal"
        self.calls: list[str] = []
        self.apps: list[Sequential] = []

    def deploy(self, name: str, *, called: str | None = None, fails: bool = False) -> Sequential:
        """Return a process whose payment tool is called *name*, and *called* by the flow."""
        registry = Registry()

        @tool("shop", name, retry=RetryPolicy(2, first=600, jitter=False), registry=registry)
        def pay(amount: int) -> str:
            self.calls.append(name)
            if fails:
                raise ConnectionError("the bank is closed")
            return f"paid {amount}"

        @flow(name="order", registry=registry)
        def order(amount: int) -> Steps[list[str]]:
            first = yield tool_call("shop", called or name, {"amount": amount})
            yield from sleep(60)
            second = yield tool_call("shop", called or name, {"amount": amount + 1})
            return [first, second]

        app = Sequential(self.url, plugins=[], registry=registry, clock=self.clock)
        self.apps.append(app)
        return app

    def history(self) -> tuple[int, list[StepRecord]]:
        run, steps = self.apps[0].get(RUN), self.apps[0].steps(RUN)
        return run.cursor, list(steps)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    for app in made.apps:
        app.close()


def open_run(shop: Shop) -> Sequential:
    """Start a run that has paid once and sleeps, now due again; return its process."""
    app = shop.deploy("pay")
    app.start("order", {"amount": 7}, run_id=RUN)
    assert isinstance(app.execute(RUN), Paused)
    shop.clock.advance(61)
    return app


def test_a_renamed_tool_blocks_the_run_and_names_both(shop: Shop) -> None:
    open_run(shop)
    before = shop.history()
    outcome = shop.deploy("settle").execute(RUN)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "changed"
    assert outcome.diff.splitlines() == [
        "step 0",
        '  - recorded: tool call shop.pay {"amount":7}',
        '  + asked:    tool call shop.settle {"amount":7}',
    ]
    for name in ("shop.pay", "shop.settle", RUN):
        assert name in outcome.message
    assert shop.calls == ["pay"]
    assert shop.history() == before


def test_looking_again_with_the_wrong_code_changes_no_history(shop: Shop) -> None:
    open_run(shop)
    before = shop.history()
    wrong = shop.deploy("settle")
    waits = []
    for _ in range(8):
        outcome = wrong.execute(RUN)
        assert isinstance(outcome, Blocked)
        assert outcome.wake is not None
        waits.append(round(outcome.wake.time - shop.clock.now()))
        # Not due: a look before the time changes nothing at all.
        record = wrong.get(RUN)
        assert wrong.execute(RUN) == outcome
        assert wrong.get(RUN) == record
        shop.clock.advance(waits[-1])
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert shop.calls == ["pay"]
    assert shop.history() == before
    # To be blocked is not to stall: nothing is quarantined for it.
    assert wrong.get(RUN).stalls == 0


def test_a_blocked_run_heals_by_itself_when_the_old_code_looks_at_it_again(shop: Shop) -> None:
    right = open_run(shop)
    assert isinstance(shop.deploy("settle").execute(RUN), Blocked)
    assert isinstance(right.execute(RUN), Blocked)  # it is not due before its time
    assert right.storage.due(10, ["order"], 0.0) == []
    shop.clock.advance(61)
    assert right.storage.due(10, ["order"], 0.0) == [RUN]
    assert right.execute(RUN) == Completed(RUN, ["paid 7", "paid 8"])
    assert shop.calls == ["pay", "pay"]
    assert right.get(RUN).attention is None


def test_a_redrive_makes_a_blocked_run_due_at_once(shop: Shop) -> None:
    right = open_run(shop)
    assert isinstance(shop.deploy("settle").execute(RUN), Blocked)
    right.redrive(RUN)
    assert right.get(RUN).wake == At(shop.clock.now())
    assert right.execute(RUN) == Completed(RUN, ["paid 7", "paid 8"])
    assert shop.calls == ["pay", "pay"]


def test_a_redrive_with_the_wrong_code_blocks_again(shop: Shop) -> None:
    open_run(shop)
    wrong = shop.deploy("settle")
    wrong.execute(RUN)
    wrong.redrive(RUN)
    assert isinstance(wrong.execute(RUN), Blocked)
    assert shop.calls == ["pay"]


def test_a_frame_kept_warm_across_the_block_goes_on_when_it_heals(shop: Shop) -> None:
    right = open_run(shop)
    shop.deploy("settle").execute(RUN)
    right.execute(RUN)
    shop.clock.advance(61)
    assert right.execute(RUN) == Completed(RUN, ["paid 7", "paid 8"])


def test_a_tool_that_is_gone_blocks_the_run_and_says_what_is_there(shop: Shop) -> None:
    right = open_run(shop)
    before = shop.history()
    outcome = shop.deploy("settle", called="pay").execute(RUN)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "tool-not-found"
    assert "shop.pay" in outcome.message
    assert "shop.settle" in outcome.message
    assert shop.calls == ["pay"]
    # The sleep before the missing tool was over, and what is over is recorded.
    assert shop.history()[1][: before[0]] == before[1]
    right.redrive(RUN)
    assert right.execute(RUN) == Completed(RUN, ["paid 7", "paid 8"])


def test_a_tool_renamed_between_two_attempts_blocks_the_run(shop: Shop) -> None:
    failing = shop.deploy("pay", fails=True)
    failing.start("order", {"amount": 7}, run_id=RUN)
    waiting = failing.execute(RUN)
    assert isinstance(waiting, Paused)
    assert waiting.reason == "retry"
    shop.clock.advance(601)
    outcome = shop.deploy("settle").execute(RUN)
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "changed"
    for name in ("shop.pay", "shop.settle"):
        assert name in outcome.message
        assert name in outcome.diff
    assert shop.calls == ["pay"]
    right = shop.deploy("pay")
    right.redrive(RUN)
    assert isinstance(right.execute(RUN), Paused)
    shop.clock.advance(61)
    assert right.execute(RUN) == Completed(RUN, ["paid 7", "paid 8"])
    assert right.steps(RUN)[0].attempts == 2


def test_running_a_blocked_run_raises_the_diff(shop: Shop) -> None:
    open_run(shop)
    wrong = shop.deploy("settle")
    with pytest.raises(RunBlocked, match=r"shop\.settle") as raised:
        wrong.run("order", {"amount": 7}, run_id=RUN)
    assert "recorded: tool call shop.pay" in raised.value.diff
    assert wrong.get(RUN).status is Status.PAUSED
