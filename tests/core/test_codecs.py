"""The payload codecs of the core: made small, sealed, and read back by nobody else."""

from __future__ import annotations

import base64
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sequential import Rejected, Sequential, Steps, continue_as_new, flow, tool, wait_for_signal
from sequential._compress import MOST, SMALL
from sequential._model import Status
from sequential._outcomes import Blocked, Completed
from sequential._seal import VARIABLE
from sequential.codecs import PayloadCodec, Place, Seal, Zlib, Zstd
from sequential.errors import ConfigError, NotDecodable, NotEncodable
from tests.fix_stage import Stage

HERE = Place("run-1", 2, "3:value")
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def seal(key: bytes = KEY) -> Seal:
    return Seal({"k1": key})


# -- compression


@pytest.mark.parametrize("codec", [Zlib(), Zstd()], ids=repr)
@given(data=st.one_of(st.binary(), st.binary().map(lambda some: some * 300)))
def test_what_was_packed_is_read_back(codec: PayloadCodec, data: bytes) -> None:
    assert codec.decode(codec.encode(data, HERE), HERE) == data


@pytest.mark.parametrize("codec", [Zlib(1), Zlib(9), Zstd(1), Zstd(19)], ids=repr)
def test_a_large_value_becomes_smaller_and_an_incompressible_one_only_by_its_marker(
    codec: PayloadCodec,
) -> None:
    assert len(codec.encode(b'{"name": "x"},' * 1000, HERE)) < 300
    noise = os.urandom(10_000)
    assert codec.encode(noise, HERE) == b"\x00" + noise


@pytest.mark.parametrize("codec", [Zlib(), Zstd()], ids=repr)
@pytest.mark.parametrize("start", [b"\x00", b"\x01", b"\x28\xb5\x2f\xfd", b"\x78\x9c"])
def test_a_small_value_that_looks_packed_is_not_taken_for_one(
    codec: PayloadCodec, start: bytes
) -> None:
    assert codec.encode(start, HERE) == b"\x00" + start
    assert codec.decode(codec.encode(start, HERE), HERE) == start


def zlib_bomb() -> bytes:
    return b"\x01" + zlib.compress(b"0" * (MOST + 1), 9)


def zstd_bomb() -> bytes:
    return b"\x01" + zstandard.ZstdCompressor().compress(b"0" * (MOST + 1))


def zstd_bomb_that_does_not_say() -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return b"\x01" + stream.compress(b"0" * 100_000) + stream.flush()


def zstd_that_says_too_little() -> bytes:
    """Declare 5 bytes, in the byte after magic number and flags, where 200 follow."""
    whole = zstandard.ZstdCompressor().compress(b"0" * 200)
    return b"\x01" + whole[:5] + b"\x05" + whole[6:]


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (Zlib(), zlib_bomb),
        (Zstd(), zstd_bomb),
        (Zstd(), zstd_bomb_that_does_not_say),
        (Zstd(), zstd_that_says_too_little),
    ],
)
def test_a_bomb_is_not_inflated(codec: PayloadCodec, bomb: Callable[[], bytes]) -> None:
    with pytest.raises(NotDecodable, match=r"inflates to more than|damaged"):
        codec.decode(bomb(), HERE)


def test_a_bomb_takes_no_more_memory_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sequential._compress.MOST", 1000)
    with pytest.raises(NotDecodable, match="inflates to more than 1,000 bytes"):
        Zlib().decode(b"\x01" + zlib.compress(b"0" * 1001), HERE)
    assert Zlib().decode(b"\x01" + zlib.compress(b"0" * 1000), HERE) == b"0" * 1000
    assert Zstd().decode(Zstd().encode(b"0" * 1000, HERE), HERE) == b"0" * 1000
    bomb = b"\x01" + zstandard.ZstdCompressor().compress(b"0" * 1001)
    with monkeypatch.context() as patched:
        patched.delattr(zstandard, "ZstdDecompressor")
        with pytest.raises(NotDecodable, match="inflates to more than"):
            Zstd().decode(bomb, HERE)
    with pytest.raises(NotDecodable, match="inflates to more than"):
        Zlib().decode(b"\x00" + b"0" * 1001, HERE)
    with pytest.raises(NotEncodable, match="at most 1,000 bytes"):
        Zlib().encode(b"0" * 1001, HERE)


