"""A flow whose every value is a secret, for one process after another. Run with a run's id."""

from __future__ import annotations

import sys

from sequential import RetryPolicy, Sequential, Steps, ToolContext, flow, sleep, tool
from tests.acceptance.told_canary import CANARY


class Refused(Exception):
    """Its message is a secret."""


@tool("shop", "charge", retry=RetryPolicy(max_attempts=2, first=0.001))
def charge(context: ToolContext, card: str) -> str:
    """Fail once."""
    if context.attempt == 1:
        raise Refused(f"{card} was refused")
    return f"{card} was charged"


@tool("shop", "refuse")
def refuse(card: str) -> str:
    """Fail always."""
    raise Refused(card)


@flow(name="order")
def order(card: str, ends: str) -> Steps[str]:
    """Charge, wait, and end well or not."""
    paid = yield from charge(card)
    yield from sleep(0.001)
    if ends == "badly":
        yield from refuse(card)
    return paid


def main(run_id: str, ends: str) -> None:
    """Make one invocation of the run, which is started if it is not there."""
    with Sequential.from_config() as app:
        app.start(order, {"card": CANARY, "ends": ends}, run_id=run_id, tags={"card": CANARY})
        app.execute(run_id)
        sys.stdout.write(app.get(run_id).status)


if __name__ == "__main__":
    main(*sys.argv[1:])
