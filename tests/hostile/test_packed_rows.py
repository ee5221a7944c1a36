"""Values that went through a payload codec, altered in the storage: the run waits for a cure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sequential._outcomes import Blocked, Completed
from sequential.codecs import Seal, Zlib, Zstd
from tests.hostile.test_rows import calls, opened, raw, to_end

KEYS = {"k1": b"k" * 32}
LARGE = {"id": ["the same again"] * 100}
CODECS: dict[str, list[Any]] = {
    "zlib": [Zlib()],
    "zstd": [Zstd()],
    "seal": [Seal(KEYS)],
    "zlib,seal": [Zlib(), Seal(KEYS)],
}


def bomb(packed: bytes) -> bytes:
    """Return 200 MB of zeros where *packed* was, in a value that says it is compressed."""
    stream = zlib.compressobj(9)
    zeros = b"".join(stream.compress(bytes(1 << 20)) for _ in range(200))
    return b"\x01" + zeros + stream.flush()


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda packed: b"",
    "cut short": lambda packed: packed[:-3],
    "cut to its half": lambda packed: packed[: len(packed) // 2],
    "first byte": lambda packed: bytes([packed[0] ^ 4]) + packed[1:],
    "one bit": lambda packed: packed[:20] + bytes([packed[20] ^ 1]) + packed[21:],
    "last byte": lambda packed: packed[:-1] + bytes([packed[-1] ^ 0x80]),
    "more": lambda packed: packed + b"more",
    "another thing": lambda packed: b"\x80\x04\x95\x0b\x00\x00\x00.",
    "bomb": bomb,
}


def settings(order: str) -> dict[str, Any]:
    return {"plugins": CODECS[order], "payload": order.split(",")}


def started(path: Path, order: str) -> bytes:
    """Start two runs and make a step of each; return the value of the first one's."""
    with opened(path, **settings(order)) as app:
        for run_id, given in (("sick", LARGE), ("well", {"id": ["of another"] * 100})):
            app.start("two", given, run_id=run_id)
            app.execute(run_id)
    [(value,)] = raw(path, "SELECT value FROM steps WHERE run_id = 'sick'")
    assert isinstance(value, bytes)
    return value


def waits_and_is_cured(path: Path, order: str, whole: bytes, altered: bytes) -> None:
    raw(path, "UPDATE steps SET value = ? WHERE run_id = 'sick'", altered)
    calls.clear()
    with opened(path, **settings(order)) as app:
        outcome = app.execute("sick")
        assert isinstance(outcome, Blocked), outcome
        assert calls == []
        assert isinstance(to_end(app, "well"), Completed)
    raw(path, "UPDATE steps SET value = ? WHERE run_id = 'sick'", whole)
    with opened(path, **settings(order)) as app:
        app.redrive("sick")
        ended = to_end(app, "sick")
    assert isinstance(ended, Completed)
    assert ended.result == [LARGE, "second"]


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
@pytest.mark.parametrize("order", CODECS)
def test_an_altered_value_is_waited_for(
    tmp_path: Path, order: str, alter: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "flows.db"
    whole = started(path, order)
    header, newline, packed = whole.partition(b"\n")
    waits_and_is_cured(path, order, whole, header + newline + alter(packed))


@pytest.mark.parametrize("order", ["seal", "zlib,seal"])
def test_a_sealed_value_of_another_run_does_not_open(tmp_path: Path, order: str) -> None:
    path = tmp_path / "flows.db"
    whole = started(path, order)
    [(other,)] = raw(path, "SELECT value FROM steps WHERE run_id = 'well'")
    waits_and_is_cured(path, order, whole, other)


@pytest.mark.parametrize("order", ["zlib", "seal"])
def test_a_value_that_names_other_codecs_is_waited_for(tmp_path: Path, order: str) -> None:
    path = tmp_path / "flows.db"
    whole = started(path, order)
    for name in (b"os.system", b"../x", b"", order.encode() + b'","' + order.encode()):
        altered = whole.replace(f'"{order}"'.encode(), b'"' + name + b'"', 1)
        assert altered != whole
        raw(path, "UPDATE steps SET value = ? WHERE run_id = 'sick'", altered)
        with opened(path, **settings(order)) as app:
            if app.get("sick").attention is not None:
                app.redrive("sick")
            assert isinstance(app.execute("sick"), Blocked)
    with opened(path, **settings(order)) as app:
        app.redrive("sick")
    waits_and_is_cured(path, order, whole, b"")
