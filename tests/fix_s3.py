"""S3 servers for tests: each a process on a free port of the loopback, stopped by its id.

``SEQUENTIAL_TEST_S3=s3://bucket/prefix?endpoint=…`` points the tests that need an honest server at
another one; credentials are then those of the environment. Every test gets a prefix of its own, and
on our own servers a bucket: they look through a whole bucket to list a prefix.

A server ends with the process that started it, however that ends: see `at_the_end`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guard import at_the_end

_PATIENCE = 60.0  # seconds until a server must answer
_ELSEWHERE = "SEQUENTIAL_TEST_S3"
_MOTO = Path(__file__).parent / "s3" / "moto_server.py"
_DIST = {
    "METADATA": "Metadata-Version: 2.1\nName: sequential-s3\nVersion: 0.1.0\n",
    "entry_points.txt": "[sequential]\ns3 = sequential_s3.plugin\n",
}

S3Url = Callable[[str], str]
"""Makes a storage URL from an endpoint, with a bucket that nobody used."""


@contextmanager
def serving(command: list[str], port: int, **environment: str) -> Iterator[str]:
    """Run a server in a process group of its own; give its endpoint."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        with at_the_end('kill -s KILL -- "-$1"', str(process.pid)):
            wait_for(endpoint, process)
            yield endpoint
    finally:
        process.wait(_PATIENCE)


@contextmanager
def serving_ministack(port: int = 0, **more: str) -> Iterator[str]:
    """Run an S3 server whose conditional writes are atomic; give its endpoint."""
    port = port or free_port()
    command = [str(Path(sys.executable).with_name("ministack"))]
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
    with serving(command, port, **settings, **more) as endpoint:
        yield endpoint


class OwnS3:
    """A ministack that keeps its objects in *folder*, and may be killed and started again.

    It writes an object whole and before it answers, but what it knows of it apart: should it die
    in between, the entity tag would be the old one. Without that it takes the tag from the bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = contextlib.ExitStack()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it with what it has on disk."""
        for left in (*self._folder.rglob("*.meta.json"), *self._folder.rglob("*.tmp")):
            left.unlink()
        settings = {"S3_PERSIST": "1", "S3_DATA_DIR": str(self._folder)}
        self._running.enter_context(serving_ministack(self._port, **settings))

    def kill(self) -> None:
        """End it at whatever instruction it is."""
        self._running.close()


def wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until *endpoint* answers anything."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"{process.args!r} does not answer at {endpoint}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_bucket(endpoint: str, bucket: str) -> None:
    """Make it by a request without a signature: our own servers look at none."""
    asked = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")
    urllib.request.urlopen(asked, timeout=_PATIENCE).close()


@pytest.fixture(scope="session")
def s3_credentials() -> Iterator[None]:
    """Give credentials that any emulator takes; leave those of the environment elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        if _ELSEWHERE not in os.environ:
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-for-tests")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def s3_session(s3_credentials: None) -> Iterator[None]:
    """Let all storages share one session of boto3: reading its models takes 0.1 s."""
    import boto3  # type: ignore[import-untyped]

    session = boto3.session.Session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3.session, "Session", lambda **_: session)
        yield


@pytest.fixture(scope="session")
def s3_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """See to it that other processes find the plugin, from a checkout too."""
    names = {entry.name for entry in importlib.metadata.entry_points(group="sequential")}
    if "s3" not in names:
        place = tmp_path_factory.mktemp("s3") / "sequential_s3-0.1.0.dist-info"
        place.mkdir()
        for name, text in _DIST.items():
            (place / name).write_text(text)
        sys.path.append(str(place.parent))  # spawned processes have it too


@pytest.fixture(scope="session")
def ministack(s3_session: None) -> Iterator[str]:
    """Give the endpoint of an S3 server whose conditional writes are atomic."""
    with serving_ministack() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def locked_moto(s3_session: None) -> Iterator[str]:
    """Give the endpoint of another implementation, made atomic by a lock."""
    port = free_port()
    with serving([sys.executable, str(_MOTO), str(port), "locked"], port) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def plain_moto(s3_session: None) -> Iterator[str]:
    """Give the endpoint of a server on which two writers can win."""
    port = free_port()
    with serving([sys.executable, str(_MOTO), str(port), "plain"], port) as endpoint:
        yield endpoint


@pytest.fixture
def s3_url_at(s3_installed: None) -> S3Url:
    return new_url


def new_url(endpoint: str) -> str:
    """Make a bucket on the server of ours at *endpoint*, and return a URL into it."""
    bucket = f"flows-{secrets.token_hex(6)}"
    make_bucket(endpoint, bucket)
    return f"s3://{bucket}/runs?endpoint={endpoint}&region=us-east-1&addressing=path"


@pytest.fixture
def s3_url(request: pytest.FixtureRequest, s3_url_at: S3Url, s3_session: None) -> str:
    """Give the URL of an empty storage on an honest server."""
    elsewhere = os.environ.get(_ELSEWHERE)
    if elsewhere is None:
        return s3_url_at(request.getfixturevalue("ministack"))
    address, _, options = elsewhere.partition("?")
    return f"{address.rstrip('/')}/{secrets.token_hex(6)}?{options}"


@pytest.fixture
def s3_of_environment(ministack: str, s3_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``s3://my-flows`` mean a bucket, through the variables that boto3 reads."""
    with contextlib.suppress(urllib.error.HTTPError):  # there already
        make_bucket(ministack, "my-flows")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", ministack)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