@pytest.mark.parametrize("codec", [Zlib(), Zstd()], ids=repr)
def test_damaged_bytes_are_refused_and_never_guessed(codec: PayloadCodec) -> None:
    packed = codec.encode(b"some text, " * 100, HERE)
    assert packed[:1] == b"\x01"
    for end in range(len(packed)):
        with pytest.raises(NotDecodable, match=codec.id):
            codec.decode(packed[:end], HERE)
    for odd in (b"", b"\x02abc", b'{"a":1}', packed + b"x", b"\x01", packed[:-1] + b"\xff"):
        with pytest.raises(NotDecodable, match=codec.id):
            codec.decode(odd, HERE)


@pytest.mark.parametrize("codec", [Zlib(), Zstd()], ids=repr)
def test_a_flipped_bit_never_gives_another_value(codec: PayloadCodec) -> None:
    whole = b"".join(b"%d and " % number for number in range(200))
    packed = codec.encode(whole, HERE)
    refused = 0
    for bit in range(8, len(packed) * 8):
        changed = bytearray(packed)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert codec.decode(bytes(changed), HERE) == whole
        except NotDecodable:
            refused += 1
    assert refused > len(packed) * 7


@pytest.mark.parametrize("level", [0, 23, -1, "6", None])
def test_a_level_that_there_is_not_is_refused(level: Any) -> None:
    for codec in (Zlib, Zstd):
        with pytest.raises(ConfigError, match="level"):
            codec(level)


def test_what_is_not_installed_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sealed, packed = seal().encode(b"1", HERE), Zstd().encode(b"1" * 1000, HERE)
    for name in ("zstandard", "cryptography.hazmat.primitives.ciphers.aead"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv(VARIABLE, listed(k1=KEY))
    with pytest.raises(ConfigError, match=r"pip install 'sequential-core\[zstd\]'"):
        Zstd().encode(b"1", HERE)
    with pytest.raises(NotDecodable, match=r"pip install 'sequential-core\[zstd\]'"):
        Zstd().decode(packed, HERE)
    with pytest.raises(ConfigError, match=r"pip install 'sequential-core\[seal\]'"):
        Seal({"k1": KEY})
    with pytest.raises(NotDecodable, match=r"pip install 'sequential-core\[seal\]'"):
        Seal().decode(sealed, HERE)


# -- sealing


def listed(**keys: bytes) -> str:
    return ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())


@given(
    data=st.binary(),
    place=st.builds(Place, st.text(min_size=1), st.integers(0, 99), st.text()),
)
def test_what_was_sealed_is_opened_in_its_place(data: bytes, place: Place) -> None:
    sealed = seal().encode(data, place)
    assert seal().decode(sealed, place) == data
    assert len(sealed) == len(data) + 2 + len("k1") + 12 + 16
    assert len(data) < 4 or data not in sealed


def test_no_two_sealed_values_are_alike() -> None:
    codec = seal()
    assert len({codec.encode(b"the same", HERE) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "other",
    [
        HERE._replace(run_id="run-2"),
        HERE._replace(generation=1),
        HERE._replace(part="2:value"),
        HERE._replace(part="3:input"),
        Place("run-1\x002", 3, "value"),
        Place("run-1", 22, "3:value"),
    ],
)
def test_a_value_moved_elsewhere_does_not_open(other: Place) -> None:
    with pytest.raises(NotDecodable, match="seal: key 'k1' does not open it as"):
        seal().decode(seal().encode(b"secret", HERE), other)


def test_every_bit_and_every_length_counts() -> None:
    sealed = seal().encode(b"secret", HERE)
    for end in range(len(sealed)):
        with pytest.raises(NotDecodable, match="seal: "):
            seal().decode(sealed[:end], HERE)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotDecodable, match="seal: "):
            seal().decode(bytes(changed), HERE)
    with pytest.raises(NotDecodable, match="seal: "):
        seal().decode(sealed + b"\x00", HERE)


@given(odd=st.binary(max_size=80))
def test_foreign_bytes_are_refused(odd: bytes) -> None:
    for start in (b"", b"\x01", b"\x01\x02k1"):
        with pytest.raises(NotDecodable, match="seal: "):
            seal().decode(start + odd, HERE)


