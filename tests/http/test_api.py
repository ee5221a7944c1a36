"""The API for clients: what each operation answers, and to whom."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from sequential import (
    Registry,
    Sequential,
    Steps,
    flow,
    tool,
    tool_call,
    wait_for_signal,
)
from sequential.errors import (
    ConfigError,
    RecordCorrupt,
    RunMissing,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.outcomes import Cancelled
from sequential.testing import FakeClock
from sequential_http.access import Access, Authorise, Tokens
from sequential_http.openapi import document
from sequential_http.routes import OPERATIONS
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys
from tests.fix_http import KEY, TOKEN
from tests.http.local import Local

OTHER_TOKEN = "another-token-of-the-tests"
AUTH = {"authorization": f"Bearer {TOKEN}"}

registry = Registry()


@tool("shop", "price", registry=registry)
def price(item: str) -> Decimal:
    return Decimal(len(item)) / 4


@tool("shop", "large", registry=registry)
def large() -> str:
    return "x" * 100_000


@flow(registry=registry)
def order(item: str, note: Any = None) -> Steps[Any]:
    cost = yield from price(item)
    return {"item": item, "cost": cost, "note": note}


@flow(registry=registry)
def asked() -> Steps[object]:
    return (yield wait_for_signal("answer"))


@flow(registry=registry)
def counted() -> Steps[int]:
    return (yield from wait_for_signal("n", int))


@flow(registry=registry)
def broken() -> Steps[None]:
    yield from price("pear")
    raise LookupError("sold out")


@flow(registry=registry)
def sized() -> Steps[int]:
    return len((yield from large()))


@flow(registry=registry)
def lost() -> Steps[None]:
    yield tool_call("nobody", "answers")


@flow(registry=registry)
def hidden() -> Steps[None]:
    yield wait_for_signal("never")


@flow(registry=registry)
async def typed() -> Any:
    return {
        "took": timedelta(seconds=90.5), "parts": (1, 2), "raw": b"x", "$": "dict",
        "at": date(2026, 1, 31),
    }  # fmt: skip


FLOWS = ("typed", "order", "asked", "broken", "sized", "lost")


class Site:
    """A server in this process, and a client with a token."""

    def __init__(self, app: Sequential, client: Local) -> None:
        self.app = app
        self.client = client

    def get(self, path: str, headers: dict[str, str] = AUTH, **given: Any) -> httpx.Response:
        return self.client.get(path, headers=headers, **given)

    def post(
        self, path: str, body: object = None, headers: dict[str, str] = AUTH, **given: Any
    ) -> httpx.Response:
        if body is not None:
            given["json"] = body
        return self.client.post(path, headers=headers, **given)

    def started(self, flow: str = "asked", run_id: str = "r1", **more: Any) -> str:
        answer = self.post("/runs", {"flow": flow, "run_id": run_id, **more})
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["run_id"]
        return found


Open = Callable[..., Site]


@pytest.fixture
def open_site() -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(authorise: Authorise | None = None, **options: Any) -> Site:
            app = Sequential("memory:", plugins=[], registry=registry, clock=FakeClock())
            stack.enter_context(app)
            given = {"mode": "request", "flows": FLOWS, **options}
            served = asgi(app, Options(Keys.parse(KEY), authorise=authorise, **given))
            return Site(app, stack.enter_context(Local(served)))

        yield opened


@pytest.fixture
def site(open_site: Open) -> Site:
    return open_site(Tokens(TOKEN, OTHER_TOKEN))


# -- start


def test_a_run_is_started_once_per_id(site: Site) -> None:
    body = {"flow": "order", "input": {"item": "pear"}, "run_id": "r1", "tags": {"team": "shop"}}
    for _ in range(3):
        answer = site.post("/runs", body)
        assert (answer.status_code, answer.json()) == (201, {"run_id": "r1"})
    other = site.post("/runs", body | {"input": {"item": "plum"}})
    assert (other.status_code, other.json()["error"]) == (409, "taken")
    assert other.json()["message"].endswith("send the same flow and input as it, or another run_id")
    assert len(site.get("/runs").json()["runs"]) == 1


@pytest.mark.parametrize(
    ("deadline", "left"),
    [(90, 90), (0.5, 0.5), ("2100-01-01T00:00:00Z", None), ("2100-01-01T02:00:00+02:00", None)],
)
def test_a_run_is_started_with_a_deadline(
    site: Site, deadline: float | str, left: float | None
) -> None:
    body = {"flow": "asked", "run_id": "r1", "deadline": deadline}
    assert site.post("/runs", body).status_code == 201
    run = site.app.get("r1")
    assert run.deadline is not None
    if left is None:
        assert run.deadline == datetime(2100, 1, 1, tzinfo=UTC).timestamp()
    else:
        assert abs(run.deadline - run.created - left) < 5


@pytest.mark.parametrize("deadline", [0, -1, True, [], "soon", "2100-01-01T00:00:00", 1e300, 4e9])
def test_a_deadline_that_is_no_time_to_come_is_refused(site: Site, deadline: object) -> None:
    answer = site.post("/runs", {"flow": "asked", "deadline": deadline})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("deadline must be seconds from now, or a time")
    assert site.get("/runs").json()["runs"] == []


def test_a_deadline_that_is_over_is_one(site: Site) -> None:
    body = {"flow": "asked", "run_id": "r1", "deadline": "0134-05-01T04:12:32Z"}
    assert site.post("/runs", body).status_code == 201
    assert isinstance(site.app.execute("r1"), Cancelled)


def test_a_run_without_an_id_gets_one(site: Site) -> None:
    ids = {site.post("/runs", {"flow": "asked"}).json()["run_id"] for _ in range(5)}
    assert len(ids) == 5


def test_what_a_client_sends_is_plain_json(site: Site) -> None:
    note = {"$": "path", "v": "/etc/passwd", "py/object": "os.system"}
    site.started("order", input={"item": "pear", "note": note})
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["result"] == {"item": "pear", "cost": "1", "note": note}


@pytest.mark.parametrize("flow", ["hidden", "os:system", "x.py:order", "", "ORDER", "order "])
def test_a_flow_that_is_not_listed_is_not_found(site: Site, flow: str) -> None:
    answer = site.post("/runs", {"flow": flow, "input": {"item": "x"}})
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})


BAD_STARTS: dict[str, Any] = {
    "a list": [],
    "text": "order",
    "nothing": {},
    "a field too many": {"flow": "order", "code": "print(1)"},
    "a flow that is a number": {"flow": 1},
    "a flow that is a list": {"flow": ["order"]},
    "an id with a slash": {"flow": "asked", "run_id": "../x"},
    "an id that is a number": {"flow": "asked", "run_id": 1},
    "an empty id": {"flow": "asked", "run_id": ""},
    "a long id": {"flow": "asked", "run_id": "r" * 129},
    "tags that are a list": {"flow": "asked", "tags": ["a"]},
    "a tag that is a number": {"flow": "asked", "tags": {"a": 1}},
    "a long tag": {"flow": "asked", "tags": {"a": "x" * 257}},
    "many tags": {"flow": "asked", "tags": {f"t{number}": "x" for number in range(33)}},
    "an input that does not fit": {"flow": "order", "input": {"item": 1}},
    "an input too little": {"flow": "order", "input": {}},
    "an input too much": {"flow": "order", "input": {"item": "x", "more": 1}},
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_start_that_cannot_be_read_starts_nothing(site: Site, case: str) -> None:
    answer = site.post("/runs", BAD_STARTS[case])
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error", "message"}
    assert answer.json()["error"] == "bad_request"
    assert site.get("/runs").json() == {"runs": [], "next": None}


BAD_BODIES = [
    b"{", b"\xff", b"null", b"[" * 60_000, b'{"flow":"asked","flow":"asked"}', b"1" * 5000,
    b'{"flow":"asked","input":NaN}', b'{"flow":"asked","input":1e999}',
    b'{"flow":"asked","input":"\\ud800"}', '{"flow":"asked"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"flow":"asked"}', b'{"flow":"asked","input":' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_body_that_is_no_json_is_refused(site: Site, body: bytes) -> None:
    headers = {**AUTH, "content-type": "application/json"}
    answer = site.client.post("/runs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(site: Site) -> None:
    body = json.dumps({"flow": "order", "input": {"item": "x"}}).encode()
    headers = {**AUTH, "content-type": "application/json"}
    full = body.ljust(64 * 1024)
    assert site.client.post("/runs", content=full, headers=headers).status_code == 201
    answer = site.client.post("/runs", content=full + b" ", headers=headers)
    assert (answer.status_code, answer.json()) == (413, {"error": "too_large"})
    # Also for strangers, who would else choose how much is read.
    assert site.client.post("/runs", content=full + b" ").status_code == 413


def test_only_json_is_read(site: Site) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        headers = {**AUTH, "content-type": kind}
        answer = site.client.post("/runs", content=b'{"flow":"asked"}', headers=headers)
        assert (answer.status_code, answer.json()) == (415, {"error": "unsupported_media_type"})


# -- look


def test_a_run_is_read_with_its_result(site: Site) -> None:
    site.started("order", input={"item": "plum"}, tags={"team": "shop"})
    before = site.get("/runs/r1").json()
    assert (before["status"], before["result"], before["tags"]) == (
        "paused",
        None,
        {"team": "shop"},
    )
    site.app.execute("r1")
    after = site.get("/runs/r1").json()
    assert (after["status"], after["steps"], after["error"]) == ("completed", 1, None)
    assert after["result"] == {"item": "plum", "cost": "1", "note": None}
    assert after["wake"] is None


def test_a_failed_run_shows_its_error(site: Site) -> None:
    site.started("broken")
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["error"] == {"type": "LookupError", "message": "sold out"}


def test_a_blocked_run_shows_why(site: Site) -> None:
    site.started("lost")
    site.app.execute("r1")
    found = site.get("/runs/r1").json()
    assert found["blocked"]["reason"] == "tool-not-found"
    # It cannot end by itself, so that nobody waits for it.
    assert site.get("/runs/r1/wait?timeout=30").status_code == 200


@pytest.mark.parametrize(
    "error", [ValueCorrupt("r1", "d", "canary"), RecordCorrupt("r1", "canary")]
)
def test_a_result_that_cannot_be_read_is_said_to_be_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    site.started("order", input={"item": "pear"})
    site.app.execute("r1")

    def unreadable(*_: object) -> None:
        raise error

    monkeypatch.setattr(site.app, "outcome", unreadable)
    monkeypatch.setattr(site.app, "value", unreadable)
    found = site.get("/runs/r1")
    assert (found.status_code, found.json()["error"]["type"]) == (200, "Unreadable")
    [step] = site.get("/runs/r1/steps").json()["steps"]
    assert (step["omitted"], step["value"]) == (True, None)
    assert "canary" not in found.text


def test_a_storage_that_is_down_while_a_result_is_read_is_503(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.started("order", input={"item": "pear"})
    site.app.execute("r1")

    def down(*_: object) -> None:
        raise StorageUnavailable("s3", "gone")

    monkeypatch.setattr(site.app, "outcome", down)
    assert site.get("/runs/r1").status_code == 503


def test_values_of_every_kind_are_plain_json(site: Site) -> None:
    site.started("typed")
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["result"] == {
        "took": 90.5, "parts": [1, 2], "raw": "eA==", "$": "dict", "at": "2026-01-31",
    }  # fmt: skip


def test_steps_are_read_page_by_page_without_large_values(site: Site) -> None:
    site.started("order", input={"item": "pear"})
    site.app.execute("r1")
    [step] = site.get("/runs/r1/steps").json()["steps"]
    assert (step["what"], step["outcome"], step["value"]) == ("shop.price", "value", "1")
    site.started("sized", "r2")
    site.app.execute("r2")
    [step] = site.get("/runs/r2/steps").json()["steps"]
    assert (step["omitted"], step["value"]) == (True, None)
    assert step["size"] > 100_000
    assert site.get("/runs/r1/steps?after=1").json() == {"steps": [], "next": None}


def test_steps_name_the_next_page(site: Site) -> None:
    own = Registry()

    @flow(name="asked", registry=own)
    def long() -> Steps[None]:
        for _ in range(5):
            yield tool_call("shop", "price", {"item": "pear"})

    own.add_tool(price)
    site.started("asked")
    clock = site.app.clock
    with Sequential(site.app.storage, plugins=[], registry=own, clock=clock) as worker:
        worker.execute("r1")
        first = site.get("/runs/r1/steps?limit=3").json()
        assert [step["number"] for step in first["steps"]] == [0, 1, 2]
        rest = site.get(f"/runs/r1/steps?after={first['next']}").json()
        assert [step["number"] for step in rest["steps"]] == [3, 4]
        assert rest["next"] is None


def test_runs_are_found_by_flow_status_tag_and_time(site: Site) -> None:
    site.started("asked", "a1", tags={"team": "shop"})
    site.started("order", "o1", input={"item": "x"}, tags={"team": "shop", "kind": "a=b"})
    site.app.execute("o1")

    def ids(query: str) -> list[str]:
        answer = site.get(f"/runs?{query}")
        assert answer.status_code == 200, answer.text
        return sorted(run["run_id"] for run in answer.json()["runs"])

    assert ids("") == ["a1", "o1"]
    assert ids("flow=asked") == ["a1"]
    assert ids("status=completed") == ["o1"]
    assert ids("status=completed&status=paused") == ["a1", "o1"]
    assert ids("tag=team=shop&tag=kind=a%3Db") == ["o1"]
    assert ids("since=2999-01-01T00:00:00Z") == []
    assert ids("since=1970-01-02") == ["a1", "o1"]


def test_pages_follow_each_other(site: Site) -> None:
    for number in range(5):
        site.started("asked", f"r{number}")
    pages = [site.get("/runs?limit=2").json()]
    while (after := pages[-1]["next"]) is not None:
        pages.append(site.get(f"/runs?limit=2&after={after}").json())
    assert [len(page["runs"]) for page in pages] == [2, 2, 1]
    seen = [run["run_id"] for page in pages for run in page["runs"]]
    assert sorted(seen) == [f"r{number}" for number in range(5)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=101", "limit=-1", "limit=x", "limit=1&limit=2", "status=waiting",
        "status=", "after=forged", "after=%00", "tag=a", "tag==b", "tag=a=" + "x" * 257,
        "since=yesterday",
        "since=9999999-01-01", "limit=" + "1" * 400, "limit=%D9%A1", "flow=a&flow=b",
        "after=MSAx&after=MSAx",
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_read_is_refused(site: Site, query: str) -> None:
    answer = site.get(f"/runs?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request"), answer.text


@pytest.mark.parametrize(
    "value",
    ["name') OR 1=1--", "'; DROP TABLE runs;--", "$.a[0]", '"', "%", "_", "\\", "x" * 300],
)
def test_a_hostile_filter_finds_nothing(site: Site, value: str) -> None:
    site.started()
    answer = site.get("/runs", params={"flow": value})
    assert (answer.status_code, answer.json()) == (200, {"runs": [], "next": None})
    answer = site.get("/runs", params={"tag": f"a={value[:256]}"})
    assert (answer.status_code, answer.json()) == (200, {"runs": [], "next": None})


# -- wait


def test_who_waits_hears_of_the_end(site: Site) -> None:
    import threading

    site.started("order", input={"item": "pear"})
    threading.Timer(0.3, site.app.execute, ("r1",)).start()
    answer = site.get("/runs/r1/wait?timeout=20")
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


def test_who_waits_in_vain_is_told_how_it_stands(site: Site) -> None:
    site.started()
    answer = site.get("/runs/r1/wait?timeout=0")
    assert (answer.status_code, answer.json()["status"]) == (202, "paused")


@pytest.mark.parametrize("timeout", ["-1", "61", "nan", "inf", "x", "", "1e400"])
def test_nobody_waits_for_longer_than_a_minute(site: Site, timeout: str) -> None:
    site.started()
    assert site.get(f"/runs/r1/wait?timeout={timeout}").status_code == 400


# -- tell


def test_a_signal_is_accepted_once_per_id(site: Site) -> None:
    site.started()
    told = [
        site.post("/runs/r1/signals/answer", {"value": {"yes": True}, "signal_id": "s1"})
        for _ in range(1000)
    ]
    assert {answer.status_code for answer in told} == {202}
    assert [answer.json()["accepted"] for answer in told].count(True) == 1
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["result"] == {"yes": True}
    late = site.post("/runs/r1/signals/answer", {"value": 1})
    assert (late.status_code, late.json()["error"]) == (409, "wrong_status")


def test_a_signal_may_be_empty(site: Site) -> None:
    site.started()
    assert site.post("/runs/r1/signals/answer").status_code == 202
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["status"] == "completed"


def test_a_signal_of_another_type_is_refused_and_named(site: Site) -> None:
    site.app.start(counted, run_id="r1")
    site.app.execute("r1")
    refused = site.post("/runs/r1/signals/n", {"value": "one"})
    assert refused.status_code == 400
    assert "Expected `int`, got `str`" in refused.json()["message"]
    assert site.app.get("r1").inbox == ()
    assert site.post("/runs/r1/signals/n", {"value": 1}).status_code == 202


@pytest.mark.parametrize("name", ["$cancel", "%24cancel", "x" * 257])
def test_a_signal_of_the_engine_cannot_be_sent(site: Site, name: str) -> None:
    site.started()
    assert site.post(f"/runs/r1/signals/{name}", {}).status_code == 400


def test_a_run_is_cancelled_and_carried_on(site: Site) -> None:
    site.started()
    first, second = (
        site.post("/runs/r1/cancel", {"reason": "changed"}),
        site.post("/runs/r1/cancel"),
    )
    assert [first.json()["accepted"], second.json()["accepted"]] == [True, False]
    site.app.execute("r1")
    assert site.get("/runs/r1").json()["status"] == "cancelled"
    again = site.post("/runs/r1/retry")
    assert (again.status_code, again.json()["generation"]) == (202, 1)
    assert site.post("/runs/r1/retry").status_code == 409


# -- S07: who may


FOREIGN = [
    ("GET", "/runs/{}"), ("GET", "/runs/{}/steps"), ("GET", "/runs/{}/wait?timeout=0"),
    ("POST", "/runs/{}/signals/answer"), ("POST", "/runs/{}/cancel"), ("POST", "/runs/{}/retry"),
]  # fmt: skip


def of_tenant(access: Access) -> bool:
    """Allow each tenant its own runs; the tenant is who holds the token."""
    tenants = {f"Bearer {TOKEN}": "ann", f"Bearer {OTHER_TOKEN}": "bob"}
    tenant = tenants.get(access.call.header("authorization"), "")
    if access.is_first:
        return bool(tenant)
    return access.action == "list" or access.tags.get("tenant") == tenant


@pytest.mark.parametrize(("method", "path"), FOREIGN)
def test_a_run_of_another_is_as_a_run_that_is_not_there(
    open_site: Open, method: str, path: str
) -> None:
    site = open_site(of_tenant)
    site.started(run_id="r1", tags={"tenant": "ann"})
    bob = {"authorization": f"Bearer {OTHER_TOKEN}"}
    foreign, missing = (
        site.client.request(method, path.format(run_id), headers=bob) for run_id in ("r1", "nobody")
    )
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    assert foreign.headers == missing.headers
    own = site.client.request(method, path.format("r1"), headers=AUTH)
    assert own.status_code != 404


def test_starting_the_run_of_another_says_that_its_id_is_taken_and_no_more(
    open_site: Open,
) -> None:
    site = open_site(of_tenant)
    site.started("order", input={"item": "secret"}, tags={"tenant": "ann"})
    bob, heard = {"authorization": f"Bearer {OTHER_TOKEN}"}, []
    for item in ("secret", "guess"):  # whether the input was guessed is not to be heard
        body = {
            "flow": "order", "run_id": "r1", "input": {"item": item}, "tags": {"tenant": "bob"},
        }  # fmt: skip
        heard.append(site.post("/runs", body, headers=bob))
    assert heard[0].status_code == 409
    assert heard[0].json() == heard[1].json()
    assert "secret" not in heard[0].text


def test_a_list_shows_everybody_their_own(open_site: Open) -> None:
    site = open_site(of_tenant)
    site.started(run_id="r1", tags={"tenant": "ann"})
    bob = {"authorization": f"Bearer {OTHER_TOKEN}"}
    assert site.get("/runs", headers=bob).json() == {"runs": [], "next": None}
    assert len(site.get("/runs").json()["runs"]) == 1
    body = {"flow": "asked", "run_id": "r2", "tags": {"tenant": "ann"}}
    assert site.post("/runs", body, headers=bob).status_code == 404


def test_where_a_page_ended_names_no_run_of_another(open_site: Open) -> None:
    site = open_site(of_tenant)
    bob = {"authorization": f"Bearer {OTHER_TOKEN}"}
    clock = site.app.clock
    assert isinstance(clock, FakeClock)
    for number in range(30):
        tenant = "bob" if number % 7 == 3 else "ann"
        headers = bob if tenant == "bob" else AUTH
        body = {"flow": "asked", "run_id": f"{tenant}-{number}", "tags": {"tenant": tenant}}
        assert site.post("/runs", body, headers=headers).status_code == 201
        clock.advance(1)
    seen, query = [], "limit=3"
    while True:
        page = site.get(f"/runs?{query}", headers=bob).json()
        seen += [run["run_id"] for run in page["runs"]]
        if page["next"] is None:
            break
        assert b"ann" not in base64.urlsafe_b64decode(page["next"])
        query = f"limit=3&after={page['next']}"
    assert seen == ["bob-24", "bob-17", "bob-10", "bob-3"]


def test_who_would_look_through_the_runs_of_all_others_is_told_to_look_for_less(
    open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequential_http.api._MOST_PAGES", 3)
    site = open_site(of_tenant)
    for number in range(5):
        site.started(run_id=f"r{number}", tags={"tenant": "ann"})
    bob = {"authorization": f"Bearer {OTHER_TOKEN}"}
    assert site.get("/runs?limit=1", headers=bob).status_code == 400
    answer = site.get("/runs?limit=1&tag=tenant=bob", headers=bob)
    assert answer.json() == {"runs": [], "next": None}


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}", "Bearer é", "Bearer " + "x" * 10_000,
        f"Bearer {TOKEN},{TOKEN}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.action], ids=lambda each: each.name
)
def test_without_a_token_nothing_is_told(site: Site, operation: Any, header: str | None) -> None:
    path = operation.path.format(run_id="r1", name="answer")
    headers = {} if header is None else {"authorization": header.encode()}
    answer = site.client.request(operation.method, path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorised"})
    assert answer.headers["www-authenticate"] == "Bearer"


def test_two_authorization_headers_are_none(site: Site) -> None:
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")]
    assert site.client.get("/runs", headers=twice).status_code == 401


def test_who_may_not_list_is_answered_as_if_there_was_no_list(open_site: Open) -> None:
    site = open_site(lambda access: access.is_first or access.action != "list")
    assert site.get("/runs").status_code == 404


def test_an_authoriser_sees_what_is_asked_for(open_site: Open) -> None:
    asked: list[Access] = []

    def authorise(access: Access) -> bool:
        asked.append(access)
        return True

    site = open_site(authorise)
    site.started("asked", tags={"team": "shop"})
    site.get("/runs/r1")
    seen = [(each.action, each.is_first, each.flow, each.run_id, each.tags) for each in asked]
    assert seen == [
        ("start", True, None, "", {}), ("start", False, "asked", "r1", {"team": "shop"}),
        ("start", False, "asked", "r1", {"team": "shop"}),  # the run that is there now
        ("read", True, None, "", {}), ("read", False, "asked", "r1", {"team": "shop"}),
    ]  # fmt: skip


def test_more_cannot_wait_than_there_is_room_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.started()
    monkeypatch.setattr("sequential_http.server._MOST_WAITERS", 0)
    assert site.get("/runs/r1/wait?timeout=0").status_code == 503


@pytest.mark.parametrize(
    "options",
    [{"mode": "later"}, {"concurrency": 0}, {"budget": 0}, {"sweep_every": -1.0}],
)
def test_an_option_that_cannot_be_used_is_refused(open_site: Open, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        open_site(**options)


def test_a_run_that_goes_while_it_is_told_is_not_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.started()

    def gone(*_: object, **__: object) -> None:
        raise RunMissing("r1")

    monkeypatch.setattr(site.app, "signal", gone)
    assert site.post("/runs/r1/signals/answer").status_code == 404


def test_any_of_several_tokens_will_do(site: Site) -> None:
    assert site.get("/runs", headers={"authorization": f"bearer {OTHER_TOKEN}"}).status_code == 200


def test_without_an_authoriser_the_api_is_closed(open_site: Open) -> None:
    assert open_site(None).get("/runs").status_code == 401


@pytest.mark.parametrize("tokens", [(), ("short",), ("with a space in it",), ("é" * 20,)])
def test_what_is_no_token_is_refused_and_not_repeated(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="at least 16") as raised:
        Tokens(*tokens)
    assert not any(token in str(raised.value) for token in tokens)
    assert TOKEN not in repr(Tokens(TOKEN))


# -- S10: what refusals say


def test_a_storage_that_is_down_is_503_everywhere(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("postgresql://secret-host", "canary")

    for name in ("load", "find", "create", "commit"):
        monkeypatch.setattr(site.app.storage, name, fail)
    for operation in OPERATIONS:
        if operation.action or operation.name == "health":
            path = operation.path.format(run_id="r1", name="answer")
            body = {"flow": "asked"} if operation.name == "start" else None
            given = {} if operation.method == "GET" else {"json": body or {}}
            answer = site.client.request(operation.method, path, headers=AUTH, **given)
            assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"}), path
            assert "retry-after" in answer.headers


def test_answers_are_not_kept_or_guessed_at(site: Site) -> None:
    for path in ("/runs", "/runs/nobody", "/health", "/nowhere"):
        headers = site.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


# -- the document


def test_the_document_describes_what_is_routed(site: Site) -> None:
    found = site.client.get("/openapi.json").json()
    assert found == json.loads(json.dumps(document(found["info"]["version"])))
    described = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}


def test_health_needs_no_token(site: Site) -> None:
    answer = site.client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
