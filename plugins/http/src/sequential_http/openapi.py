"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .routes import OPERATIONS, SCHEMAS, Operation, Schema

_ERROR = {"$ref": "#/components/schemas/Error"}
_PAGE: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}}
_SCHEMES: dict[str, dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "webhook": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks: HMAC-SHA256 over id, timestamp and body, with"
        " `webhook-id` and `webhook-timestamp` beside it.",
    },
}
_WORDS = {
    200: "Done",
    201: "Started, or found",
    202: "Accepted",
    400: "What was sent cannot be read",
    401: "Who asks is not known",
    404: "Not there, or not yours",
    405: "No such method",
    408: "It did not arrive in time",
    409: "The run does not allow it",
    413: "Too large",
    415: "Not a type of body that is read",
    429: "Too many at a time",
    500: "A fault of ours; `id` names the line in the log",
    503: "The storage or the worker does not answer; come back",
}


def document(version: str) -> dict[str, Any]:
    """Return the document; *version* is that of this package."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sequential", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS), "securitySchemes": _SCHEMES},
    }


def _described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": list(_parameters(operation)),
        "responses": {str(status): each for status, each in _responses(operation)},
        "security": [{operation.security: []}] if operation.security in _SCHEMES else [],
    }
    if operation.body is not None:
        kinds = ["application/json"]
        if operation.security == "link":
            kinds.append("application/x-www-form-urlencoded")
        content = {kind: {"schema": operation.body} for kind in kinds}
        found["requestBody"] = {"required": "required" in operation.body, "content": content}
    return found


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        shape = {"type": "string", "minLength": 1, "maxLength": 1024}
        yield {"name": name, "in": "path", "required": True, "schema": shape}
    for name, wanted in operation.query.items():
        yield {"name": name, "in": "query", "required": False, "schema": wanted}


def _responses(operation: Operation) -> Iterator[tuple[int, dict[str, Any]]]:
    for status, shape in operation.answers.items():
        yield status, _response(status, _PAGE if shape is None else _json(shape))
    always = [401] if operation.action else []
    if operation.method == "POST":
        always += [408, 413]
    # People are told by a page what became of their link; programs, that it was no request.
    page = _PAGE if operation.security == "link" else {}
    for status in sorted({*operation.refusals, *always, 500, 503}):
        yield status, _response(status, {**_json(_ERROR), **page})


def _json(shape: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": shape}}


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": _WORDS[status], "content": content}
