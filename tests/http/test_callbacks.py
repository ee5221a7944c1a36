"""Answers by link: S09 and the callback tokens."""

from __future__ import annotations

import base64
import json
import logging
import re
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential import (
    Pending,
    Registry,
    RetryPolicy,
    Sequential,
    Steps,
    ToolContext,
    flow,
    tool,
)
from sequential.errors import ConfigError, Rejected
from sequential.storage import Status
from sequential_http.callbacks import (
    Link,
    LinkRefused,
    callback_url,
    make_token,
    read_token,
)
from sequential_http.server import Options, asgi
from sequential_http.signing import Keys
from tests.fix_http import KEY, OTHER_KEY
from tests.http.local import Local

KEYS = Keys.parse(KEY)
LINK = Link("order-1", "WyJvcmRlci0xIl0", 1_700_000_000)
JSON = {"content-type": "application/json"}

registry = Registry()
handed: list[str] = []
early: list[Callable[[str], object]] = []


@tool("people", "review", registry=registry)
def review(context: ToolContext, text: str, days: float = 7.0) -> Any:
    valid = timedelta(days=days)
    handed.append(callback_url(context, valid, keys=KEYS, base="https://flows.example/"))
    return Pending(timeout=86_400)


@flow(registry=registry)
def article(text: str, days: float = 7.0) -> Steps[Any]:
    answer = yield from review(text, days)
    return {"answer": answer}


@tool("people", "rate", registry=registry)
def rate(context: ToolContext) -> Pending | int:
    handed.append(callback_url(context, keys=KEYS, base="https://flows.example/"))
    while early:
        early.pop()(urlsplit(handed[-1]).path)
    return Pending()


@flow(registry=registry)
def rated() -> Steps[object]:
    return (yield from rate())


@tool("people", "ask", registry=registry, retry=RetryPolicy(first=0.0, jitter=False))
def ask(context: ToolContext) -> Pending | str:
    handed.append(callback_url(context, keys=KEYS, base="https://flows.example/"))
    if len(handed) == 1:
        raise Rejected("nobody is in")
    return Pending()


@flow(registry=registry)
def refused_once() -> Steps[object]:
    return (yield from ask())


class Site:
    def __init__(self, app: Sequential, client: Local) -> None:
        self.app = app
        self.client = client

    def asked(self, run_id: str = "r1", days: float = 7.0) -> str:
        """Start a run that asks somebody; return the path of its link."""
        self.app.start(article, {"text": "pears", "days": days}, run_id=run_id)
        self.app.execute(run_id)
        assert self.app.get(run_id).status is Status.PAUSED
        return urlsplit(handed[-1]).path

    def result(self, run_id: str = "r1") -> Any:
        self.app.execute(run_id)
        return self.client.get(f"/runs/{run_id}").json()["result"]


@pytest.fixture
def site() -> Iterator[Site]:
    handed.clear()
    with Sequential("memory:", plugins=[], registry=registry) as app:
        options = Options(KEYS, "https://flows.example", mode="request", insecure_dev=True)
        with Local(asgi(app, options)) as client:
            yield Site(app, client)


def test_a_form_is_shown_and_nothing_is_done_by_it(site: Site) -> None:
    path = site.asked()
    before = site.app.get("r1")
    for _ in range(3):  # mail programs and scanners open links by themselves
        page = site.client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert '<form method="post">' in page.text
    assert site.app.get("r1") == before


def test_an_answer_that_comes_before_the_tool_returns_is_kept(site: Site) -> None:
    early.append(lambda path: site.client.post(path, json=5))
    site.app.start(rated, run_id="r1")
    site.app.execute("r1")
    assert site.result("r1") == 5


def test_an_early_answer_that_does_not_fit_does_not_use_the_link_up(site: Site) -> None:
    early.append(lambda path: site.client.post(path, json="not a number"))
    site.app.start(rated, run_id="r1")
    for _ in range(2):
        site.app.execute("r1")
    assert site.app.get("r1").inbox == ()
    path = urlsplit(handed[-1]).path
    assert site.client.post(path, json=5).status_code == 200
    assert site.client.post(path, json=6).status_code == 409
    assert site.result("r1") == 5


def test_the_form_answers_the_tool_call(site: Site) -> None:
    path = site.asked()
    answer = site.client.post(path, data={"answer": "fine by me"})
    assert answer.status_code == 200
    assert site.result() == {"answer": {"answer": "fine by me"}}


