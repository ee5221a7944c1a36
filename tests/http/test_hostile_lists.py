"""The lists of hostile ids, names, bodies and filters against every entrance over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from sequential import Registry, Sequential, Steps, flow, wait_for_signal
from sequential.testing import FakeClock
from sequential_http.access import Tokens
from sequential_http.messages import RUN_ID
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys
from tests.fix_http import KEY, TOKEN
from tests.hostile.lists import Entry, as_bytes, cases
from tests.http.local import Local

AUTH = {"authorization": f"Bearer {TOKEN}"}
JSON = {**AUTH, "content-type": "application/json"}

registry = Registry()


@flow(registry=registry)
def anything(input: Any) -> Steps[Any]:
    return [input, (yield wait_for_signal("go"))]


@pytest.fixture(scope="module")
def app() -> Iterator[Sequential]:
    with Sequential("memory:", plugins=[], registry=registry, clock=FakeClock()) as made:
        made.start(anything, "kept", run_id="kept")
        yield made


@pytest.fixture(scope="module")
def client(app: Sequential) -> Iterator[Local]:
    options = Options(Keys.parse(KEY), authorise=Tokens(TOKEN), flows=["anything"], mode="request")
    with Local(asgi(app, options)) as made:
        yield made


def refused(answer: httpx.Response, *statuses: int) -> None:
    """Insist on a refusal that is a constant word, and a sentence at most."""
    assert answer.status_code in statuses, answer.text[:500]
    assert {"error"} <= answer.json().keys() <= {"error", "message"}
    assert len(answer.content) < 1500
    assert "Traceback" not in answer.text


TEXTS = [case for case in cases("ids") if isinstance(case.values[0].value, str)]


@pytest.mark.parametrize("entry", TEXTS)
def test_an_id_in_a_path_is_found_or_not(client: Local, entry: Entry) -> None:
    if len(entry.value) > 10_000:
        return  # no server takes such a line; a body may hold it
    # Clients resolve dots themselves; a hostile one does not.
    place = quote(as_bytes(entry.value), safe="").replace(".", "%2E")
    for method, path in (
        ("GET", f"/runs/{place}"), ("GET", f"/runs/{place}/steps"),
        ("GET", f"/runs/{place}/wait?timeout=0"), ("POST", f"/runs/{place}/cancel"),
        ("POST", f"/runs/{place}/retry"), ("POST", f"/runs/{place}/signals/go"),
    ):  # fmt: skip
        refused(client.request(method, path, headers=AUTH), 404, 405)
    refused(client.post(f"/resume/{place}", headers=JSON), 401, 404)


@pytest.mark.parametrize("entry", cases("ids"))
def test_an_id_in_a_body_can_be_one_or_is_refused(
    client: Local, app: Sequential, entry: Entry
) -> None:
    before = len(app.find().runs)
    body = json.dumps({"flow": "anything", "run_id": entry.value, "input": 1}).encode()
    answer = client.post("/runs", content=body, headers=JSON)
    if isinstance(entry.value, str) and RUN_ID.fullmatch(entry.value):
        assert (answer.status_code, answer.json()) == (201, {"run_id": entry.value})
    elif entry.value is None:
        assert answer.status_code == 201
    else:
        refused(answer, 400, 413)
        assert len(app.find().runs) == before


@pytest.mark.parametrize("entry", cases("names"))
def test_a_name_of_a_flow_or_signal_is_known_or_refused(client: Local, entry: Entry) -> None:
    body = json.dumps({"flow": entry.value}).encode()
    refused(client.post("/runs", content=body, headers=JSON), 400, 404, 413)
    if isinstance(entry.value, str) and len(entry.value) < 10_000:
        place = quote(as_bytes(entry.value), safe="")
        answer = client.post(f"/runs/kept/signals/{place}", headers=AUTH)
        if answer.status_code != 202:
            refused(answer, 400, 404, 405)
    body = json.dumps({"signal_id": entry.value}).encode()
    answer = client.post("/runs/kept/signals/other", content=body, headers=JSON)
    if answer.status_code != 202:
        refused(answer, 400, 413)


@pytest.mark.parametrize("entry", cases("bodies"))
def test_a_body_is_data_or_refused(client: Local, app: Sequential, entry: Entry) -> None:
    body = as_bytes(entry.value)
    before = app.get("kept")
    for path in ("/runs", "/runs/kept/cancel", "/runs/kept/retry", "/runs/kept/signals/go"):
        if body.strip():
            refused(client.post(path, content=body, headers=JSON), 400, 413)
    assert app.get("kept") == before
    run_id = f"body-{abs(hash(entry.name))}"
    whole = b'{"flow":"anything","run_id":"%s","input":%s}' % (run_id.encode(), body)
    answer = client.post("/runs", content=whole, headers=JSON)
    if answer.status_code == 201:
        assert entry.more.get("json")
        app.signal(run_id, "go", None)
        app.execute(run_id)
        found = client.get(f"/runs/{run_id}", headers=AUTH).json()["result"]
        value = json.loads(body)
        assert found == [{} if value is None else value, None]
    else:
        refused(answer, 400, 413)


@pytest.mark.parametrize("entry", cases("filters"))
def test_a_filter_finds_what_has_it_or_is_refused(client: Local, entry: Entry) -> None:
    text = as_bytes(entry.value) if isinstance(entry.value, str) else str(entry.value).encode()
    if len(text) > 10_000:
        return  # no server takes such a line
    for name in ("flow", "tag", "since", "after", "status"):
        answer = client.get(f"/runs?{name}={quote(text, safe='')}", headers=AUTH)
        if answer.status_code == 200:
            runs = answer.json()["runs"]
            assert all(name != "flow" or not text or run["flow"].encode() == text for run in runs)
        else:
            refused(answer, 400)


# In a query every number is text.
NUMBERS = [case for case in cases("limits") if case.values[0].name != "text"]


@pytest.mark.parametrize("entry", NUMBERS)
def test_a_limit_is_a_number_from_one_to_a_hundred(client: Local, entry: Entry) -> None:
    answer = client.get("/runs", params={"limit": str(entry.value)}, headers=AUTH)
    refused(answer, 400)
