"""The deployment template: linted, and the numbers in it that a linter cannot know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).parents[2] / "docs/examples/lambda/template.yaml"


def lint(path: Path) -> str:
    """Return what the linter says against the template at *path*."""
    # That the code must be packaged first is written at the template's head.
    command = [str(Path(sys.executable).with_name("cfn-lint")), "-i", "W3002", "--", str(path)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    return ran.stdout + ran.stderr


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads CloudFormation's short forms as a pair of name and argument."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> tuple[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return suffix, loader.construct_scalar(node)
    assert isinstance(node, yaml.SequenceNode)
    return suffix, loader.construct_sequence(node, deep=True)


Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found = yaml.load(TEMPLATE.read_text("utf-8"), Loader)["Resources"]
    return {name: resource.get("Properties", {}) for name, resource in found.items()}


def statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    (policy,) = resources["Role"]["Policies"]
    listed: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return listed


def test_the_linter_has_nothing_against_it() -> None:
    assert lint(TEMPLATE) == ""


def test_the_linter_can_find_something(tmp_path: Path) -> None:
    text = TEMPLATE.read_text("utf-8")
    mistakes = {
        "RecursiveLoop: Allow": "RecursiveLoop: Sometimes",
        "!GetAtt Queue.Arn": "!GetAtt Quay.Arn",
        "[ReportBatchItemFailures]": "[Reports]",
    }
    for right, wrong in mistakes.items():
        assert right in text
        text = text.replace(right, wrong)
    broken = tmp_path / "template.yaml"
    broken.write_text(text, "utf-8")
    found = lint(broken)
    assert all(f"'{word}' is not one of" in found for word in ("Sometimes", "Quay", "Reports"))


def test_a_message_is_kept_from_others_for_six_invocations(resources: dict[str, Any]) -> None:
    assert resources["Queue"]["VisibilityTimeout"] >= 6 * resources["Function"]["Timeout"]


def test_a_message_has_five_tries_before_it_is_dead(resources: dict[str, Any]) -> None:
    redrive = resources["Queue"]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] >= 5
    assert redrive["deadLetterTargetArn"] == ("GetAtt", "DeadLetters.Arn")
    kept = [resources[name]["MessageRetentionPeriod"] for name in ("Queue", "DeadLetters")]
    assert kept == [14 * 86_400] * 2


def test_failures_are_reported_one_by_one_and_the_loop_is_allowed(
    resources: dict[str, Any],
) -> None:
    assert resources["Resume"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert resources["Resume"]["EventSourceArn"] == ("GetAtt", "Queue.Arn")
    assert resources["Function"]["RecursiveLoop"] == "Allow"


def test_something_sweeps(resources: dict[str, Any]) -> None:
    assert resources["Sweep"]["ScheduleExpression"] == "rate(1 minute)"
    assert resources["Sweep"]["Targets"] == [{"Id": "function", "Arn": ("GetAtt", "Function.Arn")}]


def test_somebody_is_told_of_dead_letters(resources: dict[str, Any]) -> None:
    (dimension,) = resources["DeadLettersAlarm"]["Dimensions"]
    assert dimension["Value"] == ("GetAtt", "DeadLetters.QueueName")
    assert resources["DeadLettersAlarm"]["Threshold"] == 0


def test_the_role_may_do_what_is_needed_and_no_more(resources: dict[str, Any]) -> None:
    allowed = set()
    for statement in statements(resources):
        asked = statement["Action"]
        for action in [asked] if isinstance(asked, str) else asked:
            allowed.add((action, statement["Resource"][1]))
    assert allowed == {
        ("s3:GetObject", "${Bucket.Arn}/runs/*"),
        ("s3:PutObject", "${Bucket.Arn}/runs/*"),
        ("s3:DeleteObject", "${Bucket.Arn}/runs/*"),
        ("s3:ListBucket", "Bucket.Arn"),
        ("sqs:GetQueueUrl", "Queue.Arn"),
        ("sqs:SendMessage", "Queue.Arn"),
        ("sqs:ChangeMessageVisibility", "Queue.Arn"),
        ("sqs:GetQueueAttributes", "Queue.Arn"),
        ("sqs:ReceiveMessage", "Queue.Arn"),
        ("sqs:DeleteMessage", "Queue.Arn"),
        ("sqs:GetQueueUrl", "DeadLetters.Arn"),
        ("sqs:SendMessage", "DeadLetters.Arn"),
        ("logs:CreateLogStream", "Log.Arn"),
        ("logs:PutLogEvents", "Log.Arn"),
    }
    assert all(statement["Effect"] == "Allow" for statement in statements(resources))


def test_nothing_is_open_or_unsealed(resources: dict[str, Any]) -> None:
    assert set(resources["Bucket"]["PublicAccessBlockConfiguration"].values()) == {True}
    sealed = [resources[name]["SqsManagedSseEnabled"] for name in ("Queue", "DeadLetters")]
    assert sealed == [True, True]