@pytest.mark.parametrize("value", [{"ok": True}, None, [1, "2"], "text", {"$": "path", "v": "/x"}])
def test_a_program_answers_with_json(site: Site, value: Any) -> None:
    path, body = site.asked(), json.dumps(value)
    assert site.client.post(path, content=body, headers=JSON).status_code == 200
    assert site.result() == {"answer": value}


def test_the_first_answer_counts(site: Site) -> None:
    path = site.asked()
    answers = [site.client.post(path, json=number) for number in range(20)]
    assert [answer.status_code for answer in answers] == [200] + [409] * 19
    assert site.result() == {"answer": 0}
    assert site.client.post(path, json="late").status_code == 409


def test_an_answer_of_another_type_is_refused_and_can_be_given_again(site: Site) -> None:
    site.app.start(rated, run_id="r1")
    site.app.execute("r1")
    path = urlsplit(handed[-1]).path
    assert site.client.post(path, data={"answer": "five"}).status_code == 400
    assert site.app.get("r1").inbox == ()
    assert site.client.post(path, json=5).status_code == 200
    assert site.result() == 5


def test_two_links_of_one_call_are_one_question(site: Site) -> None:
    first = site.asked()
    # The process was lost after it sent the mail, and the tool was run again.
    link = read_token(KEYS, first.rpartition("/")[2], 0.0)
    second = f"/callback/{make_token(KEYS, link._replace(expires=link.expires + 1))}"
    assert site.client.post(first, json="yes").status_code == 200
    assert site.client.post(second, json="no").status_code == 409
    assert site.result() == {"answer": "yes"}


def test_an_answer_by_link_and_one_by_token_are_one_answer(site: Site) -> None:
    path = site.asked()
    link = read_token(KEYS, path.rpartition("/")[2], 0.0)
    assert site.app.answer(link.answer_token, "yes")
    assert site.client.post(path, json="no").status_code == 409
    assert site.result() == {"answer": "yes"}


def test_a_link_of_an_attempt_that_was_rejected_is_void(site: Site) -> None:
    site.app.start(refused_once, run_id="r1")
    site.app.execute("r1")
    first, second = (urlsplit(url).path for url in handed)
    assert site.client.post(first, json="early").status_code == 409
    assert site.client.post(second, json="yes").status_code == 200
    assert site.result() == "yes"


def test_a_link_of_another_storage_is_void(site: Site) -> None:
    path = site.asked()
    with Sequential("memory:", plugins=[], registry=registry) as other:
        options = Options(KEYS, "https://flows.example", mode="request", insecure_dev=True)
        with Local(asgi(other, options)) as client:
            assert client.post(path, json="yes").status_code == 409
    assert site.client.post(path, json="yes").status_code == 200


def test_a_link_is_over_after_its_time(site: Site) -> None:
    path = site.asked(days=-1.0)
    assert site.client.get(path).status_code == 404
    assert site.client.post(path, json="yes").status_code == 404


def test_a_retry_makes_older_links_void(site: Site) -> None:
    path = site.asked()
    site.app.terminate("r1")
    assert site.client.post(path, json="yes").status_code == 409
    site.app.retry("r1")
    assert site.client.post(path, json="yes").status_code == 409


def test_a_link_of_a_run_that_is_gone_is_void(site: Site) -> None:
    path = site.asked()
    site.app.terminate("r1")
    site.app.purge("r1")
    assert site.client.post(path, json="yes").status_code == 409
    site.app.purge("r1")
    assert site.client.post(path, json="yes").status_code == 409


def test_a_link_answers_its_own_run_only(site: Site) -> None:
    first, _ = site.asked("r1"), site.asked("r2")
    assert site.client.post(first, json="yes").status_code == 200
    assert site.result("r1") == {"answer": "yes"}
    assert site.app.get("r2").inbox == ()