def test_another_key_of_the_same_id_does_not_open() -> None:
    with pytest.raises(NotDecodable, match="another key of that id"):
        seal(OTHER).decode(seal().encode(b"secret", HERE), HERE)


def test_the_first_key_seals_and_all_of_them_open() -> None:
    before, during = seal(), Seal({"k2": OTHER, "k1": KEY})
    after = Seal({"k2": OTHER})
    old, new = before.encode(b"old", HERE), during.encode(b"new", HERE)
    assert (during.decode(old, HERE), during.decode(new, HERE)) == (b"old", b"new")
    assert after.decode(new, HERE) == b"new"
    with pytest.raises(NotDecodable, match=r"key 'k1', which is not among the keys here \(k2\)"):
        after.decode(old, HERE)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f" {listed(k2=OTHER)} , {listed(k1=KEY)} ,")
    codec = Seal()
    assert codec.decode(seal().encode(b"old", HERE), HERE) == b"old"
    assert Seal({"k2": OTHER}).decode(codec.encode(b"new", HERE), HERE) == b"new"


SECRET = base64.b64encode(bytes(range(100, 132))).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no key to seal with; make one with: python -c"),
        (" , ", "there is no key to seal with"),
        (SECRET, "entry 1 is not id:base64"),
        (f"k1:{SECRET},{SECRET}", "entry 2 is not id:base64"),
        (f"{SECRET}:k1", "entry 1 is not id:base64"),
        (f":{SECRET}", "entry 1 is not id:base64"),
        (f"k1:{SECRET[:-3]}!!=", "key 'k1' is not base64"),
        (f"k1:{SECRET[:-2]}", "key 'k1' is not base64"),
        (f"k1:{SECRET[:24]}", "key 'k1' has 18 bytes, and AES-256 takes 32"),
        ("k1:", "key 'k1' has 0 bytes"),
        (f"k1:{SECRET},k1:{SECRET}", "key 'k1' is there twice"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_never_shown(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError) as raised:
        Seal().encode(b"1", HERE)
    shown = "".join(traceback.format_exception(raised.value)) + repr(vars(raised.value))
    assert said in str(raised.value)
    assert str(raised.value).startswith(VARIABLE)
    assert SECRET[:16] not in shown
    with pytest.raises(NotDecodable, match="seal: SEQUENTIAL_SEAL_KEYS"):
        Seal().decode(seal().encode(b"1", HERE), HERE)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "there is no key"),
        ({"k1": KEY[:31]}, "key 'k1' has 31 bytes"),
        ({"k1": KEY + b"x"}, "key 'k1' has 33 bytes"),
        ({"k1": SECRET}, "key 'k1' is of type str, not bytes"),
        ({SECRET: KEY}, "the id of key 1 is not"),
        ({"": KEY}, "the id of key 1 is not"),
        ({1: KEY}, "the id of key 1 is not"),
    ],
)
def test_keys_given_in_code_are_held_to_the_same(keys: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        Seal(keys)
    assert SECRET not in str(raised.value)


def test_a_codec_never_shows_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, listed(k1=KEY))
    read = Seal()
    read.encode(b"1", HERE)
    assert repr(Seal()) == "Seal(keys of SEQUENTIAL_SEAL_KEYS)"
    for codec in (Seal({"k1": KEY, "old": OTHER}), read):
        shown = repr(codec) + repr(vars(codec))
        assert "k1" in shown
        for key in (KEY, OTHER):
            for form in (repr(key)[2:20], key.hex(), base64.b64encode(key).decode()[:16]):
                assert form not in shown


# -- whole runs

CANARIES = ("CANARY-input", "CANARY-step", "CANARY-large", "CANARY-message", "CANARY-error")
ORDERS = [["seal"], ["zlib", "seal"], ["zstd", "seal"]]


