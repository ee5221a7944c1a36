"""What boto3's errors mean: lost, in conflict, passing, unsure, or refused.

The only module that knows the classes of botocore and the codes of S3 servers. No message repeats
a header, a signature or a key.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from botocore import exceptions as boto  # type: ignore[import-untyped]

from sequential.errors import StorageError, StorageRefused, StorageUnavailable

DRIVER_ERRORS = (boto.BotoCoreError, boto.ClientError, OSError)


class Meaning(Enum):
    """What an error says about a request."""

    MISSING = auto()  # no such key
    LOST = auto()  # a condition did not hold
    CONFLICT = auto()  # another write was under way: nothing is known of who won
    PASSING = auto()  # nothing was written, try again
    UNSURE = auto()  # nobody knows whether it was done
    REFUSED = auto()  # and it will be


_FULL = "the store or a quota of it is full; make room, or raise the quota"
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct its name in the storage URL",
    "AccessDenied": "allow s3:GetObject, s3:PutObject, s3:DeleteObject on the prefix, and"
    " s3:ListBucket on the bucket",
    "AllAccessDisabled": "the bucket is closed; ask its owner",
    "InvalidAccessKeyId": "the access key is not known there; look at the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; look at the credentials",
    "ExpiredToken": "the credentials have expired; get new ones",
    "ExpiredTokenException": "the credentials have expired; get new ones",
    "InvalidToken": "the session token is wrong; get new credentials",
    "TokenRefreshRequired": "the credentials have expired; get new ones",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "RequestExpired": "the clock of this machine is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; name it with region=",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name it with region=",
    "IllegalLocationConstraintException": "the bucket is in another region; name it with region=",
    "NotImplemented": "this server cannot do what Sequential needs; use another",
    "KMS.DisabledException": "enable the KMS key",
    "KMS.NotFoundException": "there is no such KMS key; correct kms_key=",
    "InsufficientStorage": _FULL,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
}
_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
    }
)
_DAMAGED = frozenset({"BadDigest", "IncompleteBody"})  # on the way; nothing was written
_TELLING = {"put_object": "ETag", "get_object": "ETag", "list_objects_v2": "IsTruncated"}
_SLOW = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequestsException"})


def meaning(error: Exception) -> Meaning:
    """Return what *error* says about the request that raised it."""
    if isinstance(error, boto.ClientError):
        return _meaning_of(_code(error), _status(error))
    if isinstance(error, (boto.ConnectTimeoutError, boto.EndpointConnectionError)):
        return Meaning.PASSING
    if isinstance(error, (boto.HTTPClientError, boto.IncompleteReadError, OSError)):
        return Meaning.UNSURE
    return Meaning.REFUSED


def _meaning_of(code: str, status: int) -> Meaning:
    if code == "NoSuchBucket":
        return Meaning.REFUSED
    if code in _SLOW | _DAMAGED or status in {429, 503}:
        return Meaning.PASSING
    if code == "RequestTimeout" or status >= 500:
        return Meaning.REFUSED if status in {501, 507} else Meaning.UNSURE
    return {404: Meaning.MISSING, 412: Meaning.LOST, 409: Meaning.CONFLICT}.get(
        status, Meaning.REFUSED
    )


def is_of_credentials(error: Exception) -> bool:
    """Tell whether other credentials may help: these are too old, wrong, or none."""
    if isinstance(error, boto.ClientError):
        return _code(error) in _CREDENTIALS
    return isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError))


def refuse_half(operation: str, answer: Any) -> None:
    """Raise an error if *answer* has lost its end; boto3 notices only a body that is too short.

    Without the end of its headers a list looks like that of nothing.
    """
    found = answer["ResponseMetadata"]
    headers = found["HTTPHeaders"]
    known = headers.get("content-length") or headers.get("transfer-encoding")
    whole = known or found["HTTPStatusCode"] == 204
    if not whole or _TELLING.get(operation, "ResponseMetadata") not in answer:
        raise boto.ResponseStreamingError(error="the answer has no end")


def translate(error: Exception, name: str) -> StorageError:
    """Return *error* as one of the contract's; it must not have left a write unsure."""
    if meaning(error) is Meaning.REFUSED:
        return StorageRefused(name, explain(error))
    return StorageUnavailable(name, explain(error))


def explain(error: Exception) -> str:
    """Return *error* as a sentence with the next thing to do."""
    if isinstance(error, boto.ClientError):
        code = _code(error)
        said = str(error.response.get("Error", {}).get("Message") or "").rstrip(".")[:200]
        remedy = _REMEDIES.get(code) or _remedy(_status(error))
        return "; ".join(part for part in (f"{code}: {said}", remedy) if part)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return "there are no credentials; set AWS_ACCESS_KEY_ID, name a profile, or give a role"
    return f"{type(error).__name__}: {str(error)[:200]}"


def _remedy(status: int) -> str:
    if status == 507:
        return _FULL
    if status == 403:
        return _REMEDIES["AccessDenied"]
    if status in {301, 307, 308}:
        return _REMEDIES["PermanentRedirect"]
    return ""


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
