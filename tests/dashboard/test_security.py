"""The threats S23 to S27: strangers, other people's data, hostile text, forged clicks, writes."""

from __future__ import annotations

import ast
import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

import sequential_dashboard
from sequential.errors import ConfigError, StorageRefused
from sequential.storage import evolve
from sequential_dashboard import gate, serving
from sequential_dashboard.access import Right, Viewer, by_claims, by_place
from sequential_dashboard.actions import ACTIONS, ActionRefused, Asked
from sequential_dashboard.serving import config_of
from sequential_dashboard.settings import Settings, checked, digest, is_loopback
from sequential_dashboard.views.parts import escaped
from tests.dashboard.pages import PAGES, errors, said, visit
from tests.fix_dashboard import NOW, Opened

TOKEN = "look-0123456789abcdef"
OPERATOR = "act-0123456789abcdef0"
SOURCES = sorted(Path(sequential_dashboard.__file__).parent.rglob("*.py"))
OPERATING = Viewer("Ada", frozenset(Right))


def everything(test: Any) -> str:
    tables = "".join(each.value.to_csv() for each in test.dataframe)
    return said(test) + tables + "".join(each.value for each in test.json)


# -- S23: who is not known sees nothing, on any page, and can do nothing


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("user", [{}, {"is_logged_in": True, "sub": "mallory"}])
def test_a_stranger_sees_the_login_and_nothing_else(
    demo: Opened, page: str, user: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.settle(oidc=True, viewers=frozenset({"ada"}))
    monkeypatch.setattr(gate, "claims", lambda: user)
    test = visit(page, id=demo.runs("completed")[0])
    assert errors(test) == []
    assert [each.value for each in test.title] == ["Sequential"]
    assert "order-" not in everything(test)
    assert not test.get("download_button")


def test_without_a_login_there_are_no_claims(demo: Opened) -> None:
    demo.settle(oidc=True, viewers=frozenset({"ada"}))
    test = visit("runs")
    assert errors(test) == []
    assert [each.label for each in test.button] == ["Log in"]


def test_who_is_on_the_list_gets_in_and_is_asked_again_on_each_rerun(
    demo: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.settle(oidc=True, viewers=frozenset({"ada"}))
    monkeypatch.setattr(gate, "claims", lambda: {"is_logged_in": True, "sub": "ada"})
    test = visit("runs")
    assert "order-" in everything(test)
    demo.settle(viewers=frozenset({"grace"}))
    test.run()
    assert "order-" not in everything(test)


@pytest.mark.parametrize("path", [each for each in SOURCES if each.parent.name == "views"])
def test_each_page_and_each_fragment_begins_at_the_gate(path: Path) -> None:
    """A fragment reruns alone: neither the script nor its page is asked before it."""
    found = ast.parse(path.read_text("utf-8"))
    functions = {each.name: each for each in found.body if isinstance(each, ast.FunctionDef)}
    calls = [each for each in ast.walk(found) if isinstance(each, ast.Call)]
    entered = {"show"} & functions.keys()
    for call in calls:
        if ast.unparse(call.func) == "st.fragment":
            entered.add(ast.unparse(call.args[0]))
        assert ast.unparse(call.func) not in {"st.dialog", "fragment"}, path
    for name in entered:
        body = functions[name].body
        first = body[1] if ast.get_docstring(functions[name]) else body[0]
        assert "enter()" in ast.unparse(first), f"{path}: {name}"


def test_a_token_opens_the_pages_and_a_wrong_one_does_not(demo: Opened) -> None:
    demo.settle(token=digest(TOKEN))
    test = visit("runs")
    for given, inside in (("wrong", False), (TOKEN, True)):
        test.text_input(key="given_token").set_value(given)
        test.button[0].click().run()
        assert ("order-" in everything(test)) == inside
    assert TOKEN not in everything(test)


def test_after_ten_wrong_tokens_none_is_looked_at_for_a_minute(demo: Opened) -> None:
    tries = demo.board.tries
    for _ in range(10):
        assert tries.allowed()
        tries.wrong()
    assert not tries.allowed()
    demo.clock.advance(61.0)
    assert tries.allowed()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": "ada"},
        {"is_logged_in": "True", "sub": "ada"},
        {"is_logged_in": True, "sub": "Ada"},
        {"is_logged_in": True, "sub": ["ada"]},
        {"is_logged_in": True, "email": "ada@a.example"},
        {"is_logged_in": True, "email": "ada@a.example", "email_verified": "true"},
        {"is_logged_in": True, "sub": "x", "email": "ada@a.example", "email_verified": False},
        {"is_logged_in": True, "name": "ada"},
    ],
)
def test_claims_that_nobody_verified_let_nobody_in(claims: dict[str, Any]) -> None:
    settings = Settings("x", oidc=True, viewers=frozenset({"ada", "ada@a.example"}))
    assert by_claims(settings, claims) is None