def canary_flows(stage: Stage) -> None:
    @tool("api", "echo", registry=stage.registry)
    def echo(text: str) -> str:
        return f"{text} and CANARY-step"

    @tool("api", "large", registry=stage.registry)
    def large() -> str:
        return "CANARY-large" + os.urandom(100_000).hex()

    @tool("api", "fail", registry=stage.registry)
    def fail() -> None:
        raise Rejected("CANARY-error", retryable=False)

    @flow(registry=stage.registry, name="told")
    def told(text: str) -> Steps[Any]:
        first = yield echo(text)
        big = yield large()
        message = yield wait_for_signal("go", str)
        error = yield {"__tool": ["api", "fail"]}
        return [first, len(big), message, error]

    @flow(registry=stage.registry, name="again")
    def again(text: str, left: int = 1) -> Steps[Any]:
        yield echo(text)
        if left:
            yield continue_as_new({"text": text, "left": left - 1})
        return text


def process(stage: Stage, order: Sequence[str] = ("seal",), *plugins: object) -> Sequential:
    chosen = plugins or (seal(), Zlib(), Zstd())
    return stage.app(plugins=list(chosen), payload=list(order), warm=0)


def play(stage: Stage, app: Sequential, run_id: str = "r") -> None:
    """Play the flow that has a value of every kind, also waiting in the inbox, to its end."""
    app.start("told", {"text": "CANARY-input"}, run_id=run_id, tags={"shown": "TAG"})
    app.execute(run_id)
    app.signal(run_id, "go", "CANARY-message", signal_id="s1")
    outcome = app.execute(run_id)
    assert isinstance(outcome, Completed)
    got: Any = outcome.result
    first, size, message, error = got
    assert first == "CANARY-input and CANARY-step"
    assert (size, message, error) == (200_012, "CANARY-message", {"__error": "CANARY-error"})


def everything_in(stage: Stage, directory: Path) -> bytes:
    files = b"".join(path.read_bytes() for path in directory.glob("flows.db*"))
    return files or repr(vars(stage.storage)).encode()


def test_without_sealing_the_scan_finds_every_canary(any_stage: Stage, tmp_path: Path) -> None:
    canary_flows(any_stage)
    play(any_stage, process(any_stage, ()))
    whole = everything_in(any_stage, tmp_path)
    assert [canary for canary in CANARIES if canary.encode() not in whole] == []


@pytest.mark.parametrize("order", ORDERS, ids="+".join)
def test_everything_that_is_stored_is_sealed(
    any_stage: Stage, tmp_path: Path, order: list[str]
) -> None:
    canary_flows(any_stage)
    app = process(any_stage, order)
    play(any_stage, app)
    app.run("again", {"text": "CANARY-input"}, run_id="g")
    whole = everything_in(any_stage, tmp_path)
    assert b"TAG" in whole
    assert b"CANARY" not in whole
    run, steps = app.get("r"), app.steps("r")
    assert run.result is not None
    shown = [step.input for step in steps if step.input is not None]
    assert shown
    for payload in (run.input, run.result, *shown, *(step.value for step in steps)):
        assert payload.codecs == tuple(order)
    assert steps[1].value.ref is not None


def test_a_message_in_the_inbox_is_sealed(any_stage: Stage, tmp_path: Path) -> None:
    canary_flows(any_stage)
    app = process(any_stage)
    app.start("told", {"text": "x"}, run_id="r")
    for size in (1, 10_000):
        app.signal("r", "go", "CANARY-message" * size)
    assert [bool(sent.value.ref) for sent in app.get("r").inbox] == [False, True]
    assert b"CANARY" not in everything_in(any_stage, tmp_path)


@pytest.mark.parametrize("order", ORDERS, ids="+".join)
def test_sealed_runs_are_retried_forked_and_continued(any_stage: Stage, order: list[str]) -> None:
    broken = [True]

    @tool("api", "make", registry=any_stage.registry)
    def make() -> str:
        return "CANARY-large" * 10_000

    @tool("api", "use", registry=any_stage.registry)
    def use(text: str) -> int:
        if broken:
            raise Rejected("not now", retryable=False)
        return len(text)

    @flow(registry=any_stage.registry, name="made")
    def made() -> Steps[Any]:
        text = yield from make()
        return (yield from use(text))

    canary_flows(any_stage)
    app = process(any_stage, order)
    app.start("made", run_id="r")
    app.execute("r")
    assert app.get("r").status is Status.FAILED
    broken.clear()
    app.retry("r")
    assert app.execute("r") == Completed("r", 120_000)
    forked = app.fork("r", "1")
    assert app.execute(forked) == Completed(forked, 120_000)
    edited = app.fork("r", "1", edit=(7,))
    assert app.execute(edited) == Completed(edited, 7)
    assert {step.value.codecs for step in app.steps(edited)} == {tuple(order)}
    app.start("again", {"text": "CANARY-input"}, run_id="g")
    app.execute("g")
    app.execute("g")
    assert app.get("g").generation == 1
    assert app.execute("g") == Completed("g", "CANARY-input")


