"""What boto3's errors say, as sentences with the next thing to do.

The only module that knows the classes of botocore and the codes of SQS. No message repeats a
header, a signature or a key.
"""

from __future__ import annotations

from botocore import exceptions as boto  # type: ignore[import-untyped]

DRIVER_ERRORS = (boto.BotoCoreError, boto.ClientError, OSError, ValueError)

_NO_QUEUE = "create the queue, or correct its name, region= or account= in the transport URL"
_REMEDIES = {
    "QueueDoesNotExist": _NO_QUEUE,
    "NonExistentQueue": _NO_QUEUE,
    "QueueDeletedRecently": "a queue of that name was just deleted; wait a minute",
    "AccessDenied": "allow sqs:GetQueueUrl and sqs:SendMessage on the queue, and for a worker"
    " sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility",
    "InvalidClientTokenId": "the access key is not known there; look at the credentials",
    "UnrecognizedClientException": "the access key is not known there; look at the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong, or the clock of this machine; look at both",
    "ExpiredToken": "the credentials have expired; get new ones",
    "ExpiredTokenException": "the credentials have expired; get new ones",
    "KmsAccessDenied": "allow kms:GenerateDataKey and kms:Decrypt on the queue's key",
    "KmsDisabled": "enable the queue's KMS key",
    "KmsNotFound": "there is no such KMS key; correct the queue's settings",
    "OverLimit": "120,000 messages are in flight; start more workers, or look why none ends",
    "RequestThrottled": "SQS has too much to do; it is asked again later",
}
_NAMES = {"AccessDeniedException": "AccessDenied"}


def explain(error: Exception) -> str:
    """Return *error* as a sentence with the next thing to do."""
    if isinstance(error, boto.ClientError):
        found = error.response.get("Error", {})
        return sentence(str(found.get("Code", "")), str(found.get("Message") or ""))
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return "there are no credentials; set AWS_ACCESS_KEY_ID, name a profile, or give a role"
    if isinstance(error, boto.NoRegionError):
        return "there is no region; name it with region= in the transport URL, or set AWS_REGION"
    return f"{type(error).__name__}: {str(error)[:200]}"


def sentence(code: str, said: str) -> str:
    """Return an error's code and message, and what to do about it."""
    # `AWS.SimpleQueueService.NonExistentQueue` in one protocol is `QueueDoesNotExist` in another.
    short = code.rpartition(".")[2]
    remedy = _REMEDIES.get(_NAMES.get(short, short), "")
    return "; ".join(part for part in (f"{short}: {said.rstrip('.')[:200]}", remedy) if part)
