"""Fuzzers for whatever reads bytes or text that others wrote: ``python -m tests.hostile.fuzz 60``.

A target takes bytes and insists: an error of ours, or a value that goes the same way again. Inputs
are mutated from a corpus (``data/corpus/<target>``); one that gets a new sort of answer joins it in
memory, one that fails is written beside it, so that the next test run fails on it too. Everything
follows from the seed, but how far it gets in its time.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sequential._codec import decode, decode_plain, encode
from sequential._compress import MOST, Zlib, Zstd
from sequential._config import read_duration
from sequential._model import Run
from sequential._pause import PausePolicy
from sequential._payload import Place
from sequential._record_shapes import STEP_COLUMNS
from sequential._records import pack_run, pack_step, unpack_run, unpack_step, unpack_tags
from sequential._run_id import check_run_id
from sequential._seal import Seal
from sequential._sqlite.url import read_sqlite_url
from sequential._storage import Query
from sequential._storage_rules import page_token, read_page_token
from sequential.errors import (
    ConfigError,
    NotDecodable,
    NotEncodable,
    RecordCorrupt,
    RunIdInvalid,
    SequentialError,
)
from sequential.testing._storage_samples import full_run, make_step, plain
from tests.hostile.fuzz_messages import MESSAGE_TARGETS

CORPUS = Path(__file__).parent / "data" / "corpus"
LONGEST = 4096
"""Bytes of an input: what goes wrong does so in few."""

_PLACE = Place("r", 0, "0:value")
_RUN = pack_run(full_run())
_STEP = pack_step(make_step(0))
_SEAL = Seal({"k1": b"k" * 32, "k2": b"K" * 32})
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~.-]{0,127}", re.ASCII)

Target = Callable[[bytes], str]
"""Insists on what must hold, and returns the sort of answer."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def same(one: object, other: object) -> bool:
    """Tell whether two values of JSON are equal, the types of their parts too."""
    return one == other and repr(one) == repr(other)


def fuzz_codec(data: bytes) -> str:
    """Stored bytes: `NotDecodable`, or a value that is stored again as itself."""
    try:
        value = decode(data)
    except NotDecodable as error:
        return _sort(error)
    try:
        again = encode(value)
    except NotEncodable as error:
        # Only of numbers and texts that our own writer never makes.
        raise AssertionError(f"read and not written: {error}") from error
    back = decode(again)
    assert back == value
    assert encode(back) == again
    return type(value).__name__


def fuzz_json(data: bytes) -> str:
    """JSON of a client: `NotDecodable`, or what the standard library reads, and storable."""
    try:
        value = decode_plain(data)
    except NotDecodable as error:
        return _sort(error)
    assert same(value, json.loads(data))
    assert same(decode(encode(value)), value)
    return type(value).__name__


def fuzz_state(data: bytes) -> str:
    """The state of a run: `RecordCorrupt`, or a run that is written again as itself."""
    try:
        run: Run = unpack_run((*_RUN[:-1], data))
    except RecordCorrupt as error:
        return _sort(error)
    assert unpack_run(pack_run(run)) == run
    return "run"


def fuzz_step(data: bytes) -> str:
    """The value of a step: `RecordCorrupt`, or a record that is written again as itself."""
    row = list(_STEP)
    row[STEP_COLUMNS.index("value")] = data
    try:
        step = unpack_step("r", row)
    except RecordCorrupt as error:
        return _sort(error)
    assert unpack_step("r", pack_step(step)) == step
    return "step" if step.value.codecs or step.value.ref else "plain"


def fuzz_tags(data: bytes) -> str:
    """The column of tags: `RecordCorrupt`, or texts by texts."""
    try:
        tags = unpack_tags("r", _text(data))
    except RecordCorrupt as error:
        return _sort(error)
    assert all(type(part) is str for pair in tags.items() for part in pair)
    return f"{len(tags)} tags"


def fuzz_run_id(data: bytes) -> str:
    """A run id: exactly what the grammar says."""
    text = _text(data)
    fits = len(text) == len(text.encode("ascii", "replace")) and bool(_RUN_ID.fullmatch(text))
    try:
        assert check_run_id(text) == text
    except RunIdInvalid as error:
        if fits:
            raise AssertionError("refused, and the grammar allows it") from error
        return "refused"
    assert fits
    return "allowed"


def fuzz_token(data: bytes) -> str:
    """A page token: `ConfigError`, or a time and an id that make a token again."""
    try:
        read = read_page_token(Query(after=_text(data)))
    except ConfigError as error:
        return _sort(error)
    assert read is not None
    created, run_id = read
    assert math.isfinite(created)
    again = page_token(Run(run_id, "f", plain(b"1"), created=created), Query())
    assert read_page_token(Query(after=again)) == read
    return "token"


def fuzz_zlib(data: bytes) -> str:
    """A compressed value: `NotDecodable`, or bounded bytes."""
    return _unpacked(Zlib(), data)


def fuzz_zstd(data: bytes) -> str:
    """A compressed value: `NotDecodable`, or bounded bytes."""
    return _unpacked(Zstd(), data)


