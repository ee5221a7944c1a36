"""A job of somebody else's service: submitted once, asked about until it is over."""

from __future__ import annotations

from datetime import timedelta

from sequential import RetryPolicy, ToolContext, flow, tool
from sequential.errors import PollTimedOut
from sequential.patterns import Saga, poll, saga

PATIENT = RetryPolicy(max_attempts=5)


@tool("render", "submit", retry=PATIENT)
def submit(context: ToolContext, scene: str) -> str:
    raise NotImplementedError(f"a request to the service under {context.idempotency_key}")


@tool("render", "state", retry=PATIENT)
def state(job: str) -> str:
    raise NotImplementedError("a request to the service")


@tool("render", "stop", retry=PATIENT)
def stop(job: str) -> None:
    raise NotImplementedError("a request to the service")


@tool("render", "fetch", retry=PATIENT)
def fetch(job: str) -> str:
    raise NotImplementedError("a request to the service")


@flow
async def render(scene: str) -> str:
    """Return where the picture is; a job that takes a day, or that nobody wants, is stopped."""

    async def body(undo: Saga) -> str:
        job = await submit(scene=scene)
        undo.undo_with(stop, job)
        await poll(
            lambda: state(job),
            until=lambda answer: answer == "done",
            every=timedelta(seconds=5),
            backoff=2,
            longest=timedelta(minutes=10),
            timeout=timedelta(days=1),
        )
        return await fetch(job)

    try:
        return await saga(body)
    except PollTimedOut:
        return "took too long"