def test_a_verified_address_lets_in_and_only_operators_act() -> None:
    settings = Settings(
        "x", oidc=True, actions=True, payloads=True, viewers=frozenset({"ada@a.example"}),
        operators=frozenset({"grace"}),
    )  # fmt: skip
    ada = by_claims(settings, {"is_logged_in": True, "email": "ada@a.example",
                               "email_verified": True})  # fmt: skip
    grace = by_claims(settings, {"is_logged_in": True, "sub": "grace"})
    assert ada is not None
    assert grace is not None
    assert ada.rights == {Right.LOOK}
    assert grace.rights == set(Right)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.evil", ""])
def test_no_other_address_without_a_login(host: str) -> None:
    with pytest.raises(ConfigError, match="TOKEN"):
        checked(Settings("x", host=host))
    assert by_place(Settings("x", host=host)) is None
    assert checked(Settings("x", host=host, token=digest(TOKEN))).token


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_this_machine_needs_no_login(host: str) -> None:
    assert is_loopback(host)
    assert by_place(checked(Settings("x", host=host))) is not None


def test_settings_that_keep_nobody_out_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 characters"):
        digest("short")
    with pytest.raises(ConfigError, match="who may look"):
        checked(Settings("x", oidc=True))
    with pytest.raises(ConfigError, match="another token"):
        checked(Settings("x", token=digest(TOKEN), operator_token=digest(TOKEN)))


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert({run_id})", "{run_id}", "https://logs.example/", "https:///{run_id}",
        "https://x/{run_id.__class__}", "https://x/{0}", "https://x/{", "https://x/{other}",
        "https://x/{run_id:>{width}}",
    ],
)  # fmt: skip
def test_a_link_to_a_log_tool_is_an_address_and_names_what_it_looks_for(link: str) -> None:
    good = "https://logs.example/?q={run_id}"
    assert checked(Settings("x", log_link=good)).log_link == good
    with pytest.raises(ConfigError, match="http"):
        checked(Settings("x", log_link=link))


@pytest.mark.parametrize(
    ("secrets", "package", "match"),
    [
        ({"auth": {"cookie_secret": "x" * 31}}, True, "32 characters"),
        ({"auth": {}}, True, "secrets.toml"),
        ({}, True, "secrets.toml"),
        ({"auth": {"cookie_secret": "x" * 32}}, False, "pip install"),
    ],
)
def test_a_login_that_could_be_forged_does_not_start(
    secrets: dict[str, Any], package: bool, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st, "secrets", secrets)
    monkeypatch.setattr(serving, "find_spec", lambda name: object() if package else None)
    with pytest.raises(ConfigError, match=match):
        serving.check_login()
    monkeypatch.setattr(st, "secrets", {"auth": {"cookie_secret": "x" * 32}})
    monkeypatch.setattr(serving, "find_spec", lambda name: object())
    serving.check_login()


# -- S24: nothing of one viewer reaches another


