"""What an S3 storage tries out on itself: above all, that the server honours conditions.

A store that ignores them would let two writers win; it is refused.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from sequential.errors import StorageError
from sequential.storage import Probe, Storage, try_contract

from .bucket import TRIES, Bucket, Failed, Put
from .driver_errors import translate
from .keys import Keys

MAX_STEPS = 10_000

_CANNOT = (
    "commit a tool's writes together with its step: no transactional steps",
    "wake runs to the second: some are woken up to a minute late",
    "find by tags, by wake time or by anything among many runs, without reading each record",
    "take more than a few commits a second for one run",
    "keep its promises across regions: the bucket must be in one",
)


def probe(storage: Storage, bucket: Bucket, keys: Keys) -> Probe:
    """Try the conditions and the contract.

    Raises:
        StorageError: Something does not hold; the message says what.
    """
    checks = _try_conditions(bucket, f"{keys.meta}.probe-{secrets.token_hex(8)}")
    cannot: tuple[str, ...] = _CANNOT
    if not deletes_conditionally(bucket, keys):
        cannot = (*cannot, "remove the last few bytes of purged runs: it has no conditional DELETE")
    return Probe(bucket.name, (*checks, *try_contract(storage, bucket.name)), cannot, MAX_STEPS)


def _try_conditions(bucket: Bucket, key: str) -> tuple[str, ...]:
    try:
        first = _put(bucket, key, b"1", None)
        if isinstance(first, Failed):
            raise translate(first.error, bucket.name) from first.error
        if isinstance(bucket.put_if(key, b"2", None), str):
            _refuse(bucket, "If-None-Match")
        second = _put(bucket, key, b"3", first)
        if isinstance(second, Failed):
            raise translate(second.error, bucket.name) from second.error
        if isinstance(bucket.put_if(key, b"4", first), str):
            _refuse(bucket, "If-Match")
        stored = bucket.get(key)
        if stored is None or (stored.data, stored.etag) != (b"3", second):
            raise StorageError(f"{bucket.name} does not give back what was written last")
        if key not in bucket.keys(key):
            raise StorageError(f"{bucket.name} does not list what was written")
    finally:
        with suppress(StorageError):
            bucket.delete([key])
    return (
        "PUT honours If-None-Match and If-Match",
        "what was written is read and listed at once",
    )


def _put(bucket: Bucket, key: str, data: bytes, etag: str | None) -> str | Failed:
    """Write the object; again if nothing was written, and that may help."""
    for attempt in range(TRIES - 1):
        answer = bucket.put_if(key, data, etag)
        if not isinstance(answer, Failed) or answer.why not in {Put.PASSING, Put.CONFLICT}:
            return answer
        bucket.pause(attempt)
    return bucket.put_if(key, data, etag)


def _refuse(bucket: Bucket, header: str) -> None:
    raise StorageError(
        f"{bucket.name} ignores {header}, so that two writers can both win;"
        " use a store with conditional writes"
    )


def deletes_conditionally(bucket: Bucket, keys: Keys) -> bool:
    """Tell whether DELETE honours If-Match here."""
    key = f"{keys.meta}.delete-{secrets.token_hex(8)}"
    bucket.put(key, b"1")
    try:
        refused = not bucket.delete_if(key, '"0123456789abcdef0123456789abcdef"')
        return refused and bucket.get(key) is not None
    finally:
        bucket.delete([key])
