"""What goes wrong for good: said in a sentence, nothing lost, and no secret shown."""

from __future__ import annotations

import contextlib
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sequential.errors import (
    RecordCorrupt,
    SchemaTooNew,
    StorageError,
    StorageForeign,
    StorageRefused,
    StorageUnavailable,
    ValueCorrupt,
)
from sequential.storage import In, Query, Status, evolve
from sequential.testing import FakeClock
from sequential.testing._storage_samples import applied, found, ids, make_run, make_step
from sequential_s3.plugin import open_s3
from sequential_s3.storage import S3Storage
from tests.fix_s3 import free_port
from tests.s3.faults import Answer, Faults, damage, half, refuse_connection, reply, time_out

SECRET = "a-secret-for-tests"
REFUSED = {
    "AccessDenied": (403, "s3:PutObject"),
    "InvalidAccessKeyId": (403, "look at the credentials"),
    "SignatureDoesNotMatch": (403, "look at the credentials"),
    "ExpiredToken": (400, "expired; get new ones"),
    "RequestTimeTooSkewed": (403, "clock of this machine"),
    "NoSuchBucket": (404, "create the bucket"),
    "AuthorizationHeaderMalformed": (400, "region="),
    "NotImplemented": (501, "use another"),
    "InsufficientStorage": (507, "make room"),
    "QuotaExceeded": (403, "raise the quota"),
    "KMS.DisabledException": (400, "enable the KMS key"),
}
PASSING: dict[str, Answer] = {
    "throttled": reply(503, "SlowDown"),
    "internal error": reply(500, "InternalError"),
    "timeout": time_out,
    "no connection": refuse_connection,
}
OPERATIONS: dict[str, Callable[[S3Storage], object]] = {
    "create": lambda storage: storage.create(make_run("new")),
    "load": lambda storage: storage.load("r1"),
    "due": lambda storage: storage.due(10, None, 30.0),
    "find": lambda storage: storage.find(Query()),
    "put_value": lambda storage: storage.put_value("r1", b"1"),
    "get_value": lambda storage: storage.get_value("r1", "0" * 64),
    "probe": lambda storage: storage.probe(),
    "commit": lambda storage: storage.commit(make_run(), make_run(version=7)),
}


def said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused_says_why_and_nothing_is_lost(
    code: str, operation: str, storage: S3Storage, faults: Faults
) -> None:
    run = storage.create(make_run(), (make_step(0),))
    status, remedy = REFUSED[code]
    faults.all(reply(status, code))
    with pytest.raises(StorageRefused) as caught:
        OPERATIONS[operation](storage)
    faults.heal()
    assert code in str(caught.value)
    assert remedy in str(caught.value)
    assert SECRET not in said(caught.value)
    loaded = found(storage.load("r1"))
    assert (loaded.run, list(loaded.steps)) == (run, [make_step(0)])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_tried_again_and_then_said(
    kind: str, operation: str, storage: S3Storage, faults: Faults
) -> None:
    run = storage.create(make_run(wake=In(0.0)), (make_step(0),))
    faults.all(PASSING[kind])
    with pytest.raises(StorageUnavailable) as caught:
        OPERATIONS[operation](storage)
    assert len(faults.sent) >= 4
    assert SECRET not in said(caught.value)
    faults.heal()
    run = applied(storage.commit(evolve(run, owner="healed"), run))
    assert found(storage.load("r1")).run == run


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("kind", [half, damage])
def test_what_lost_its_end_or_other_bytes_on_the_way_is_sent_again(
    kind: Answer, at: int, storage: S3Storage, faults: Faults
) -> None:
    faults.at(at, kind)
    run = storage.create(make_run(wake=In(0.0)), (make_step(0),))
    run = applied(storage.commit(evolve(run, status=Status.COMPLETED), run))
    faults.heal()
    loaded = found(storage.load("r1"))
    assert (loaded.run, list(loaded.steps)) == (run, [make_step(0)])
    assert ids(storage.find(Query(statuses=[Status.COMPLETED])).runs) == ["r1"]


@pytest.mark.parametrize("at", range(4))
def test_a_list_that_lost_its_end_is_not_that_of_nothing(
    at: int, storage: S3Storage, faults: Faults
) -> None:
    run = storage.create(make_run(wake=In(0.0), status=Status.COMPLETED))
    digest = storage.put_value("r1", b"large")
    faults.at(at, half)
    assert list(storage.due(10, None, 30.0)) == ["r1"]
    faults.heal()
    for number in range(0, 24, 2):
        faults.at(number, half)
    assert storage.purge(run)
    faults.heal()
    with pytest.raises(ValueCorrupt):
        storage.get_value("r1", digest)


def test_a_bucket_that_is_not_there_is_named(ministack: str, clock: FakeClock) -> None:
    storage = open_s3(f"s3://nobody/x?endpoint={ministack}&region=us-east-1", clock)
    with pytest.raises(StorageRefused, match=r"s3://nobody/x refused.*create the bucket"):
        storage.create(make_run())
    storage.close()


def test_a_server_that_is_not_there_is_unavailable(clock: FakeClock, s3_session: None) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    storage = open_s3(f"s3://flows/x?endpoint={endpoint}&region=us-east-1", clock)
    with pytest.raises(StorageUnavailable, match="s3://flows/x cannot be reached"):
        storage.load("r1")
    storage.close()


