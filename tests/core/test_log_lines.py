"""Log lines say which run and step they come from, and are kept without their secrets."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import sequential
from sequential import Registry, RetryPolicy, Steps, ToolContext, flow, tool, wait_for_signal
from sequential.logs import Stamps
from sequential.spans import attempt_span_id, run_span_id, step_span_id, trace_id_of
from sequential.testing import FakeClock
from tests.core.kept import Shelf, keeping

log = logging.getLogger("shop.tools")


@pytest.fixture(autouse=True)
def _everything() -> Iterator[None]:
    log.setLevel(logging.DEBUG)
    yield
    log.setLevel(logging.NOTSET)


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Stamps())
    form = "%(run_id)s|%(step)s|%(attempt)s|%(trace_id)s|%(span_id)s|%(message)s"
    handler.setFormatter(logging.Formatter(form))
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


@pytest.mark.parametrize("kind", ["sync", "timeout", "async"])
def test_a_line_of_a_tool_is_stamped_wherever_it_runs(kind: str, printed: io.StringIO) -> None:
    registry, shelf = Registry(), Shelf()
    fences: list[int] = []

    def speak(context: ToolContext) -> None:
        fences.append(context.fence)
        log.info("hello")

    if kind == "async":

        @tool("t", "speaks", registry=registry)
        async def speaks(context: ToolContext) -> None:
            speak(context)

    else:

        @tool("t", "speaks", registry=registry, timeout=30 if kind == "timeout" else None)
        def speaks(context: ToolContext) -> None:
            speak(context)

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        log.info("before")
        yield from speaks()

    log.info("outside")
    with keeping(shelf, registry) as app:
        app.run(f, run_id="r")
        created = app.get("r").created
    trace, step = trace_id_of("r", created), step_span_id("r", 0, "0")
    span = attempt_span_id(step, 1, fences[0])
    assert printed.getvalue().splitlines() == [
        "|||||outside",
        f"r|||{trace:032x}|{run_span_id('r'):016x}|before",
        f"r|0|1|{trace:032x}|{span:016x}|hello",
    ]
    lines = shelf.logs_of(f"{trace:032x}")
    assert [(each.position, each.message, each.level) for each in lines] == [
        ("", "before", "INFO"),
        ("0", "hello", "INFO"),
    ]
    assert lines[1].span == f"{span:016x}"
    assert lines[1].logger == "shop.tools"


def test_lines_are_kept_redacted_and_not_again_on_replay() -> None:
    registry, shelf = Registry(), Shelf()
    plain = sequential.logger("shop.tools")

    @tool("t", "shaky", registry=registry, retry=RetryPolicy(max_attempts=2))
    def shaky(context: ToolContext) -> None:
        try:
            int("password=hunter2")
        except ValueError:
            log.exception("attempt %d with token=%s", context.attempt, "abc")

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        log.info("first")
        plain.info("second")
        yield from shaky()
        yield from wait_for_signal("go")

    with keeping(shelf, registry, warm=0, clock=FakeClock()) as app:
        app.start(f, run_id="r")
        app.execute("r")
        app.signal("r", "go")
        app.execute("r")
    assert [each.message.partition("\n")[0] for each in shelf.lines] == [
        "first", "second", "attempt 1 with token=•••",
    ]  # fmt: skip
    assert "ValueError: invalid literal" in shelf.lines[2].message
    assert "hunter2" not in repr(shelf.lines)


def test_of_one_step_two_hundred_lines_are_kept() -> None:
    registry, shelf = Registry(), Shelf()

    @tool("t", "talks", registry=registry)
    def talks(n: int) -> None:
        for number in range(n):
            log.info("%d", number)

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        yield from talks(300)
        yield from talks(10)

    with keeping(shelf, registry) as app:
        app.run(f)
    assert [each.position for each in shelf.lines] == ["0"] * 200 + ["1"] * 10


def test_a_line_that_cannot_be_formatted_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    registry, shelf = Registry(), Shelf()

    @tool("t", "wrong", registry=registry)
    def wrong() -> int:
        log.info("%d", "no number")
        return 1

    @flow(name="f", registry=registry)
    def f() -> Steps[Any]:
        return (yield from wrong())

    with keeping(shelf, registry) as app:
        assert app.run(f) == 1
    assert shelf.lines == []


def test_an_application_keeps_lines_of_its_own_runs_until_it_is_closed() -> None:
    registry, first, second = Registry(), Shelf(), Shelf()

    @tool("t", "speaks", registry=registry)
    def speaks() -> None:
        log.info("hello")

    @flow(name="f", registry=registry)
    def f() -> Steps[None]:
        yield from speaks()

    handlers = list(logging.getLogger().handlers)
    with keeping(first, registry) as one, keeping(second, registry) as other:
        one.run(f)
        other.run(f)
    assert len(first.lines) == len(second.lines) == 1
    assert first.lines[0].trace != second.lines[0].trace
    assert logging.getLogger().handlers == handlers
