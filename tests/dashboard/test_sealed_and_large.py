"""Runs whose values are sealed, large or gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sequential import Registry, Sequential, Steps, flow, tool, tool_call
from sequential.codecs import Seal
from sequential.testing import FakeClock
from sequential_dashboard.board import Board, hold
from sequential_dashboard.readonly import ReadOnlyStorage
from sequential_dashboard.settings import Settings
from sequential_dashboard.values import LOADED_AT_ONCE, Values
from tests.dashboard.pages import errors, said, visit
from tests.fix_dashboard import Opened

KEY = bytes(range(32))


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @tool("print", "page", registry=registry)
    def page(letters: int) -> str:
        return "x" * letters

    @flow(name="book", registry=registry)
    def book(letters: int) -> Steps[int]:
        text = yield tool_call("print", "page", {"letters": letters})
        return len(text)

    assert {page.name, book.name} == {"page", "book"}
    return registry


@pytest.fixture
def sealed(registry: Registry) -> Iterator[tuple[Sequential, Sequential]]:
    """Give an application that seals, and one that only reads the same runs."""
    clock, seal = FakeClock(), Seal({"k1": KEY})
    with Sequential(
        "memory:", plugins=[seal], payload=["seal"], registry=registry, clock=clock
    ) as app:
        looking = Sequential(
            ReadOnlyStorage(app.storage), plugins=[seal], registry=registry, clock=clock
        )
        hold(Board(Settings("a test", payloads=True), looking))
        yield app, looking
        hold(None)


def test_sealed_values_are_opened_with_the_key(sealed: tuple[Sequential, Sequential]) -> None:
    app, looking = sealed
    app.run("book", {"letters": 5}, run_id="b")
    run, values = looking.get("b"), Values(looking, whole=True)
    step = looking.steps("b")[0]
    assert run.input.codecs
    assert values.of_input(run)[::2] == ({"letters": 5}, "")
    assert values.of_step_input(run, step)[::2] == ({"letters": 5}, "")
    assert values.of_step(run, step)[::2] == ("xxxxx", "")
    assert values.of_result(run).data == 5
    assert errors(visit("run", id="b", step="0")) == []


def test_without_the_key_the_page_says_so_and_shows_the_rest(
    sealed: tuple[Sequential, Sequential], registry: Registry
) -> None:
    app, _ = sealed
    app.run("book", {"letters": 5}, run_id="b")
    blind = Sequential(ReadOnlyStorage(app.storage), plugins=[], registry=registry)
    hold(Board(Settings("a test", payloads=True), blind))
    test = visit("run", id="b", step="0")
    assert errors(test) == []
    assert "cannot be read here" in said(test)
    assert "print" in test.subheader[0].value


def test_a_large_value_is_read_when_it_is_asked_for(
    sealed: tuple[Sequential, Sequential],
) -> None:
    app, _ = sealed
    app.run("book", {"letters": LOADED_AT_ONCE + 10}, run_id="b")
    test = visit("run", id="b", step="0")
    assert "xxxxx" not in said(test)
    test.toggle(key="load:0:value").set_value(True).run()
    assert "xxxxx" in said(test)


def test_what_is_left_of_a_purged_run_has_a_page(demo: Opened) -> None:
    run_id = demo.runs("completed")[0]
    demo.app.purge(run_id)
    test = visit("run", id=run_id)
    assert errors(test) == []
    assert "purged" in said(test)
