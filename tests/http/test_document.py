"""The OpenAPI document against the server, by whatever schemathesis thinks of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth

from sequential import Registry, Sequential, Steps, flow, wait_for_signal
from sequential.testing import FakeClock
from sequential_http.access import Tokens
from sequential_http.routes import OPERATIONS, Operation
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys
from tests.fix_http import KEY, TOKEN

registry = Registry()


@flow(registry=registry)
def asked(question: str = "well?", more: Any = None) -> Steps[Any]:
    return (yield wait_for_signal("answer"))


@pytest.fixture(scope="module")
def described() -> Iterator[Any]:
    """Give the document as it was served, bound to the server."""
    with Sequential("memory:", plugins=[], registry=registry, clock=FakeClock()) as app:
        app.start(asked, run_id="r1")
        options = Options(Keys.parse(KEY), authorise=Tokens(TOKEN), flows=["asked"], mode="request")
        yield schemathesis.openapi.from_asgi("/openapi.json", asgi(app, options))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_answers_are_as_the_document_says(operation: Operation, described: Any) -> None:
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(case=described[operation.path][operation.method].as_strategy())
    def hold(case: Any) -> None:
        if len(case.path_parameters.get("run_id", "")) % 2:
            case.path_parameters["run_id"] = "r1"
        if operation.name == "wait":
            case.query["timeout"] = 0
        if operation.name == "list":
            case.query.pop("after", None)  # where another page ended, which nobody can think of
        case.call_and_validate(
            headers={"authorization": f"Bearer {TOKEN}"}, excluded_checks=[ignored_auth]
        )

    hold()
