"""What a transport URL may say, and that no secret in it is repeated."""

from __future__ import annotations

import pytest

from sequential.errors import ConfigError
from sequential.testing import FakeClock
from sequential_sqs.plugin import open_sqs
from sequential_sqs.transport import SqsTransport
from sequential_sqs.url import SqsSettings, read_sqs_url


def test_a_queue_is_enough() -> None:
    settings = read_sqs_url("sqs://flows")
    assert settings == SqsSettings("flows")
    assert settings.name == "sqs://flows"
    assert not settings.fifo


def test_every_option_is_read() -> None:
    url = (
        "sqs://flows.fifo?account=123456789012&region=eu-central-1&endpoint=http://127.0.0.1:1"
        "&profile=work&dead=late.fifo&wait=20s&visibility=90&threads=16&timeout=2.5s"
    )
    settings = read_sqs_url(url)
    assert settings == SqsSettings(
        "flows.fifo",
        "123456789012",
        "eu-central-1",
        "http://127.0.0.1:1",
        "work",
        "late.fifo",
        20,
        90,
        16,
        2.5,
    )
    assert settings.fifo


def test_opening_asks_nothing_of_the_server() -> None:
    transport = open_sqs("sqs://flows?endpoint=http://127.0.0.1:1", FakeClock())
    assert isinstance(transport, SqsTransport)
    assert transport.longest_delay == 900
    transport.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqs://",
        "sqs:flows",
        "sqs:///flows",
        "sqs://fl/ows",
        "sqs://flöws",
        "sqs://flows.fifo.fifo",
        f"sqs://{'q' * 81}",
        "sqs://flows?wait=0s",
        "sqs://flows?wait=21s",
        "sqs://flows?wait=1.5s",
        "sqs://flows?wait=soon",
        "sqs://flows?visibility=1s",
        "sqs://flows?visibility=43201s",
        "sqs://flows?threads=0",
        "sqs://flows?threads=-1",
        "sqs://flows?threads=many",
        "sqs://flows?timeout=0",
        "sqs://flows?timeout=nan",
        "sqs://flows?account=12",
        "sqs://flows?dead=late.fifo",
        "sqs://flows.fifo?dead=late",
        "sqs://flows?dead=https://sqs.eu-central-1.amazonaws.com/123456789012/late",
        "sqs://flows?endpoint=ftp://x",
        "sqs://flows?endpoint=http://x:port",
        "sqs://flows?speed=high",
        "sqs://flows?wait=1s&wait=2s",
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used; "):
        read_sqs_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqs://AKIA:hush@flows",
        "sqs://AKIA:hush@flows?region=us-east-1",
        "sqs://flows?aws_secret_access_key=hush",
        "sqs://flows?token=hush",
        "sqs://flows?endpoint=http://AKIA:hush@127.0.0.1",
        "sqs://flows?dead=AKIA:hush@late",
    ],
)
def test_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_sqs_url(url)
    assert "hush" not in str(refused.value)
