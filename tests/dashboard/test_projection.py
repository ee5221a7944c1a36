"""A dashboard that looks at runs in a bucket through a projection, and acts on the bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sequential import Registry, Sequential, Steps, flow, tool
from sequential._projection import ProjectionFile, Projector
from sequential.cli import Session
from sequential.storage import Status
from sequential_dashboard.board import Board, hold
from sequential_dashboard.command import opened
from sequential_dashboard.settings import Settings
from tests.dashboard.pages import errors, said, visit

LARGE = 100_000


def registry() -> Registry:
    found = Registry()

    @tool("bank", "pay", registry=found)
    def pay(letters: int) -> str:
        if letters < 0:
            raise ValueError("the bank is closed")
        return "y" * letters

    @flow(name="order", registry=found)
    def order(letters: int) -> Steps[int]:
        return len((yield from pay(letters)))

    assert order.name == "order"
    return found


@dataclass
class Bucket:
    """Runs in a bucket, and how they are projected."""

    app: Sequential
    url: str
    copy: Path

    def project(self) -> None:
        storage = self.app.storage
        into = ProjectionFile(str(self.copy), self.app.clock, "s3://bucket", storage.deployment)
        Projector(storage, into).go_on()
        into.close()


@pytest.fixture
def bucket(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.chdir(tmp_path)
    with Sequential(s3_url, registry=registry()) as app:
        app.execute(app.start("order", {"letters": -1}, run_id="failed"))
        app.run("order", {"letters": LARGE}, run_id="large")
        found = Bucket(app, s3_url, tmp_path / "copy.db")
        found.project()
        yield found


@pytest.fixture
def look(bucket: Bucket) -> Iterator[Callable[..., Board]]:
    """Return what opens the dashboard as the command does."""
    with ExitStack() as stack:

        def look(*, act: bool = False, values: str | None = None) -> Board:
            session = Session()
            session.set("storage", f"projection:///{bucket.copy}")
            session.set("values", values)
            settings = Settings("a projection", payloads=True, actions=act)
            board = opened(session, settings, bucket.url if act else None, stack)
            hold(board)
            return board

        stack.callback(hold, None)
        yield look


def test_pages_show_the_copy(look: Callable[..., Board]) -> None:
    look()
    for page in ("overview", "runs", "failures", "tools", "run"):
        test = visit(page, **({"id": "failed"} if page == "run" else {}))
        assert errors(test) == [], page
    assert "the bank is closed" in said(visit("run", id="failed"))


@pytest.mark.parametrize("values", [None, "memory:"])
def test_it_says_how_late_the_copy_is(look: Callable[..., Board], values: str | None) -> None:
    board = look(values=values)
    facts = visit("system").dataframe[0].value
    assert "copied until" in set(facts.iloc[:, 0])
    assert board.reader.now() >= board.reader.app.storage.upto > 0  # type: ignore[attr-defined]


def test_an_action_is_done_at_the_source(look: Callable[..., Board], bucket: Bucket) -> None:
    board = look(act=True)
    test = visit("run", id="failed")
    test.text_input(key="run_reason").set_value("the bank is open").run()
    test.selectbox(key="run_action").set_value("retry").run()
    test.checkbox(key="run_sure").check().run()
    test.button(key="run_do").click().run()
    assert errors(test) == []
    assert "it goes on" in test.success[0].value.replace("\\", "")
    assert bucket.app.get("failed").generation == 1
    assert board.reader.loaded("failed").run.status is Status.FAILED  # as the copy has it
    bucket.project()
    assert board.reader.loaded("failed").run.status is Status.PAUSED


def test_large_values_come_from_the_source_if_it_is_named(
    look: Callable[..., Board], bucket: Bucket
) -> None:
    look()
    blind = said(visit("run", id="large", step="0"))
    assert "yyyy" not in blind
    assert "stayed where the runs are" in blind.replace("\\", "")
    look(values=bucket.url)
    assert "yyyy" in said(visit("run", id="large", step="0"))


def test_values_that_are_named_by_the_address_of_the_runs_stay_with_them(
    look: Callable[..., Board], bucket: Bucket
) -> None:
    board = look(act=True, values=bucket.url)
    acting = board.actor._app
    assert acting is not None
    assert type(acting.storage) is type(bucket.app.storage)
