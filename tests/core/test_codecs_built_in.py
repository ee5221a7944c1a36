"""The payload codecs of the core as every application has them, and diffs that show no value."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sequential import Registry, RetryPolicy, Steps, flow, save, tool
from sequential._outcomes import Blocked
from sequential._payload import Place
from sequential._seal import VARIABLE
from sequential.codecs import Seal
from sequential.errors import ConfigError
from tests.fix_stage import Stage

KEY = bytes(range(32))


def test_the_codecs_are_there_by_their_ids(
    any_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"k1:{base64.b64encode(KEY).decode()}")

    @flow(registry=any_stage.registry, name="same")
    def same(text: str) -> Steps[str]:
        yield save()
        return text

    order = ["zlib", "zstd", "seal"]
    app = any_stage.app(payload=order)
    assert app.run("same", {"text": "x"}, run_id="r") == "x"
    assert app.get("r").input.codecs == tuple(order)


def test_an_application_without_a_key_to_seal_with_does_not_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    stage.app(payload=["zlib"])
    with pytest.raises(ConfigError, match=f"{VARIABLE}.*there is no key to seal with"):
        stage.app(payload=["seal"])


def test_a_codec_given_in_code_counts_more_than_the_built_in_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    app = stage.app(plugins=[Seal({"k1": KEY})], payload=["seal"])
    assert app.engine.payloads.applied


def asking(text: str) -> Registry:
    registry = Registry()

    @tool("api", "echo", registry=registry)
    def echo(text: str) -> str:
        return text

    @flow(registry=registry, name="asks")
    def asks() -> Steps[Any]:
        yield echo(text)
        yield save()
        return text

    return registry


def test_a_diff_over_sealed_inputs_shows_neither_value_nor_ciphertext(any_stage: Stage) -> None:
    settings: dict[str, Any] = {"plugins": [Seal({"k1": KEY})], "payload": ["seal"], "warm": 0}
    before = any_stage.app(asking("CANARY-old"), **settings)
    before.start("asks", run_id="r")
    before.execute("r")
    after = any_stage.app(asking("CANARY-new"), **settings)
    checked, blocked = after.replay("r"), after.execute("r")
    assert isinstance(blocked, Blocked)
    assert blocked.reason == checked.reason == "changed"
    said = repr((checked, blocked, any_stage.storage.load("r")))
    assert "CANARY" not in said
    recorded, asked = blocked.diff.splitlines()[1:]
    assert recorded.startswith("  - recorded: tool call api.echo (input not shown, digest ")
    assert asked.startswith("  + asked:    tool call api.echo (input not shown, digest ")
    assert recorded[-11:] != asked[-11:]


def test_another_result_of_a_sealed_run_is_not_shown(stage: Stage) -> None:
    def returns(text: str) -> Registry:
        registry = Registry()

        @flow(registry=registry, name="ends")
        def ends() -> Steps[str]:
            yield save()
            return text

        return registry

    settings: dict[str, Any] = {"plugins": [Seal({"k1": KEY})], "payload": ["seal"], "warm": 0}
    stage.app(returns("CANARY-old"), **settings).run("ends", run_id="r")
    checked = stage.app(returns("CANARY-new"), **settings).replay("r")
    assert checked.reason == "result"
    assert "CANARY" not in repr(checked)


def test_a_diff_at_a_step_that_was_begun_shows_no_value(any_stage: Stage) -> None:
    def tries(text: str) -> Registry:
        registry = Registry()

        @tool("api", "send", retry=RetryPolicy(first=10_000.0, jitter=False), registry=registry)
        def send(text: str) -> str:
            raise ConnectionError("no answer")

        @flow(registry=registry, name="tries")
        def trying() -> Steps[str]:
            return (yield from send(text))

        return registry

    settings: dict[str, Any] = {"plugins": [Seal({"k1": KEY})], "payload": ["seal"], "warm": 0}
    before = any_stage.app(tries("CANARY-old"), **settings)
    before.start("tries", run_id="r")
    before.execute("r")
    any_stage.clock.advance(20_000.0)
    blocked = any_stage.app(tries("CANARY-new"), **settings).execute("r")
    assert isinstance(blocked, Blocked)
    assert "tool call api.send (input not shown, digest " in blocked.diff
    assert "CANARY" not in repr((blocked, any_stage.storage.load("r")))


def test_a_sealed_input_stays_with_its_run_when_its_step_is_edited(any_stage: Stage) -> None:
    settings: dict[str, Any] = {"plugins": [Seal({"k1": KEY})], "payload": ["seal"], "warm": 0}
    app = any_stage.app(asking("x"), **settings)
    app.run("asks", run_id="r")
    assert app.steps("r")[0].input is not None
    forked = app.fork("r", "0", edit=("y",))
    copy = app.steps(forked)[0].input
    assert copy is not None
    assert app.engine.payloads.unwrap(copy, Place(forked, 0, "0:input")) == b'{"text":"x"}'