def test_without_credentials_it_says_where_they_come_from(
    ministack: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3  # type: ignore[import-untyped]
    import botocore.session  # type: ignore[import-untyped]

    bare = botocore.session.Session()
    monkeypatch.setattr(bare, "get_credentials", lambda: None)
    session = boto3.session.Session
    monkeypatch.setattr(boto3.session, "Session", lambda **_: boto3.Session(botocore_session=bare))
    assert session is not boto3.session.Session
    storage = open_s3(f"s3://flows/x?endpoint={ministack}&region=us-east-1", clock)
    with pytest.raises(StorageRefused, match="AWS_ACCESS_KEY_ID"):
        storage.load("r1")
    storage.close()


def test_a_prefix_of_something_else_is_foreign(storage: S3Storage, s3_url: str) -> None:
    storage.bucket.put(storage._keys.meta, b"<html>")
    again = open_s3(s3_url, FakeClock())
    with pytest.raises(StorageForeign, match=r"sequential\.json"):
        assert again.deployment
    says = {"format": 2, "deployment": "x"}
    storage.bucket.put(storage._keys.meta, json.dumps(says).encode())
    with pytest.raises(SchemaTooNew):
        assert again.deployment
    again.close()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"null",
        b"{}",
        b'{"v":1}',
        b'{"v":2,"run":null,"segments":[],"index":"","at":0,"nonce":""}',
        b'{"v":1,"run":[1],"segments":[],"index":"","at":0,"nonce":""}',
        b'{"v":1,"run":[],"segments":[],"index":"","at":0,"nonce":""}',
        b'{"v":1,"run":{"b":1},"segments":[],"index":"","at":0,"nonce":""}',
        b'{"v":"x","run":null,"segments":[],"index":"","at":0,"nonce":""}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_stops_nobody_else(damage: bytes, storage: S3Storage) -> None:
    storage.create(make_run("bad", wake=In(0.0)))
    storage.create(make_run("good", wake=In(0.0)))
    storage.bucket.put(storage._keys.head("bad"), damage)
    with pytest.raises(RecordCorrupt, match="is damaged"):
        storage.load("bad")
    assert list(storage.due(10, None, 30.0)) == ["good"]
    assert ids(storage.find(Query()).runs) == ["good"]
    assert storage.repair() == []


def test_a_head_of_another_run_and_a_changed_segment_are_corrupt(storage: S3Storage) -> None:
    large = make_step(0, value=make_step(0).value._replace(data=b"1" * 300_000, size=300_000))
    storage.create(make_run(), (large,))
    head = storage.bucket.get(storage._keys.head("r1"))
    assert head is not None
    storage.bucket.put(storage._keys.head("r2"), head.data)
    with pytest.raises(RecordCorrupt, match="'r1'"):
        storage.load("r2")
    (segment,) = storage.bucket.keys(storage._keys.run("r1") + "seg/")
    storage.bucket.put(segment, b"changed")
    with pytest.raises(RecordCorrupt, match="other bytes"):
        storage.load("r1")
    storage.bucket.delete([segment])
    with pytest.raises(RecordCorrupt, match="missing"):
        storage.load("r1")


# -- servers that ignore conditions


class Careless(BaseHTTPRequestHandler):
    """An S3 server in 40 lines that takes every write; *honours* names the headers it knows."""

    protocol_version = "HTTP/1.1"
    honours: tuple[str, ...] = ()
    objects: dict[str, bytes]

    def answer(self, status: int, body: bytes = b"", etag: str = "") -> None:
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        known = "If-None-Match" in self.honours and "If-None-Match" in self.headers
        if known and self.path in self.objects:
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.objects[self.path] = data
        self.answer(200, etag=f'"{hash(data)}"')

    def do_GET(self) -> None:
        data = self.objects.get(self.path)
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.answer(200, data, etag=f'"{hash(data)}"')

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self.answer(204)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def careless(honours: tuple[str, ...]) -> Iterator[str]:
    handler = type("Handler", (Careless,), {"honours": honours, "objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("honours", "ignored"), [((), "If-None-Match"), (("If-None-Match",), "If-Match")]
)
def test_a_store_that_ignores_conditions_is_refused(
    honours: tuple[str, ...], ignored: str, clock: FakeClock, s3_session: None
) -> None:
    with careless(honours) as endpoint:
        storage = open_s3(f"s3://flows/x?endpoint={endpoint}&region=us-east-1", clock)
        with pytest.raises(StorageError, match=f"ignores {ignored},"):
            storage.probe()
        storage.close()


def test_the_probe_says_what_s3_cannot_do(storage: S3Storage) -> None:
    report = storage.probe()
    assert report.max_steps == 10_000
    assert report.storage == storage.bucket.name
    assert any("transactional" in each for each in report.cannot)
    assert any("find by tags" in each for each in report.cannot)
    assert not any("DELETE" in each for each in report.cannot)
    assert "?" not in report.storage


def test_without_a_conditional_delete_the_last_head_stays(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE without a condition could hit what somebody has created meanwhile."""
    monkeypatch.setattr(storage.bucket, "delete_if", lambda *_: True)
    assert any("DELETE" in each for each in storage.probe().cannot)
    run = storage.create(make_run(status=Status.COMPLETED))
    assert storage.purge(run)
    assert storage.purge(found(storage.load("r1")).run)
    assert storage.load("r1") is None
    assert storage.bucket.get(storage._keys.head("r1")) is not None
    assert storage.create(make_run(op_id="again")).op_id == "again"
    assert ids(storage.find(Query()).runs) == ["r1"]
