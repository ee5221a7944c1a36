"""What a dashboard answers programs: gauges of the storage, and whether it is well."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette

from sequential.errors import StorageUnavailable
from sequential.storage import Status, evolve
from sequential_dashboard.gauges import CACHED, COUNTED, Gauge, gauges, openmetrics
from sequential_dashboard.routes import routes
from sequential_dashboard.settings import digest
from tests.fix_dashboard import NOW, Opened

TOKEN, OPERATOR = "viewers-0123456789", "operators-0123456789"


class Answer(NamedTuple):
    status: int
    kind: str
    text: str


class Client:
    """Asks the routes as a server does, without one."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def get(self, path: str, host: str = "localhost:8501", authorization: str = "") -> Answer:
        headers = [(b"host", host.encode()), (b"authorization", authorization.encode())]
        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "scheme": "http",
            "http_version": "1.1", "headers": headers, "server": ("127.0.0.1", 8501),
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        body = b"".join(each.get("body", b"") for each in sent)
        told = dict(sent[0]["headers"])
        return Answer(sent[0]["status"], told[b"content-type"].decode(), body.decode())


@pytest.fixture
def client(demo: Opened) -> Client:
    return Client(Starlette(routes=routes(demo.board)))


def gauge(demo: Opened, name: str) -> dict[str, float]:
    return dict(next(each.readings for each in gauges(demo.board.reader) if each.name == name))


def test_gauges_say_how_runs_stand(demo: Opened) -> None:
    by_state = gauge(demo, "sequential_run_open")
    assert by_state["quarantined"] == len(demo.runs("quarantined")) > 0
    assert by_state["running"] == len([*demo.runs("running"), *demo.runs("stalled")])
    assert gauge(demo, "sequential_run_stalled") == {"": len(demo.runs("stalled"))}
    assert COUNTED > len(demo.runs("stalled")) > 0


def test_the_longest_wait_for_a_signal_is_told(demo: Opened) -> None:
    source = demo.app.get(next(each for each in demo.runs("waiting") if "approval" in each))
    opened = {key: each._replace(started=NOW - 5e6) for key, each in source.open.items()}
    old = evolve(source, run_id="old", open=opened, created=NOW - 6e6)
    demo.app.storage.create(old)
    assert gauge(demo, "sequential_signal_oldest_wait_seconds") == {"": 5e6}


def test_the_oldest_runs_are_found_among_many_with_few_questions(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = demo.app.get(demo.runs("waiting")[0])
    for number in range(300):
        at = 1000.0 + 1e6 * number**2
        demo.app.storage.create(evolve(source, run_id=f"q-{number:03}", created=at))
    asked = 0
    find = demo.app.storage.find

    def counted(query: object) -> object:
        nonlocal asked
        asked += 1
        return find(query)  # type: ignore[arg-type]

    monkeypatch.setattr(demo.app.storage, "find", counted)
    found = [run.run_id for run in demo.board.reader.oldest(Status.PAUSED, 20)]
    assert 10 <= len(found) <= 20
    assert sorted(found) == [f"q-{number:03}" for number in range(len(found))]
    assert asked < 25
    assert demo.board.reader.oldest(Status.PURGED) == ()


def test_the_text_is_what_openmetrics_asks_for(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.status == 200
    assert answer.kind.startswith("application/openmetrics-text; version=1.0.0")
    lines = answer.text.splitlines()
    assert lines[-1] == "# EOF"
    assert answer.text.endswith("\n")
    line = re.compile(r'# (TYPE|UNIT|HELP) \w+ .+|\w+(\{state="\w+"\})? [0-9.e+]+|# EOF')
    assert all(line.fullmatch(each) for each in lines)
    units = [each.split()[2:] for each in lines if each.startswith("# UNIT")]
    assert all(name.endswith(f"_{unit}") for name, unit in units)
    assert openmetrics([Gauge("a_b", "Help.", {"": 1234567})]) == (
        "# TYPE a_b gauge\n# HELP a_b Help.\na_b 1234567\n# EOF\n"
    )


def test_an_answer_is_given_again_for_a_while(demo: Opened, client: Client) -> None:
    before = client.get("/metrics").text
    demo.app.terminate(demo.runs("quarantined")[0])
    assert client.get("/metrics").text == before
    demo.clock.advance(CACHED)
    assert client.get("/metrics").text != before


def test_a_storage_that_does_not_answer_is_no_health(
    demo: Opened, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/healthz").text == "ok\n"

    def gone(_: object) -> None:
        raise StorageUnavailable("postgresql://db.internal", "no route")

    monkeypatch.setattr(demo.app.storage, "count", gone)
    demo.clock.advance(CACHED)
    for path in ("/healthz", "/metrics"):
        answer = client.get(path)
        assert answer.status == 503
        assert "db.internal" not in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_strangers_get_nothing(demo: Opened, client: Client, path: str) -> None:
    assert client.get(path, host="evil.example").status == 401
    demo.settle(token=digest(TOKEN), operator_token=digest(OPERATOR))
    for header in ("", f"Basic {TOKEN}", "Bearer", "Bearer wrong", f"Bearer {digest(TOKEN)}"):
        answer = client.get(path, authorization=header)
        assert answer.status == 401
        assert "run" not in answer.text
    for token in (TOKEN, OPERATOR):
        answer = client.get(path, authorization=f"Bearer {token}")
        assert answer.status == 200
    demo.settle(token="", operator_token="", oidc=True, viewers=frozenset({"ada"}))
    assert client.get(path).status == 401


def test_a_token_cannot_be_guessed_here_either(demo: Opened, client: Client) -> None:
    demo.settle(token=digest(TOKEN))
    for number in range(10):
        client.get("/metrics", authorization=f"Bearer guess-{number}")
    right = f"Bearer {TOKEN}"
    assert client.get("/metrics", authorization=right).status == 401
    demo.clock.advance(61.0)
    assert client.get("/metrics", authorization=right).status == 200