BODIES = {
    "nothing": (b"", "application/json", 400),
    "no JSON": (b"{", "application/json", 400),
    "deep": (b"[" * 5000, "application/json", 400),
    "text": (b"yes", "text/plain", 415),
    "no type": (b"yes", "", 415),
    "an empty form": (b"", "application/x-www-form-urlencoded", 400),
    "a field twice": (b"a=1&a=2", "application/x-www-form-urlencoded", 400),
    "a form that is no text": (b"\xff=1", "application/x-www-form-urlencoded", 400),
    "half characters": (b"a=%ff%fe", "application/x-www-form-urlencoded", 400),
    "many fields": (b"&".join(b"f%d=1" % n for n in range(200)),
                    "application/x-www-form-urlencoded", 400),
    "too much": (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_an_answer_that_cannot_be_read_is_refused_and_can_be_given_again(
    site: Site, case: str
) -> None:
    path = site.asked()
    body, kind, status = BODIES[case]
    answer = site.client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert site.client.post(path, json="yes").status_code == 200


def test_pages_do_nothing_but_send_their_form(site: Site) -> None:
    path = site.asked()
    for answer in (site.client.get(path), site.client.get("/callback/x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "<script" not in answer.text
        assert path not in answer.text


def test_no_log_repeats_a_token(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sequential")
    path = site.asked()
    token = path.rpartition("/")[2]
    site.client.get(path)
    site.client.post(path, json="yes")
    site.client.post(path, json="again")
    site.client.get(path[:-1] + "A")
    assert token not in caplog.text
    assert token[:40] not in caplog.text
    assert re.search(r"link [0-9a-f]{16} of run r1: answer taken", caplog.text)


def test_without_keys_no_link_is_valid() -> None:
    with Sequential("memory:", plugins=[], registry=Registry()) as app:
        options = Options(None, "https://flows.example", mode="request", insecure_dev=True)
        with Local(asgi(app, options)) as client:
            assert client.get(f"/callback/{make_token(KEYS, LINK)}").status_code == 404


# -- tokens

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(run_id=TEXT, answer_token=TEXT)
def test_a_token_says_what_it_was_made_of(run_id: str, answer_token: str) -> None:
    link = Link(run_id, answer_token, 10**9)
    assert read_token(KEYS, make_token(KEYS, link), 10**9) == link


@given(st.text(max_size=400))
def test_whatever_stands_there_is_refused_and_breaks_nothing(token: str) -> None:
    with pytest.raises(LinkRefused):
        read_token(KEYS, token, 0)


@given(at=st.integers(0, 10_000), character=st.sampled_from("AZaz09_-.~="))
def test_one_character_is_enough(at: int, character: str) -> None:
    token = make_token(KEYS, LINK)
    place = at % len(token)
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        with pytest.raises(LinkRefused):
            read_token(KEYS, changed, 0)


def test_a_token_has_one_spelling() -> None:
    # The last character has two bits that say nothing.
    token = make_token(KEYS, LINK)
    read = []
    for character in string.ascii_letters + string.digits + "-_":
        with suppress(LinkRefused):
            read_token(KEYS, token[:-1] + character, 0)
            read.append(character)
    assert read == [token[-1]]


def test_what_was_signed_for_another_purpose_is_no_token() -> None:
    body = make_token(KEYS, LINK).partition(".")[0]
    mac = base64.urlsafe_b64encode(KEYS.mac(body.encode())).decode().rstrip("=")
    with pytest.raises(LinkRefused):
        read_token(KEYS, f"{body}.{mac}", 0)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(LinkRefused):
        read_token(KEYS, make_token(Keys.parse(OTHER_KEY), LINK), 0)
    rotated = Keys.parse(f"{OTHER_KEY},{KEY}")
    assert read_token(rotated, make_token(KEYS, LINK), 0) == LINK


def test_a_token_is_over_after_its_time() -> None:
    token = make_token(KEYS, LINK)
    assert read_token(KEYS, token, LINK.expires) == LINK
    with pytest.raises(LinkRefused, match="time"):
        read_token(KEYS, token, LINK.expires + 1)


# -- where keys and address come from


class Context:
    run_id, answer_token = "r1", "WyJyMSJd"


def test_a_url_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = Context()
    monkeypatch.delenv("SEQUENTIAL_HTTP_KEYS", raising=False)
    monkeypatch.delenv("SEQUENTIAL_HTTP_URL", raising=False)
    with pytest.raises(ConfigError, match="SEQUENTIAL_HTTP_KEYS"):
        callback_url(context)
    monkeypatch.setenv("SEQUENTIAL_HTTP_KEYS", KEY)
    with pytest.raises(ConfigError, match="SEQUENTIAL_HTTP_URL"):
        callback_url(context)
    monkeypatch.setenv("SEQUENTIAL_HTTP_URL", "https://flows.example/base/")
    url = callback_url(context)
    head, _, token = url.rpartition("/")
    assert head == "https://flows.example/base/callback"
    assert read_token(KEYS, token, 0).run_id == "r1"