def test_two_sessions_with_different_rights_each_see_their_own(demo: Opened) -> None:
    demo.settle(token=digest(TOKEN), operator_token=digest(OPERATOR))
    run_id = next(each for each in demo.runs("waiting") if each.startswith("feed"))
    seen: dict[str, Any] = {}
    for token in (OPERATOR, TOKEN, OPERATOR, TOKEN):
        test = seen.setdefault(token, visit("run", id=run_id))
        if not test.session_state["_token"] if "_token" in test.session_state else True:
            test.session_state["_token"] = hashlib.sha256(token.encode()).hexdigest()
        test.run()
        assert ("k-123456" in everything(test)) == (token == OPERATOR)
        demo.clock.advance(2.0)


def test_nothing_is_kept_where_sessions_share_it() -> None:
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert "cache_data" not in text, path
        assert "cache_resource" not in text, path


# -- S25: what comes from a run is never markup, in no page and no export

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![seen](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "<https://evil.example>",
    ":red[urgent] :material/delete: $x^2$ `code`",
    '=HYPERLINK("https://evil.example")',
)


def test_no_page_writes_html() -> None:
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert "unsafe_allow_html" not in text, path
        # Styles of our own, out of a file.
        assert "st.html(" not in text.replace('st.html(HERE / "page.css")', ""), path
        assert "components.v1" not in text, path


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_has_no_mark_that_markdown_reads(text: str) -> None:
    shown = escaped(text)
    assert shown.replace("\\", "") == text.replace("\\", "")
    marks = [at for at, each in enumerate(shown) if each in "<>[]()!:`$*_#|~=\"'&"]
    assert all(shown[at - 1] == "\\" for at in marks)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_field_is_never_drawn_as_markdown(demo: Opened, text: str) -> None:
    source = demo.app.get(next(each for each in demo.runs("failed") if "order" in each))
    assert source.error is not None
    hostile = evolve(
        source, run_id="hostile", flow=text, flow_version=text, tags={text[:64]: text},
        error=source.error._replace(type=text, message=text, position=text), cursor=0,
        created=NOW,
    )  # fmt: skip
    demo.app.storage.create(hostile)
    waiting = demo.app.get(next(each for each in demo.runs("waiting") if "approval" in each))
    opened = {key: each._replace(name=text) for key, each in waiting.open.items()}
    demo.app.storage.create(evolve(waiting, run_id="waits", flow=text, open=opened, created=NOW))
    found = [
        *(visit(page) for page in PAGES), visit("run", id="hostile"), visit("run", id="waits"),
        visit("run", id=text), visit("runs", flow=text, tag=text, search=text),
        visit("compare", a="hostile", b=text),
    ]  # fmt: skip
    for test in found:
        assert errors(test) == []
        for shown in as_markdown(test):
            assert text not in shown, shown


