"""URLs, keys, sealing, the server's time, and values beside another storage: no faults here."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential import Sequential
from sequential._memory import MemoryStorage
from sequential.errors import ConfigError, RecordCorrupt, ValueCorrupt
from sequential.storage import Query, Status, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import (
    applied,
    found,
    ids,
    make_run,
    make_step,
    numbers,
)
from sequential_s3 import plugin
from sequential_s3.head import SEAL
from sequential_s3.keys import Keys, Marker, bits, name_of
from sequential_s3.server_time import ServerTime
from sequential_s3.storage import S3Storage
from sequential_s3.url import S3Settings, read_s3_url
from tests.s3.faults import Faults

# -- URLs


def test_a_url_says_where_and_how() -> None:
    assert read_s3_url("s3://flows") == S3Settings("flows")
    assert read_s3_url(
        "s3://flows/a/b%20c/?endpoint=http://127.0.0.1:9000&region=eu-central-1"
        "&addressing=path&kms_key=arn:aws:kms:x&profile=p&timeout=2.5"
    ) == S3Settings(
        "flows", "a/b c", "http://127.0.0.1:9000", "eu-central-1", "path", "arn:aws:kms:x", "p", 2.5
    )
    assert read_s3_url("s3://flows/a").name == "s3://flows/a"


@pytest.mark.parametrize(
    "url",
    [
        "s3:",
        "s3://",
        "s3:///prefix",
        "s3://x",
        "s3://key:hidden@flows/prefix",
        "s3://flows/../x",
        "s3://flows/a//b",
        "s3://flows/a%00b",
        "s3://flows/" + "a" * 301,
        "s3://flows?nonsense=1",
        "s3://flows?aws_secret_access_key=hidden",
        "s3://flows?session_token=hidden",
        "s3://flows?addressing=none",
        "s3://flows?endpoint=ftp://x",
        "s3://flows?endpoint=http://user:hidden@x",
        "s3://flows?endpoint=http://x:y",
        "s3://flows?timeout=0",
        "s3://flows?timeout=nan",
        "S3://flows",
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_s3_url(url)
    assert "hidden" not in str(caught.value)


# -- keys


@given(st.lists(st.text(max_size=150), min_size=2, max_size=2, unique=True))
def test_names_are_different_and_stay_in_their_folder(texts: list[str]) -> None:
    one, other = (name_of(text) for text in texts)
    assert one != other
    assert one not in {"", ".", ".."}
    assert not set(one) & set("/!\\ \0")
    keys = Keys("p" * 300)
    assert len(keys.head(one).encode()) < 1024
    marker = Marker(one, 2**40, 1e300, 1e300, 1e300, "0" * 8, "m" + "0" * 16)
    assert len(keys.marker(marker).encode()) < 1024


@given(st.floats(0, 1e300), st.floats(0, 1e300), st.integers(1, 2**63), st.text(max_size=20))
def test_a_marker_is_read_back(at: float, wake: float, version: int, run_id: str) -> None:
    marker = Marker(name_of(run_id), version, at, wake, 1.5, "0123abcd", "mff")
    keys = Keys("x")
    assert keys.read_marker(keys.marker(marker)) == marker


@given(st.floats(0, 1e300), st.floats(0, 1e300))
def test_times_keep_their_order(one: float, other: float) -> None:
    assert (one < other) == (bits(one) < bits(other))


@pytest.mark.parametrize("key", ["", "x", "p/w/0/1/a", "p/w/0/0000000001/a!v1.0.0.0.0.s"])
def test_what_is_no_marker_is_left_alone(key: str) -> None:
    assert Keys("p").read_marker(key) is None


# -- sealing


def test_steps_are_sealed_once_there_are_many(storage: S3Storage, faults: Faults) -> None:
    run = storage.create(make_run())
    value = make_step(0).value._replace(data=b"1" * 60_000, size=60_000)
    for number in range(12):
        position = f"{number}.1" if number % 2 else str(number)
        step = make_step(number, value=value, position=position)
        run = applied(storage.commit(run, run, (step,)))
    segments = list(storage.bucket.keys(storage._keys.run("r1") + "seg/"))
    assert len(segments) == 2
    head = storage.bucket.get(storage._keys.head("r1"))
    assert head is not None
    assert len(head.data) < SEAL
    assert numbers(storage.load("r1")) == list(range(12))
    begin = len(faults.sent)
    assert numbers(storage.load("r1", after=11)) == [11]
    assert len(faults.sent) - begin == 1
    for position in ("0", "1.1"):
        with pytest.raises(RecordCorrupt, match="recorded already"):
            storage.commit(run, run, (make_step(12, position=position),))
    for free in ("1", "0.1"):
        run = applied(storage.commit(run, run, (make_step(run.version, position=free),)))


def test_another_generation_begins_without_steps(storage: S3Storage) -> None:
    run = storage.create(make_run(), (make_step(0), make_step(1)))
    run = applied(storage.commit(evolve(run, generation=1), run, (make_step(0, 1),)))
    assert list(found(storage.load("r1")).steps) == [make_step(0, 1)]


# -- finding


def test_find_reads_only_what_can_match(storage: S3Storage, faults: Faults) -> None:
    for number in range(10):
        storage.create(make_run(f"r{number}", flow="f" if number else "wanted"))
    begin = len(faults.sent)
    assert ids(storage.find(Query(flow="wanted", statuses=[Status.PAUSED])).runs) == ["r0"]
    assert faults.sent[begin:] == ["ListObjectsV2", "GetObject"]


# -- time


def test_the_servers_time_is_known_better_than_to_the_second() -> None:
    told = ServerTime(FakeClock())
    real = 1_800_000_000.25 - time.monotonic()
    for wait in range(20):
        sent = 1000.0 + wait * 0.15
        shown = int(real + sent)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(shown))
        told.learn(date, sent, sent + 0.01)
    assert told._ahead is not None
    assert abs(told._ahead - real) < 0.2


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "Mon, 23 Nov 2026 00:0"]
)
def test_an_answer_without_a_date_tells_nothing(date: str | None) -> None:
    told = ServerTime(FakeClock())
    told.learn(date, 1.0, 2.0)
    assert not told.known


# -- values of another storage


def test_large_values_live_in_s3_and_the_run_elsewhere(
    s3_url: str, storage: S3Storage, clock: FakeClock
) -> None:
    runs = MemoryStorage(clock)
    with Sequential(runs, values=s3_url, plugins=[plugin], clock=clock) as app:
        both = app.storage
        run = both.create(make_run(status=Status.COMPLETED))
        digest = both.put_value("r1", b"large")
        kept = both.put_value("r10", b"large")
        owner = f"{runs.deployment}.r1"
        assert both.get_value("r1", digest) == storage.get_value(owner, digest) == b"large"
        assert runs._values == {}
        assert both.purge(run)
        with pytest.raises(ValueCorrupt):
            storage.get_value(owner, digest)
        assert both.get_value("r10", kept) == b"large"
        assert "values in s3://" in app.probe().storage


def test_the_plugin_opens_it(s3_url: str) -> None:
    with Sequential(s3_url, "poll:", plugins=[plugin]) as app:
        assert app.storage.deployment
