"""The flow of the fleet: twenty steps, each of which says in a file that it was done."""

from __future__ import annotations

import os
import secrets
import time

from sequential import Steps, ToolContext, flow, tool

STEPS = 20


@tool("fleet", "mark")
def mark(context: ToolContext, number: int) -> str:
    """Return a token made up by this execution, after a line about it is in the log."""
    token = secrets.token_hex(8)
    line = f"{os.getpid()} {context.run_id} {context.position} {token} {number}\n"
    log = os.open(os.environ["FLEET_LOG"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        # One write, so that lines of many processes never mix.
        os.write(log, line.encode())
    finally:
        os.close(log)
    time.sleep(0.01)  # a kill should find it at work
    return token


@flow
def twenty(number: int) -> Steps[list[str]]:
    tokens = []
    for step in range(STEPS):
        token = yield from mark(number * 100 + step)
        tokens.append(token)
    return tokens
