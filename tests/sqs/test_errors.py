"""What boto3's errors become: sentences with the next thing to do, and no secret in them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from botocore import exceptions as boto  # type: ignore[import-untyped]

from sequential._clock import SYSTEM_CLOCK
from sequential.errors import TransportError
from sequential.hookspecs import ResumeMessage
from sequential_sqs.driver_errors import DRIVER_ERRORS, explain
from sequential_sqs.plugin import open_sqs

ERRORS: dict[str, tuple[Exception, str]] = {
    "no credentials": (boto.NoCredentialsError(), "set AWS_ACCESS_KEY_ID, name a profile"),
    "no region": (boto.NoRegionError(), "name it with region= in the transport URL"),
    "no connection": (
        boto.EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
        "EndpointConnectionError: Could not connect",
    ),
    "no answer": (
        boto.ReadTimeoutError(endpoint_url="http://127.0.0.1:9"),
        "ReadTimeoutError: Read timeout",
    ),
    "no profile": (boto.ProfileNotFound(profile="work"), "could not be found"),
    "no endpoint": (ValueError("Invalid endpoint: http://-"), "ValueError: Invalid endpoint"),
}


def refused(code: str, said: str = "No.") -> Exception:
    error: Exception = boto.ClientError({"Error": {"Code": code, "Message": said}}, "SendMessage")
    return error


@pytest.mark.parametrize(("error", "words"), ERRORS.values(), ids=ERRORS)
def test_an_error_on_the_way_is_a_sentence(error: Exception, words: str) -> None:
    assert isinstance(error, DRIVER_ERRORS)
    assert words in explain(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "create the queue"),
        ("QueueDoesNotExist", "create the queue"),
        ("AccessDenied", "allow sqs:GetQueueUrl and sqs:SendMessage"),
        ("AccessDeniedException", "allow sqs:GetQueueUrl and sqs:SendMessage"),
        ("InvalidClientTokenId", "look at the credentials"),
        ("ExpiredToken", "get new ones"),
        ("KmsAccessDenied", "kms:GenerateDataKey"),
        ("OverLimit", "start more workers"),
    ],
)
def test_an_answer_of_sqs_says_what_to_do(code: str, words: str) -> None:
    said = explain(refused(code))
    assert said.startswith(f"{code.rpartition('.')[2]}: No; ")
    assert words in said


def test_an_unknown_answer_is_repeated_and_no_more() -> None:
    assert explain(refused("Strange", "x" * 1000)) == f"Strange: {'x' * 200}"


@pytest.mark.parametrize("variables", [{"AWS_PROFILE": "nobody-has-it"}, {}])
def test_what_keeps_a_client_from_being_made_is_no_error_of_boto3(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], tmp_path: Any
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    transport = open_sqs("sqs://flows", SYSTEM_CLOCK)
    with pytest.raises(TransportError, match="sqs://flows did not take 1 of 1: "):
        transport.send([ResumeMessage("r1")])
    transport.close()


def test_importing_and_opening_bring_no_boto3() -> None:
    code = (
        "import sys, sequential_sqs.aws_lambda as module\n"
        "from sequential_sqs.plugin import open_sqs\n"
        "from sequential.testing import FakeClock\n"
        "open_sqs('sqs://flows', FakeClock())\n"
        "print(sorted({'boto3', 'botocore', 'asyncio'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "[]\n"
