"""Sealed runs against who reads the storage and guesses, and who writes to it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential import (
    Rejected,
    RetryPolicy,
    Sequential,
    Steps,
    flow,
    hookimpl,
    tool,
    wait_for_signal,
)
from sequential._model import Payload, Status, evolve
from sequential._outcomes import Blocked, Completed, Failed, Paused
from sequential._payload import Payloads
from sequential._seal import VARIABLE
from sequential.codecs import PayloadCodec, Place, Seal, Zlib
from sequential.errors import ConfigError, NotDecodable, RunBlocked, RunTaken
from tests.core.test_codecs import KEY, OTHER, everything_in, listed
from tests.fix_cli import CommandLine
from tests.fix_stage import Stage

OLD, BOTH, NEW = Seal({"k1": KEY}), Seal({"k2": OTHER, "k1": KEY}), Seal({"k2": OTHER})


def app_with(stage: Stage, *plugins: object, payload: tuple[str, ...] = ("seal",)) -> Sequential:
    return stage.app(plugins=list(plugins), payload=list(payload), warm=0)


def ask_for(stage: Stage, text: str = "CANARY-pin") -> list[Exception]:
    """Register a flow that calls a tool with *text*; return the errors that the tool will raise."""
    errors: list[Exception] = []
    stage.registry.flows.clear()
    stage.registry.tools.clear()
    retry = RetryPolicy(max_attempts=2, first=3_600, jitter=False)

    @tool("api", "send", registry=stage.registry, retry=retry)
    def send(text: str) -> str:
        if errors:
            raise errors.pop()
        return "sent"

    @flow(registry=stage.registry, name="asks")
    def asks(pin: str = "1234") -> Steps[Any]:
        sent = yield from send(text)
        answer = yield wait_for_signal("go", str)
        if answer == "CANARY-fail":
            raise Rejected("CANARY-message", {"code": "CANARY-data"}, retryable=False)
        return [sent, answer]

    return errors


# -- digests


@given(data=st.binary(), like=st.sampled_from(["", "k1", "k2"]))
def test_a_fingerprint_names_its_key_and_is_made_again_with_it(data: bytes, like: str) -> None:
    first = BOTH.fingerprint(data, f"{like}:whatever" if like else "")
    assert first.startswith(f"{like or 'k2'}:")
    assert BOTH.fingerprint(data, first) == first
    assert BOTH.fingerprint(data + b"x", first) != first
    assert hashlib.sha256(data).hexdigest() not in first
    one = OLD if like == "k1" else NEW
    assert one.fingerprint(data, "") == first


def test_digests_of_sealed_inputs_cannot_be_guessed_at(any_stage: Stage, tmp_path: Path) -> None:
    inputs = (b'{"pin":"1234"}', b'{"text":"CANARY-pin"}')
    guesses = [hashlib.sha256(text).hexdigest()[:8].encode() for text in inputs]
    for run_id, payload in (("plain", ()), ("sealed", ("seal",))):
        errors = ask_for(any_stage)
        errors.append(TimeoutError("CANARY-late"))
        app = app_with(any_stage, OLD, payload=payload)
        app.start("asks", {"pin": "1234"}, run_id=run_id)
        app.execute(run_id)
        begun = repr(app.get(run_id)).encode()
        any_stage.clock.advance(3_600)
        app.execute(run_id)
        seen = begun + repr((app.get(run_id), app.steps(run_id))).encode()
        assert [guess in seen for guess in guesses] == [run_id == "plain"] * 2


def test_inputs_are_compared_across_a_change_of_keys(any_stage: Stage) -> None:
    ask_for(any_stage)
    before = app_with(any_stage, OLD)
    before.start("asks", {"pin": "1234"}, run_id="r")
    before.execute("r")
    after = app_with(any_stage, BOTH)
    assert after.start("asks", {"pin": "1234"}, run_id="r") == "r"
    with pytest.raises(RunTaken, match="another input"):
        after.start("asks", {"pin": "1235"}, run_id="r")
    assert after.replay("r").agrees
    with pytest.raises(NotDecodable, match="key 'k1', which is not among the keys here"):
        app_with(any_stage, NEW).start("asks", {"pin": "1234"}, run_id="r")
    ask_for(any_stage, "CANARY-other")
    other = after.replay("r")
    assert (other.agrees, other.reason) == (False, "changed")
    ask_for(any_stage)
    after.signal("r", "go", "on")
    assert after.execute("r") == Completed("r", ["sent", "on"])


def test_a_begun_step_is_compared_across_a_change_of_keys(any_stage: Stage) -> None:
    ask_for(any_stage).append(TimeoutError())
    before = app_with(any_stage, OLD)
    before.start("asks", run_id="r")
    before.execute("r")
    assert app_with(any_stage, OLD).get("r").open["0"].fingerprint.startswith("seal:k1:")
    any_stage.clock.advance(3_600)
    ask_for(any_stage, "CANARY-other")
    changed = app_with(any_stage, BOTH).execute("r")
    assert isinstance(changed, Blocked)
    assert changed.reason == "changed"
    ask_for(any_stage)
    app = app_with(any_stage, BOTH)
    app.redrive("r")
    assert isinstance(app.execute("r"), Paused)
    assert app.steps("r")[0].fingerprint.startswith("seal:k2:")


def test_runs_from_before_the_sealing_are_compared_as_they_were(any_stage: Stage) -> None:
    ask_for(any_stage)
    before = app_with(any_stage, payload=())
    before.start("asks", {"pin": "1234"}, run_id="r")
    before.execute("r")
    app = app_with(any_stage, OLD)
    assert app.start("asks", {"pin": "1234"}, run_id="r") == "r"
    with pytest.raises(RunTaken):
        app.start("asks", {"pin": "1235"}, run_id="r")
    assert app.replay("r").agrees


def test_a_fingerprint_whose_codec_is_gone_blocks_and_names_it(any_stage: Stage) -> None:
    payloads = Payloads([Zlib()], ["zlib"])
    with pytest.raises(NotDecodable, match="payload codec 'mine', which is not installed"):
        payloads.fingerprint(b"1", "mine:k1:00")
    with pytest.raises(NotDecodable, match="payload codec 'zlib', which is not installed"):
        payloads.fingerprint(b"1", "zlib:00")


# -- errors


def fail(stage: Stage, app: Sequential) -> None:
    errors = ask_for(stage)
    errors.append(TimeoutError("CANARY-late"))
    app.start("asks", run_id="r")
    app.execute("r")
    assert app.get("r").open["0"].error == "TimeoutError: (sealed)"
    stage.clock.advance(3_600)
    app.execute("r")
    app.signal("r", "go", "CANARY-fail")


def test_messages_of_errors_are_sealed_and_told(any_stage: Stage, tmp_path: Path) -> None:
    app = app_with(any_stage, OLD)
    fail(any_stage, app)
    outcome = app.execute("r")
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.message) == ("Rejected", "CANARY-message")
    assert outcome.error.data is not None
    assert outcome.error.data.data == b'{"code":"CANARY-data"}'
    assert b"CANARY" not in everything_in(any_stage, tmp_path)
    stored = app.get("r").error
    assert stored is not None
    assert (stored.type, stored.message) == ("Rejected", "(sealed)")
    assert app.replay("r").agrees
    assert '"CANARY-message"' in app.export("r")


def test_an_error_that_cannot_be_opened_is_still_the_outcome(any_stage: Stage) -> None:
    app = app_with(any_stage, OLD)
    fail(any_stage, app)
    app.execute("r")
    outcome = app_with(any_stage, NEW).execute("r")
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "Rejected"
    assert outcome.error.message.startswith("(sealed): cannot read the value: seal: it was sealed")
    assert "add it after the first" in outcome.error.message


def test_an_error_that_was_moved_does_not_open(stage: Stage) -> None:
    app = app_with(stage, OLD)
    fail(stage, app)
    app.execute("r")
    run = app.get("r")
    stage.counted._runs["r"] = evolve(run, generation=1)
    moved = app.execute("r")
    assert isinstance(moved, Failed)
    assert "does not open it as 'error'" in moved.error.message


# -- what is not sealed is refused


@pytest.mark.parametrize("part", ["value", "input", "message", "result"])
@pytest.mark.parametrize("strict", [True, False])
def test_an_unsealed_value_in_place_of_a_sealed_one(stage: Stage, part: str, strict: bool) -> None:
    ask_for(stage)
    app = app_with(stage, OLD, payload=("seal:required" if strict else "seal",))
    app.start("asks", run_id="r")
    app.execute("r")
    app.signal("r", "go", "on")
    if part == "result":
        app.execute("r")
    runs, forged = stage.counted._runs, Payload(b'"forged"', size=8)
    run, steps = runs["r"], stage.counted._steps["r", 0]
    if part == "value":
        steps["0"] = steps["0"]._replace(value=forged)
    elif part == "message":
        runs["r"] = evolve(run, inbox=(run.inbox[0]._replace(value=forged),))
    elif part == "input":
        runs["r"] = evolve(run, input=Payload(b'{"pin":"2"}', size=11))
    else:
        runs["r"] = evolve(run, result=forged)
    outcome = app.execute("r")
    if strict:
        assert isinstance(outcome, Blocked)
        assert outcome.reason == ("unreadable" if part == "result" else "corrupt")
        assert "is stored without payload codec 'seal', and `payload` says" in outcome.message
        # Its records alone are sound where the forgery waits in the inbox.
        assert app.replay("r").agrees is (part == "message")
    else:
        assert isinstance(outcome, Completed)


def test_runs_from_before_go_on_once_sealing_is_no_longer_required(any_stage: Stage) -> None:
    ask_for(any_stage)
    app_with(any_stage, payload=()).start("asks", run_id="r")
    blocked = app_with(any_stage, OLD, payload=("seal:required",)).execute("r")
    assert isinstance(blocked, Blocked)
    assert "if it was stored before seal was, write seal until it is purged" in blocked.message
    app = app_with(any_stage, OLD)
    app.redrive("r")
    app.signal("r", "go", "on")
    assert isinstance(app.execute("r"), Completed)


def test_sealing_that_is_required_carries_a_whole_life(any_stage: Stage) -> None:
    ask_for(any_stage)
    app = app_with(any_stage, OLD, Zlib(), payload=("zlib", "seal:required"))
    app.start("asks", run_id="r")
    app.execute("r")
    app.signal("r", "go", "CANARY-fail")
    assert isinstance(app.execute("r"), Failed)
    app.retry("r")
    app.execute("r")
    forked = app.fork("r", "1", edit=("edited",))
    assert app.execute(forked) == Completed(forked, ["sent", "edited"])
    assert app.steps(forked)[0].value.codecs == ("zlib", "seal")


@pytest.mark.parametrize("entry", ["seal:", "seal:strict", "seal:required:", "seal: required"])
def test_another_word_behind_a_codec_is_refused(entry: str) -> None:
    codecs: list[PayloadCodec] = [OLD]
    with pytest.raises(ConfigError, match="write seal or seal:required"):
        Payloads(codecs, [entry])
    place = Place("r", 0, "input")
    assert Payloads(codecs, ["seal:required"]).wrap(b"1", place).codecs == ("seal",)


# -- ended runs that cannot be read


def test_a_completed_run_whose_codec_is_missing_is_one_clear_outcome(any_stage: Stage) -> None:
    ask_for(any_stage)

    class Mine:
        id = "mine"

        def encode(self, data: bytes, place: Place) -> bytes:
            return data[::-1]

        def decode(self, data: bytes, place: Place) -> bytes:
            return data[::-1]

    codec = Mine()

    class Plugin:
        @hookimpl
        def sequential_payload_codecs(self) -> list[PayloadCodec]:
            return [codec]

    app = app_with(any_stage, Plugin(), payload=("mine",))
    app.start("asks", run_id="r")
    app.signal("r", "go", "on")
    assert isinstance(app.execute("r"), Completed)
    bare = app_with(any_stage, payload=())
    outcome = bare.execute("r")
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "unreadable"
    assert outcome.message == (
        "run 'r' has completed, but its result is not readable here: cannot read the value: it went"
        " through payload codec 'mine', which is not installed; install the package that brings it,"
        " or pass the codec under `plugins`"
    )
    assert bare.get("r").status is Status.COMPLETED
    with pytest.raises(RunBlocked, match="payload codec 'mine', which is not installed"):
        bare.run("asks", run_id="r")


def test_the_command_line_says_what_a_sealed_run_needs(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, listed(k1=KEY))
    command_line.write("sequential.toml", 'modules = ["shop.py"]\npayload = ["seal"]\n')
    command_line.ok("run", "shop.py:buy", "--input", '{"item": "ab"}', "--run-id", "done")
    command_line.ok("run", "shop.py:fail", "--run-id", "failed", code=4)
    assert "LookupError: sold out" in command_line.ok("show", "failed")
    command_line.write("sequential.toml", 'modules = ["shop.py"]\n')
    monkeypatch.delenv(VARIABLE)
    told = command_line("execute", "done")
    assert (told.exit_code, told.output.count(VARIABLE)) == (3, 1)
    assert "sealed" in command_line.ok("show", "failed")
    assert "unreadable" in command_line.ok("show", "done")