def as_markdown(test: Any) -> list[str]:
    """Return every text of the page that Streamlit reads as markdown."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "success", "warning",
             "error")  # fmt: skip
    texts = [str(each.value) for kind in kinds for each in getattr(test, kind)]
    labelled = ("button", "metric", "tabs", "checkbox", "text_input", "text_area", "expander",
                "number_input")  # fmt: skip
    texts += [str(each.label) for kind in labelled for each in getattr(test, kind)]
    texts += [str(each.value) for each in test.metric]
    return texts


# -- S26: a click counts only with a confirmation, a reason and a row that says so


def test_the_server_keeps_its_protections_on() -> None:
    config = config_of(Settings("x"))
    assert config["server.enableXsrfProtection"] is True
    assert config["server.enableCORS"] is True
    assert config["server.address"] == "127.0.0.1"
    assert "localhost" in config["server.allowedHosts"]
    assert config["server.enableStaticServing"] is False
    assert config["client.disableDataExport"] is True
    assert config["client.showErrorDetails"] == "none"
    assert config["browser.gatherUsageStats"] is False
    assert config_of(Settings("x", host="0.0.0.0"))["server.address"] == "0.0.0.0"


def test_nothing_is_done_without_a_confirmation_and_a_reason(demo: Opened) -> None:
    run_id = demo.runs("failed")[0]
    test = visit("run", id=run_id)
    assert test.button(key="run_do").disabled
    test.checkbox(key="run_sure").check().run()
    test.button(key="run_do").click().run()
    assert "say why" in test.error[-1].value
    assert demo.app.get(run_id).generation == 0
    assert demo.board.audit.last()[0].result == "refused"


def test_each_action_leaves_two_rows_in_the_file(demo: Opened, tmp_path: Path) -> None:
    import json

    from sequential.audit import Audit

    path = tmp_path / "audit.jsonl"
    demo.board.actor._audit = Audit(path)
    demo.board.actor.act(OPERATING, Asked("retry", demo.runs("failed")[0], "why\nnot"))
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [row["result"] for row in rows] == ["asked", "done"]
    assert {row["viewer"] for row in rows} == {"Ada"}
    assert {row["reason"] for row in rows} == {"why\nnot"}


def test_what_cannot_be_noted_is_not_done(demo: Opened, tmp_path: Path) -> None:
    from sequential.audit import Audit

    demo.board.actor._audit = Audit(tmp_path / "no" / "such" / "folder")
    run_id = demo.runs("failed")[0]
    with pytest.raises(ActionRefused, match="audit"):
        demo.board.actor.act(OPERATING, Asked("retry", run_id, "why"))
    assert demo.app.get(run_id).generation == 0


# -- S27: what looks cannot write, and who may only look cannot act


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("viewer", [None, Viewer("x", frozenset({Right.LOOK, Right.PAYLOADS}))])
def test_no_action_without_the_right(demo: Opened, action: str, viewer: Viewer | None) -> None:
    run_id = demo.runs("failed")[0]
    before = demo.app.get(run_id)
    with pytest.raises(ActionRefused, match="operator"):
        demo.board.actor.act(viewer, Asked(action, run_id, "why"))
    assert demo.app.get(run_id) == before
    assert demo.board.audit.last()[0].result == "refused"


def test_a_right_that_is_taken_away_counts_from_the_next_click(demo: Opened) -> None:
    run_id = demo.runs("failed")[0]
    test = visit("run", id=run_id)
    test.text_input(key="run_reason").set_value("why").run()
    test.checkbox(key="run_sure").check().run()
    demo.settle(actions=False)
    test.button(key="run_do").click().run()
    assert demo.app.get(run_id).generation == 0
    assert demo.board.audit.last()[0].result == "refused"


def test_a_dashboard_that_only_reads_has_no_actions(demo_file: Path, open_dashboard: Any) -> None:
    opened = open_dashboard(f"sqlite:///{demo_file}")
    assert not opened.board.actor.can_act
    with pytest.raises(ActionRefused, match="--actions"):
        opened.board.actor.act(OPERATING, Asked("retry", opened.runs("failed")[0], "why"))
    test = visit("run", id=opened.runs("failed")[0])
    assert not [each for each in test.button if each.key == "run_do"]


def test_the_application_that_pages_use_cannot_write(demo: Opened) -> None:
    looking, run_id = demo.board.reader.app, demo.runs("failed")[0]
    ended = demo.runs("completed")[0]
    for write in (
        lambda: looking.retry(run_id),
        lambda: looking.terminate(demo.runs("waiting")[0]),
        lambda: looking.signal(demo.runs("waiting")[0], "x"),
        lambda: looking.cancel(demo.runs("waiting")[0]),
        lambda: looking.fork(ended, "0"),
        lambda: looking.purge(ended),
        lambda: looking.storage.put_value(ended, b"x"),
        lambda: looking.storage.due(10, None, 30.0),
        looking.probe,
    ):
        with pytest.raises(StorageRefused, match="only reads"):
            write()


def test_looking_at_every_page_writes_nothing(demo: Opened) -> None:
    import sqlite3

    path = str(demo.app.storage._connections.path)  # type: ignore[attr-defined]
    with closing(sqlite3.connect(path)) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        for page in PAGES:
            visit(page, id=demo.runs("waiting")[0])
        assert watcher.execute("PRAGMA data_version").fetchone() == before
