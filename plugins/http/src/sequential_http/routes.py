"""The table of operations: the one source of routing and of the OpenAPI document.

What an operation does stands in `api`, `resume` and `links`, in a method of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .access import Action
from .exchange import BODY_LIMIT
from .messages import RESUME_LIMIT

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_RUN_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_~.\\-]{0,127}$"}
_TIME: Schema = {"type": ["number", "null"], "description": "Seconds since the epoch."}
_TAGS: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 256},
    "propertyNames": {"minLength": 1, "maxLength": 64},
    "maxProperties": 32,
}
_TAG: Schema = {"type": "string", "pattern": "^[^=]{1,64}=.{0,256}$"}
_STATUSES = ("paused", "running", "completed", "failed", "cancelled", "quarantined", "purged")


def _object(required: str, **properties: Schema) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties}
    names = required.split()
    return {**shape, "required": names} if names else shape


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_RECORD: dict[str, Schema] = {
    "run_id": _RUN_ID,
    "flow": _TEXT,
    "version": _TEXT,
    "status": {"type": "string", "enum": list(_STATUSES)},
    "generation": {"type": "integer"},
    "steps": {"type": "integer", "description": "How many steps are recorded."},
    "created": _TIME,
    "started": _TIME,
    "ended": _TIME,
    "wake": {**_TIME, "description": "When it is looked at next, at the latest."},
    "tags": _TAGS,
    "parent": {"type": ["string", "null"]},
    "waiting_for": {"type": "array", "items": _TEXT, "description": "Names of signals."},
    "blocked": {
        "type": ["object", "null"],
        "description": "Why a deploy or a person must act.",
        "properties": {"reason": _TEXT, "message": _TEXT},
    },
}
_FAULT: Schema = {
    "type": ["object", "null"],
    "properties": {"type": _TEXT, "message": _TEXT},
}

SCHEMAS: dict[str, Schema] = {
    "Run": _object(" ".join(_RECORD), **_RECORD),
    "EndedRun": _object(
        " ".join([*_RECORD, "progress", "result", "error"]),
        **_RECORD,
        progress={"description": "What the flow has published last; null for nothing."},
        result={"description": "What the flow returned, once it has."},
        error=_FAULT,
    ),
    "Step": _object(
        "position number kind what outcome attempts started ended size omitted value",
        position=_TEXT,
        number={"type": "integer"},
        kind={
            "type": "string",
            "enum": [
                "tool",
                "sleep",
                "signal",
                "save",
                "child",
                "start",
            ],
        },
        what={"type": "string", "description": "Name of the tool, the signal or the child's flow."},
        outcome={"type": "string", "enum": ["value", "error", "timeout", "cancelled"]},
        attempts={"type": "integer"},
        started={"type": "number"},
        ended={"type": "number"},
        size={"type": "integer", "description": "Bytes of the value."},
        omitted={"type": "boolean", "description": "Whether the value is too large to be here."},
        value={},
    ),
    "Error": _object(
        "error",
        error={"type": "string", "description": "A constant word."},
        message={"type": "string", "description": "Of what was sent and can be mended."},
        id={"type": "string", "description": "Of the line in the log that says more."},
    ),
}

_TOLD = _object("run_id accepted", run_id=_RUN_ID, accepted={"type": "boolean"})
_STATUS = _object("status", status=_TEXT)


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for.

    Attributes:
        name: Of the method that does it.
        method: GET or POST.
        path: With names in braces.
        summary: One sentence.
        answers: Schema of the answer by status; None for a page.
        action: What the authoriser is asked; None where it is not.
        refusals: Statuses of refusals, beside those that every operation of its kind has.
        query: Schemas of what may stand in the query; a list may repeat.
        body: Schema of the body.
        limit: Bytes of the body, at most.
        security: How the caller shows who it is.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    summary: str
    answers: Mapping[int, Schema | None]
    action: Action | None = None
    refusals: tuple[int, ...] = ()
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    limit: int = BODY_LIMIT
    security: Literal["bearer", "webhook", "link", "none"] = "bearer"


OPERATIONS = (
    Operation(
        "resume", "POST", "/resume/{run_id}",
        "Look at a run: a message of this deployment's own, signed by Standard Webhooks.",
        {200: _STATUS, 202: _STATUS},
        refusals=(400, 401, 404, 429),
        body=_object(
            "v aud op run",
            v={"const": 1}, aud=_TEXT, op={"const": "resume"}, run=_RUN_ID,
        ) | {"additionalProperties": False},
        limit=RESUME_LIMIT,
        security="webhook",
    ),
    Operation(
        "start", "POST", "/runs",
        "Start a run; the same id with the same flow and input is the same run.",
        {201: _object("run_id", run_id=_RUN_ID)},
        "start", (400, 404, 409, 415),
        body=_object(
            "flow",
            flow={"type": "string", "description": "Name of a flow that clients may start."},
            input={"description": "An object of the flow's parameters, or its raw input."},
            run_id=_RUN_ID,
            tags=_TAGS,
            deadline={
                "description": "When it is cancelled unless it has ended: seconds from now, or a"
                " moment.",
                "oneOf": [
                    {"type": "number", "exclusiveMinimum": 0, "maximum": 100 * 365 * 86_400},
                    {"type": "string", "format": "date-time"},
                ],
            },
        ) | {"additionalProperties": False},
    ),
    Operation(
        "list", "GET", "/runs", "List runs, newest first.",
        {200: _object(
            "runs next",
            runs={"type": "array", "items": _reference("Run")},
            next={"type": ["string", "null"], "description": "For `after` of the next page."},
        )},
        "list", (400, 404),
        query={
            "flow": _TEXT,
            "status": {"type": "array", "items": {"type": "string", "enum": list(_STATUSES)}},
            "tag": {"type": "array", "items": _TAG, "maxItems": 32},
            "since": {"type": "string", "format": "date-time"},
            "after": _TEXT,
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        },
    ),
    Operation(
        "read", "GET", "/runs/{run_id}", "Read a run, with its result once it has ended.",
        {200: _reference("EndedRun")}, "read", (404,),
    ),
    Operation(
        "steps", "GET", "/runs/{run_id}/steps", "Read the recorded steps of a run.",
        {200: _object(
            "steps next",
            steps={"type": "array", "items": _reference("Step")},
            next={"type": ["integer", "null"], "description": "For `after` of the next page."},
        )},
        "read", (400, 404),
        query={
            "after": {"type": "integer", "minimum": 0, "maximum": (1 << 30) - 1, "default": 0},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 100},
        },
    ),
    Operation(
        "wait", "GET", "/runs/{run_id}/wait",
        "Wait for the end of a run: 200 when it has come or cannot come by itself, else 202.",
        {200: _reference("EndedRun"), 202: _reference("EndedRun")}, "read", (400, 404),
        query={"timeout": {"type": "number", "minimum": 0, "maximum": 60, "default": 30}},
    ),
    Operation(
        "signal", "POST", "/runs/{run_id}/signals/{name}",
        "Send a signal to a run; one `signal_id` is accepted once.",
        {202: _TOLD}, "signal", (400, 404, 409, 415),
        body=_object("", value={}, signal_id={"type": "string", "minLength": 1, "maxLength": 256})
        | {"additionalProperties": False},
    ),
    Operation(
        "cancel", "POST", "/runs/{run_id}/cancel", "Ask a run to stop at its next step.",
        {202: _TOLD}, "cancel", (400, 404, 409, 415),
        body=_object("", reason=_TEXT) | {"additionalProperties": False},
    ),
    Operation(
        "retry", "POST", "/runs/{run_id}/retry",
        "Carry a run that ended badly on from the step that failed.",
        {202: _reference("Run")}, "retry", (400, 404, 409, 415),
        body=_object("") | {"additionalProperties": False},
    ),
    Operation(
        "ask", "GET", "/callback/{token}", "Show the form of a link; nothing is answered by it.",
        {200: None}, refusals=(404,), security="link",
    ),
    Operation(
        "answer", "POST", "/callback/{token}", "Answer what a tool has asked for, once.",
        {200: None}, refusals=(400, 404, 409, 415), body={}, security="link",
    ),
    Operation(
        "health", "GET", "/health", "Say whether the storage answers and somebody works.",
        {200: _STATUS}, security="none",
    ),
    Operation(
        "openapi", "GET", "/openapi.json", "Read this document.",
        {200: {"type": "object"}}, security="none",
    ),
)  # fmt: skip
