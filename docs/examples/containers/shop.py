"""The flows that the containers carry on."""

from __future__ import annotations

from datetime import timedelta

from sequential import RetryPolicy, Steps, flow, sleep, tool


@tool("shop", "reserve", retry=RetryPolicy(max_attempts=5))
def reserve(item: str) -> str:
    return f"{item}, reserved"


@tool("shop", "charge", retry=RetryPolicy(max_attempts=5))
def charge(cents: int) -> str:
    return f"{cents} cents charged"


@flow
def order(item: str, cents: int) -> Steps[list[str]]:
    reserved = yield from reserve(item)
    yield sleep(timedelta(seconds=1))
    charged = yield from charge(cents)
    return [reserved, charged]
