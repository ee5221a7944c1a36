"""A web application whose orders survive it: FastAPI, with a worker of its own on SQLite.

    uvicorn shop:web

An order is a durable flow. Kill the process in the middle of one and start it again: the order goes
on after its last saved step.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI, HTTPException

from sequential import Sequential, Steps, flow, sleep, tool
from sequential.errors import RunMissing, RunTaken
from sequential.outcomes import Completed
from sequential_http.access import Tokens
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys


@tool("shop", "reserve")
def reserve(item: str) -> str:
    return f"{item}, reserved"


@tool("shop", "charge")
def charge(cents: int) -> str:
    return f"{cents} cents charged"


@flow
def order(item: str, cents: int) -> Steps[list[str]]:
    reserved = yield from reserve(item)
    yield sleep(2)  # the time to think better of it; it could be a week
    charged = yield from charge(cents)
    return [reserved, charged]


flows = Sequential(os.environ.get("SHOP_STORAGE", "sqlite:///shop.db"), "poll:?every=0.2s")

# The API of Sequential itself, below /flows. Its lifespan is the worker's, so it is handed on.
served = asgi(
    flows,
    Options(
        keys=Keys.from_environment(os.environ),
        authorise=Tokens.from_environment(os.environ),
        insecure_dev="SEQUENTIAL_HTTP_KEYS" not in os.environ,
    ),
)
web = FastAPI(title="Shop", lifespan=served.router.lifespan_context)
web.mount("/flows", served)


@web.post("/orders/{number}", status_code=202)
async def place(number: int, item: str, cents: int) -> dict[str, Any]:
    """Place an order; to place it again is the same order."""
    try:
        run_id = await flows.astart(order, {"item": item, "cents": cents}, run_id=f"order-{number}")
    except RunTaken as error:
        raise HTTPException(409, "there is another order of that number") from error
    return {"run": run_id}


@web.get("/orders/{number}")
async def look(number: int) -> dict[str, Any]:
    """Say how far an order is."""
    try:
        run = await flows.aget(f"order-{number}")
    except RunMissing as error:
        raise HTTPException(404, "there is no such order") from error
    outcome = flows.outcome(run)
    return {
        "status": run.status,
        "done": outcome.result if isinstance(outcome, Completed) else None,
    }
