"""Each trouble comes while a worker carries a run: it is said, and heals without anybody's help.

The server's refusals are made by a proxy, since no server of ours looks at credentials or has a
quota; all else is real. The trouble begins inside the second step's tool, so that what the tool
returns cannot be recorded. Afterwards every step is recorded once, and no secret was said.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import boto3.session  # type: ignore[import-untyped]
import pytest

from sequential import Registry, Sequential, Steps, flow, tool
from sequential._polling import PollingTransport
from sequential._protocol import Terms
from sequential.errors import StorageError, StorageRefused, StorageUnavailable
from sequential.storage import Status
from sequential.worker import Worker
from sequential_s3.plugin import open_s3
from tests.fix_s3 import make_bucket, new_url
from tests.s3.proxy import Cutter, Hasty, Request

PATIENCE = 60.0
SECRET = "Canary/Secret+0123456789abcdefghijklmnop"
TOKEN = "canary-session-token-0123456789"
KEY = "AKIACANARY0123456789"
TERMS = Terms(0.5, max_stalls=10_000, longest_backoff=0.1)
REFUSALS = {
    "no permission": (403, "AccessDenied", "s3:PutObject"),
    "unknown key": (403, "InvalidAccessKeyId", "look at the credentials"),
    "wrong secret": (403, "SignatureDoesNotMatch", "look at the credentials"),
    "expired credentials": (400, "ExpiredToken", "expired; get new ones"),
    "skewed clock": (403, "RequestTimeTooSkewed", "clock of this machine"),
    "disk full": (507, "InsufficientStorage", "make room"),
    "disk of MinIO full": (507, "XMinioStorageFull", "make room"),
    "quota of Ceph": (403, "QuotaExceeded", "raise the quota"),
    "bucket gone": (404, "NoSuchBucket", "create the bucket"),
}
PASSING = {
    "throttled": (503, "SlowDown", "SlowDown"),
    "broken inside": (500, "InternalError", "InternalError"),
}


class Play:
    """A flow of three steps, whose second tool brings the trouble about."""

    def __init__(self) -> None:
        self.trouble: Callable[[], object] = lambda: None
        self.done: Counter[int] = Counter()
        self.registry = Registry()

        @tool("t", "act", registry=self.registry)
        def act(number: int) -> int:
            self.done[number] += 1
            if number == 1 and self.done[1] == 1:
                self.trouble()
            return number

        @flow(name="healing", registry=self.registry)
        def healing() -> Steps[list[int]]:
            first = yield from act(0)
            second = yield from act(1)
            third = yield from act(2)
            return [first, second, third]


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials whose appearance anywhere would be noticed, in sessions that are not shared."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setattr(boto3.session, "Session", boto3.Session)


@pytest.fixture
def gate(ministack: str, canaries: None) -> Iterator[Cutter]:
    with closing(Cutter(ministack)) as made:
        yield made


@pytest.fixture
def url(ministack: str, gate: Cutter) -> str:
    return f"{new_url(ministack).replace(ministack, gate.endpoint)}&timeout=0.3"


@contextmanager
def working(url: str, play: Play) -> Iterator[Sequential]:
    """Give an application, with a worker at work in it."""
    storage = open_s3(url, Hasty())
    transport = PollingTransport(0.1)
    with Sequential(
        storage, transport, "every-step", plugins=[], registry=play.registry, terms=TERMS
    ) as app:
        worker = Worker(app, 1, grace=10.0)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield app
        finally:
            worker.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def status_of(app: Sequential) -> Status | None:
    try:
        return app.get("r1").status
    except StorageError:
        return None


def healed(play: Play, url: str, gate: Cutter, logs: pytest.LogCaptureFixture) -> StorageError:
    """Let the trouble come and go; return the error that a client was told."""
    calm = gate.refuse, gate.decide
    there = threading.Event()
    bring = play.trouble

    def trouble() -> None:
        bring()
        there.set()

    play.trouble = trouble
    with logs.at_level(logging.WARNING), working(url, play) as app:
        app.start("healing", run_id="r1")
        assert there.wait(PATIENCE)
        with pytest.raises(StorageError) as told:
            app.start("healing", run_id="r2")
        until(lambda: "the invocation broke off" in logs.text)
        until(lambda: "look for due runs" in logs.text)
        gate.refuse, gate.decide = calm
        until(lambda: status_of(app) is Status.COMPLETED)
        assert [step.number for step in app.steps("r1")] == [0, 1, 2]
        assert app.run("healing", run_id="r1") == [0, 1, 2]
    # The one that could not be recorded was done again, and no other.
    assert {number: count > 1 for number, count in play.done.items() if number < 3} == {
        0: False, 1: True, 2: False,
    }  # fmt: skip
    said = "".join(traceback.format_exception(told.value)) + logs.text
    for secret in (SECRET, TOKEN):
        assert secret not in said
    return told.value


@pytest.mark.parametrize("kind", REFUSALS | PASSING)
def test_what_a_server_refuses_is_said_and_heals(
    kind: str, url: str, gate: Cutter, caplog: pytest.LogCaptureFixture
) -> None:
    status, code, remedy = (REFUSALS | PASSING)[kind]
    play = Play()
    play.trouble = lambda: setattr(gate, "refuse", lambda _: (status, code))
    error = healed(play, url, gate, caplog)
    assert isinstance(error, StorageRefused if kind in REFUSALS else StorageUnavailable)
    assert code in str(error)
    assert remedy in str(error)


@pytest.mark.parametrize("fate", ["hang", "before"])
def test_a_network_that_is_down_is_said_and_heals(
    fate: str, url: str, gate: Cutter, caplog: pytest.LogCaptureFixture
) -> None:
    play = Play()
    play.trouble = lambda: setattr(gate, "decide", lambda _: fate)
    error = healed(play, url, gate, caplog)
    assert isinstance(error, StorageUnavailable)
    assert "cannot be reached" in str(error)


def test_new_credentials_are_found_without_a_restart(
    url: str, gate: Cutter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request) -> tuple[int, str] | None:
        sent = dict(request.headers)["Authorization"]
        return None if "Credential=AKIANEW/" in sent else (400, "ExpiredToken")

    with closing(open_s3(url, Hasty())) as storage:
        assert storage.deployment
        gate.refuse = refuse
        with pytest.raises(StorageRefused, match="expired; get new ones"):
            storage.load("r1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEW")
        assert storage.load("r1") is None


def test_a_bucket_that_is_made_later_is_used(ministack: str, canaries: None) -> None:
    play = Play()
    bucket = f"later-{os.getpid()}"
    with closing(
        open_s3(f"s3://{bucket}/x?endpoint={ministack}&region=us-east-1", Hasty())
    ) as storage:
        with pytest.raises(StorageRefused, match="create the bucket"):
            assert storage.deployment
        make_bucket(ministack, bucket)
        with Sequential(storage, plugins=[], registry=play.registry) as app:
            assert app.run("healing") == [0, 1, 2]


# -- other processes see no secret


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_no_secret_is_in_a_list_of_processes_or_in_what_a_worker_prints(
    url: str, gate: Cutter, s3_installed: None, tmp_path: Path
) -> None:
    shop = tmp_path / "shop.py"
    shop.write_text("from sequential import flow\n\n@flow\ndef order():\n    yield from ()\n")
    gate.refuse = lambda request: (403, "AccessDenied") if request.method == "GET" else None
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "sequential", "worker", "--storage", url, "--load", "shop.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: gate.requests > 0)
        lines = command_lines()
        until(lambda: "AccessDenied" in said.read_text())
    finally:
        worker.kill()
        worker.wait(PATIENCE)
    assert any(gate.endpoint in line for line in lines)
    for secret in (SECRET, TOKEN):
        assert not any(secret in line for line in lines)
        assert secret not in said.read_text()
