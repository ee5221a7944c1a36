"""What the options of a URL change in the requests that are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from sequential.storage import Query, Status, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import applied, found, ids, make_run, make_step
from sequential_s3.storage import S3Storage
from sequential_s3.url import read_s3_url
from tests.s3.faults import Faults, reply


@contextmanager
def listening(url: str) -> Iterator[tuple[S3Storage, list[Any]]]:
    """Give a storage at *url*, and the requests that it sends."""
    sent: list[Any] = []

    def note(request: Any, **_: object) -> None:
        sent.append(request)

    storage = S3Storage(read_s3_url(url), FakeClock())
    storage.bucket.client.meta.events.register_first("before-send.s3", note)
    try:
        yield storage, sent
    finally:
        storage.close()


def use(storage: S3Storage) -> None:
    run = storage.create(make_run(status=Status.COMPLETED), (make_step(0),))
    storage.put_value("r1", b"large")
    run = applied(storage.commit(evolve(run, owner="me"), run))
    assert ids(storage.find(Query()).runs) == ["r1"]
    assert storage.purge(run)
    assert found(storage.load("r1")).run.status is Status.PURGED


def test_every_object_is_encrypted_with_the_key_that_is_named(s3_url: str) -> None:
    with listening(f"{s3_url}&kms_key=alias/flows") as (storage, sent):
        use(storage)
        assert storage.bucket.client.head_object(
            Bucket=storage.bucket.settings.bucket, Key=storage._keys.head("r1")
        )["SSEKMSKeyId"]
    puts = [each for each in sent if each.method == "PUT"]
    assert {each.headers["x-amz-server-side-encryption"] for each in puts} == {b"aws:kms"}
    named = "x-amz-server-side-encryption-aws-kms-key-id"
    assert {each.headers[named] for each in puts} == {b"alias/flows"}
    assert len(puts) >= 6


def test_without_a_key_the_bucket_decides(s3_url: str) -> None:
    with listening(s3_url) as (storage, sent):
        use(storage)
    assert not [each for each in sent if "x-amz-server-side-encryption" in each.headers]


def test_nothing_is_read_or_written_outside_of_the_prefix(s3_url: str) -> None:
    with listening(s3_url) as (storage, sent):
        use(storage)
        inside = f"/{storage.bucket.settings.bucket}/{storage.bucket.settings.prefix}/"
    for each in sent:
        parts = urlsplit(each.url)
        prefixes = parse_qs(parts.query).get("prefix", [])
        if each.method == "POST":
            assert "delete" in parts.query
        elif prefixes:
            assert prefixes[0].startswith(inside.split("/", 2)[2])
        else:
            assert parts.path.startswith(inside)


@pytest.mark.parametrize(
    ("addressing", "host", "path"),
    [("virtual", "flows.s3.example.org", "/a/"), ("path", "s3.example.org", "/flows/a/")],
)
def test_the_bucket_is_in_the_host_or_in_the_path(
    addressing: str, host: str, path: str, s3_session: None
) -> None:
    url = f"s3://flows/a?endpoint=https://s3.example.org&region=r&addressing={addressing}"
    with listening(url) as (storage, sent):
        storage.bucket.client.meta.events.register("before-send.s3", answered)
        storage.put_value("r1", b"large")
    assert [urlsplit(each.url).hostname for each in sent] == [host]
    assert urlsplit(sent[0].url).path.startswith(path)


def answered(request: Any, **_: object) -> Any:
    return reply(200)(cast("Faults", None), request)