def _unpacked(codec: Zlib | Zstd, data: bytes) -> str:
    try:
        whole = codec.decode(data, _PLACE)
    except NotDecodable as error:
        return _sort(error)
    assert len(whole) <= MOST
    assert codec.decode(codec.encode(whole, _PLACE), _PLACE) == whole
    return "packed" if data[:1] == b"\x01" else "as it is"


def fuzz_seal(data: bytes) -> str:
    """A sealed value: nothing but what was sealed for this place opens."""
    said = ""
    sealed = _SEAL.encode(data, _PLACE)
    assert _SEAL.decode(sealed, _PLACE) == data
    position = len(data) % len(sealed)
    flipped = bytes((*sealed[:position], sealed[position] ^ 1, *sealed[position + 1 :]))
    for other in (data, flipped, sealed[:-1], sealed + b"x"):
        try:
            _SEAL.decode(other, _PLACE)
        except NotDecodable as error:
            said = said or _sort(error)
        else:
            raise AssertionError("opened what was never sealed")
    return said


def fuzz_settings(data: bytes) -> str:
    """A duration, a pause policy, a storage URL: `ConfigError`, or a value in its range."""
    text, answers = _text(data), []
    readers: list[Callable[[], object]] = [
        lambda: read_duration("lease", text),
        lambda: PausePolicy.parse(text),
        lambda: read_sqlite_url(f"sqlite:///{text}"),
    ]
    for read in readers:
        try:
            answers.append(type(read()).__name__)
        except ConfigError:
            answers.append("refused")
    return " ".join(answers)


TARGETS: dict[str, Target] = {
    "codec": fuzz_codec,
    "json": fuzz_json,
    "state": fuzz_state,
    "step": fuzz_step,
    "tags": fuzz_tags,
    "run_id": fuzz_run_id,
    "token": fuzz_token,
    "zlib": fuzz_zlib,
    "zstd": fuzz_zstd,
    "seal": fuzz_seal,
    "settings": fuzz_settings,
    **MESSAGE_TARGETS,
}


def _sort(error: SequentialError) -> str:
    """Return what sort of error it is: its sentence without numbers and quotes."""
    return re.sub(r"[\d,]+|'[^']*'|\"[^\"]*\"|`[^`]*`", "#", str(error))[:120]


# -- mutating

_TOKENS = [
    *(b"[", b"]", b"{", b"}", b'"', b":", b",", b"\\", b"null", b"true", b"-0.0", b"1e999", b"NaN"),
    *(
        b'{"$":"',
        b'","v":',
        b'"tuple"',
        b'"set"',
        b'"dict"',
        b'"decimal"',
        b'"datetime"',
        b'"path"',
    ),
    *(b'"bytes"', b'"timedelta"', b'"uuid"', b'"time"', b'"date"', b"\\ud800", b"\\u0000", b"\x00"),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"9" * 30,
        b"-1",
        b"2" * 400,
        b"[" * 70,
        b"]" * 70,
    ),
    *(b"\x01", b"\n", b"=", b"%2e", b"..", b"/", b"~", b"'", b";", b" ", b"inf", b"1970-01-01"),
]


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Return *data* after a few random changes."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        at = draw.randrange(len(found) + 1)
        end = min(len(found), at + draw.choice((1, 1, 2, 4, 16, 64)))
        match draw.randrange(7):
            case 0:
                found[at:at] = draw.choice(_TOKENS)
            case 1:
                del found[at:end]
            case 2:
                found[at:at] = found[at:end] * draw.choice((1, 2, 40))
            case 3:
                found[at:end] = bytes(draw.randrange(256) for _ in range(end - at))
            case 4:
                found[at:end] = bytes(byte ^ 1 << draw.randrange(8) for byte in found[at:end])
            case 5:
                other = draw.choice(others)
                start = draw.randrange(len(other) + 1)
                found[at:end] = other[start : start + draw.choice((1, 8, 64, 512))]
            case _:
                found[at:end] = draw.choice(_TOKENS)
    return bytes(found[:LONGEST])


def corpus(name: str) -> list[bytes]:
    """Return the kept inputs of the target *name*, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def played(name: str, seed: int) -> Iterator[bytes]:
    """Play inputs of the target *name* for ever, giving each after it held.

    Raises:
        AssertionError: One did not hold; it was written into the corpus.
    """
    draw, target = random.Random(f"{name} {seed}"), TARGETS[name]
    kept = corpus(name)
    seen: set[str] = set()
    for data in kept:
        seen.add(target(data))
        yield data
    while True:
        data = mutated(draw.choice(kept), kept, draw)
        try:
            answer = target(data)
        except Exception as error:
            path = CORPUS / name / f"failed-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            raise AssertionError(f"{name}, seed {seed}: {error!r}; kept in {path}") from error
        if answer not in seen and len(kept) < 2000:
            seen.add(answer)
            kept.append(data)
        yield data


def main(seconds: float, seed: int) -> None:
    """Play every target for its share of *seconds*, and say how far it got."""
    for name in TARGETS:
        end = time.monotonic() + seconds / len(TARGETS)
        count = 0
        for _ in played(name, seed):
            count += 1
            if time.monotonic() > end:
                break
        print(f"{name}: {count:,} inputs held, seed {seed}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**6)
