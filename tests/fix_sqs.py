"""SQS servers for tests: ministack, which the S3 tests use too, and moto in a process of its own.

Each is wrong in its own way, so what counts is tried on both. Every test gets a queue of its own.
"""

from __future__ import annotations

import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fix_s3 import free_port, serving

_CREDENTIAL = (
    "AWS4-HMAC-SHA256 Credential=testing/20200101/{}/sqs/aws4_request,"
    " SignedHeaders=host, Signature=none"
)
_REGION = "us-east-1"


def ask(endpoint: str, operation: str, *, region: str = _REGION, **request: Any) -> Any:
    """Ask one of our own servers; they look at no signature."""
    asked = urllib.request.Request(
        endpoint,
        json.dumps(request).encode(),
        {
            "Authorization": _CREDENTIAL.format(region),
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{operation}",
        },
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def make_queue(endpoint: str, name: str, *, region: str = _REGION, **attributes: str) -> str:
    """Make a queue, and return its URL."""
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    made = ask(endpoint, "CreateQueue", region=region, QueueName=name, Attributes=attributes)
    return str(made["QueueUrl"])


def new_url(endpoint: str, *, fifo: bool = False, **options: object) -> str:
    """Make a queue on the server of ours at *endpoint*, and return its transport URL."""
    queue = f"flows-{secrets.token_hex(6)}" + (".fifo" if fifo else "")
    make_queue(endpoint, queue)
    given = {"endpoint": endpoint, "region": _REGION, "wait": "1s", **options}
    return f"sqs://{queue}?" + "&".join(f"{name}={text}" for name, text in given.items())


@pytest.fixture(scope="session")
def moto_sqs(s3_session: None) -> Iterator[str]:
    """Give the endpoint of a server that knows SQS's rules well, and is slow."""
    port = free_port()
    with serving([sys.executable, "-m", "moto.server", "-p", str(port)], port) as endpoint:
        yield endpoint


@pytest.fixture
def sqs_of_environment(ministack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``sqs://flows`` mean an empty queue, through the variables that boto3 reads."""
    region = "eu-central-1"
    for name in ("flows", "flows-dead"):
        where = make_queue(ministack, name, region=region)
        ask(ministack, "PurgeQueue", region=region, QueueUrl=where)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", ministack)
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
