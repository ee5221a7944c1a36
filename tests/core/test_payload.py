"""From encoded values to what is stored: codecs in order, sizes, references."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from sequential import Steps, flow, hookimpl, save, tool, wait_for_signal
from sequential._model import Payload
from sequential._outcomes import Blocked, Completed
from sequential._payload import Payloads, Place
from sequential.errors import ConfigError, NotDecodable
from tests.fix_stage import Stage

HERE = Place("r", 0, "0:value")


class Squeeze:
    """Compression."""

    id = "squeeze"

    def encode(self, data: bytes, place: Place) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes, place: Place) -> bytes:
        return zlib.decompress(data)


class Seal:
    """Binds bytes to their place."""

    id = "seal"

    def __init__(self) -> None:
        self.places: list[Place] = []

    def encode(self, data: bytes, place: Place) -> bytes:
        self.places.append(place)
        return repr(place).encode() + b"|" + data

    def decode(self, data: bytes, place: Place) -> bytes:
        sealed, _, rest = data.partition(b"|")
        if sealed != repr(place).encode():
            raise NotDecodable(f"sealed for {sealed.decode()}")
        return rest


class Codecs:
    def __init__(self, *codecs: Any) -> None:
        self.codecs = codecs

    @hookimpl
    def sequential_payload_codecs(self) -> Sequence[Any]:
        return self.codecs


def test_codecs_are_applied_in_order_and_undone_in_reverse() -> None:
    payloads = Payloads([Squeeze(), Seal()], ["squeeze", "seal"])
    payload = payloads.wrap(b'"aaaaaaaaaa"', HERE)
    assert payload.codecs == ("squeeze", "seal")
    assert payload.size == 12
    assert payload.data.startswith(b"Place(")
    assert payloads.unwrap(payload, HERE) == b'"aaaaaaaaaa"'


def test_what_was_stored_without_codecs_is_read_with_them_and_the_reverse() -> None:
    plain, squeezing = Payloads([Squeeze()], []), Payloads([Squeeze()], ["squeeze"])
    assert squeezing.unwrap(plain.wrap(b"1", HERE), HERE) == b"1"
    assert plain.unwrap(squeezing.wrap(b"1", HERE), HERE) == b"1"


def test_a_codec_that_is_not_installed_is_named() -> None:
    with pytest.raises(NotDecodable, match="'zstd', which is not installed"):
        Payloads().unwrap(Payload(b"1", ("zstd",)), HERE)
    with pytest.raises(ConfigError, match="installed payload codecs: squeeze"):
        Payloads([Squeeze()], ["zstd"])


def sealed_flows(stage: Stage) -> None:
    @tool("api", "echo", registry=stage.registry)
    def echo(text: str) -> str:
        return text

    @tool("api", "fail", registry=stage.registry)
    def fail() -> None:
        raise ValueError("secret")

    @flow(registry=stage.registry, name="secret")
    def secret(text: str, size: int = 1) -> Steps[Any]:
        first = yield echo(text * size)
        yield save()
        second = yield wait_for_signal("go", str)
        third = yield {"__tool": ["api", "fail"]}
        return [len(first), second, third]


@pytest.mark.parametrize("size", [1, 20_000])
def test_everything_a_user_brings_goes_through_the_codecs(any_stage: Stage, size: int) -> None:
    sealed_flows(any_stage)
    seal = Seal()
    app = any_stage.app(plugins=[Codecs(seal, Squeeze())], payload=["seal", "squeeze"], warm=0)
    run_id = app.start("secret", {"text": "secret", "size": size}, run_id="r")
    app.execute(run_id)
    app.signal(run_id, "go", "secret", signal_id="s1")
    outcome = app.execute(run_id)
    assert outcome == Completed(run_id, [6 * size, "secret", {"__error": "secret"}])
    loaded = any_stage.storage.load(run_id)
    assert loaded is not None
    assert b"secret" not in repr((loaded.run.input, loaded.run.result, loaded.steps)).encode()
    parts = {place.part for place in seal.places}
    assert {"input", "result", "0:value", "3:value", "message:s1"} <= parts


def test_a_value_moved_to_another_place_is_refused(stage: Stage) -> None:
    sealed_flows(stage)
    app = stage.app(plugins=[Codecs(Seal())], payload=["seal"], warm=0)
    for run_id in ("a", "b"):
        app.start("secret", {"text": "the same"}, run_id=run_id)
        app.execute(run_id)
    there, here = (stage.counted._steps[run_id, 0] for run_id in ("a", "b"))
    here["0"] = there["0"]
    app.signal("b", "go", "x")
    outcome = app.execute("b")
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"


def test_sealed_values_survive_retry_continue_and_fork(any_stage: Stage) -> None:
    broken = [True]

    @tool("api", "echo", registry=any_stage.registry)
    def echo(text: str) -> str:
        if broken and text == "second":
            raise ValueError(text)
        return text

    @flow(registry=any_stage.registry)
    def failing() -> Steps[Any]:
        first = yield echo("first" * 30_000)
        return [len(first), (yield echo("second"))]

    app = any_stage.app(plugins=[Codecs(Seal())], payload=["seal"])
    run_id = app.start(failing)
    app.execute(run_id)
    broken.clear()
    app.retry(run_id)
    assert app.execute(run_id) == Completed(run_id, [150_000, "second"])
    forked = app.fork(run_id, "1", edit=("edited",))
    assert app.execute(forked) == Completed(forked, [150_000, "edited"])


def test_a_pending_signal_with_a_large_value_stands_by_reference(any_stage: Stage) -> None:
    sealed_flows(any_stage)
    app = any_stage.app()
    run_id = app.start("secret", {"text": "a"})
    app.execute(run_id)
    app.signal(run_id, "go", "x" * 100_000)
    assert app.get(run_id).inbox[0].value.ref is not None
    outcome = app.execute(run_id)
    assert isinstance(outcome, Completed)
    assert len(outcome.result[1]) == 100_000  # type: ignore[index]