def test_a_codec_that_left_the_order_still_opens(any_stage: Stage) -> None:
    canary_flows(any_stage)
    app = process(any_stage, ["zlib", "seal"])
    app.start("told", {"text": "CANARY-input"}, run_id="r")
    app.execute("r")
    later = process(any_stage, [])
    later.signal("r", "go", "in plain")
    assert isinstance(later.execute("r"), Completed)
    codecs = [step.value.codecs for step in later.steps("r")]
    assert codecs == [("zlib", "seal"), ("zlib", "seal"), (), ()]


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ([Zlib()], "payload codec 'seal', which"),
        ([Zlib(), Seal({"k2": OTHER})], "sealed with key 'k1'"),
        ([Zlib(), Seal({"k1": OTHER})], "seal: key 'k1' does not open"),
    ],
)
def test_a_run_that_cannot_be_opened_is_blocked_and_heals(
    any_stage: Stage, monkeypatch: pytest.MonkeyPatch, plugins: list[Any], said: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    canary_flows(any_stage)
    process(any_stage, ["zlib", "seal"]).start("told", {"text": "CANARY-input"}, run_id="r")
    blocked = process(any_stage, [], *plugins).execute("r")
    assert isinstance(blocked, Blocked)
    assert blocked.reason == "corrupt"
    assert "seal" in blocked.message
    assert said in blocked.message or "'seal'" not in said or VARIABLE in blocked.message
    assert "CANARY" not in repr(blocked)
    app = process(any_stage, ["zlib", "seal"])
    app.redrive("r")
    app.execute("r")
    app.signal("r", "go", "CANARY-message")
    assert isinstance(app.execute("r"), Completed)


def test_keys_are_rotated_under_open_runs(any_stage: Stage) -> None:
    canary_flows(any_stage)
    process(any_stage).start("told", {"text": "CANARY-input"}, run_id="r")
    both = process(any_stage, ["seal"], Seal({"k2": OTHER, "k1": KEY}))
    both.execute("r")
    both.signal("r", "go", "CANARY-message")
    assert isinstance(both.execute("r"), Completed)
    alone = Seal({"k2": OTHER})
    for step in both.steps("r")[:1]:
        assert alone.decode(step.value.data, Place("r", 0, f"{step.position}:value"))


@pytest.mark.parametrize("change", ["swap", "cut", "older", "other run"])
def test_a_tampered_step_blocks_the_run(stage: Stage, change: str) -> None:
    canary_flows(stage)
    app = process(stage)
    for run_id in ("a", "b"):
        app.start("told", {"text": "CANARY-input"}, run_id=run_id)
        app.execute(run_id)
    steps = stage.counted._steps["b", 0]
    first, second = steps["0"], steps["1"]
    value = {
        "swap": second.value,
        "cut": first.value._replace(data=first.value.data[:-1]),
        "older": first.value._replace(data=seal().encode(b'"x"', Place("b", 1, "0:value"))),
        "other run": stage.counted._steps["a", 0]["0"].value,
    }[change]
    steps["0"] = first._replace(value=value)
    app.signal("b", "go", "x")
    outcome = app.execute("b")
    assert isinstance(outcome, Blocked)
    assert outcome.reason == "corrupt"
    assert "seal" in outcome.message
    assert "CANARY" not in repr(outcome)


def test_a_small_result_is_left_alone_and_a_large_one_packed(any_stage: Stage) -> None:
    canary_flows(any_stage)
    app = process(any_stage, ["zstd"])
    text = "CANARY-input" * SMALL
    app.start("again", {"text": text, "left": 0}, run_id="r")
    app.execute("r")
    run = app.get("r")
    assert run.input.data[:1] == b"\x01"
    assert len(run.input.data) < 200 < run.input.size
    assert app.execute("r") == Completed("r", text)
