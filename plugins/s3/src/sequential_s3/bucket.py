"""Requests to one bucket: what is safe to repeat is repeated, what is conditional is sent once.

Owns the client, its settings and the time that answers tell. Knows keys and bytes, and no run.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from enum import Enum, auto
from functools import partial
from typing import Any, NamedTuple

from sequential.errors import StorageRefused
from sequential.storage import Clock

from .server_time import ServerTime
from .url import S3Settings

TRIES = 4
"""How often a request is sent that may be sent again."""

_FIRST_PAUSE = 0.1  # seconds, doubled with each further try
_DELETED_AT_ONCE = 1000


class Stored(NamedTuple):
    """An object: its bytes, and the entity tag that names this version of it."""

    data: bytes
    etag: str


class Put(Enum):
    """What became of a conditional PUT that was not done."""

    LOST = auto()  # the condition did not hold
    CONFLICT = auto()  # another write was under way; nothing was written
    PASSING = auto()  # the server was not reached, or busy; nothing was written
    UNSURE = auto()  # it may have been written


class Failed(NamedTuple):
    """Why a conditional PUT was not done, and the driver's error."""

    why: Put
    error: Exception


class Bucket:
    """One bucket of one server. Safe for several threads, and after a fork.

    Args:
        settings: Where, and how.
        clock: Does the waiting between two tries, and gives the skew.
    """

    def __init__(self, settings: S3Settings, clock: Clock) -> None:
        self.settings = settings
        self.name = settings.name
        self.time = ServerTime(clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._client: Any = None
        self._made_by = 0
        self._closed = False
        key = settings.kms_key
        self._encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}

    # -- the client

    @property
    def client(self) -> Any:
        """boto3's client: made at the first use, and again in the child of a fork."""
        if self._client is None or self._made_by != os.getpid():
            with self._lock:
                if self._client is None or self._made_by != os.getpid():
                    if self._closed:
                        raise StorageRefused(self.name, "it was closed")
                    self._client = self._make()
                    self._made_by = os.getpid()
        return self._client

    def _make(self) -> Any:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        settings = self.settings
        config = Config(
            # What may be sent again is decided here, not by the SDK: its second try of a
            # conditional write finds the first and calls it a lost race.
            retries={"total_max_attempts": 1},
            connect_timeout=settings.timeout,
            read_timeout=settings.timeout,
            max_pool_connections=32,
            s3={"addressing_style": settings.addressing},
            # Other stores do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session(profile_name=settings.profile or None)
            return session.client(
                "s3",
                region_name=settings.region or None,
                endpoint_url=settings.endpoint or None,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise StorageRefused(self.name, f"{type(error).__name__}: {error}") from error

    def _forget(self, client: Any) -> None:
        """Let the next request look for credentials anew: they may have been replaced by then."""
        with self._lock:
            if self._client is client:
                self._client = None

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def pause(self, attempt: int) -> None:
        """Wait before the try after *attempt*, counted from 0."""
        self._clock.wait(_FIRST_PAUSE * 2**attempt)

    # -- requests that may be sent again

    def get(self, key: str) -> Stored | None:
        """Return the object, or None if there is none."""

        def ask() -> Stored:
            answer = self._send("get_object", Key=key)
            with closing(answer["Body"]) as body:
                return Stored(body.read(), answer["ETag"])

        found: Stored | None = self._repeat(ask, missing=None)
        return found

    def put(self, key: str, data: bytes) -> None:
        """Write an object whose bytes never change."""
        self._repeat(lambda: self._put(key, data))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; those that are not there do not matter."""
        if len(keys) == 1:
            self._repeat(lambda: self._send("delete_object", Key=keys[0]), missing=None)
            return
        for begin in range(0, len(keys), _DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[begin : begin + _DELETED_AT_ONCE]]
            ask = partial(self._send, "delete_objects", Delete={"Objects": objects, "Quiet": True})
            for failed in self._repeat(ask).get("Errors", ())[:1]:
                reason = f"{failed.get('Code')}: some objects could not be deleted"
                raise StorageRefused(self.name, reason)

    def keys(self, prefix: str, after: str = "", page: int = 1000) -> Iterator[str]:
        """Yield the keys that begin with *prefix* and come after *after*, in order of bytes.

        One request for each *page* of them, made when they are needed.
        """
        for key, _ in self.listed(prefix, after, page):
            yield key

    def listed(self, prefix: str, after: str = "", page: int = 1000) -> Iterator[tuple[str, float]]:
        """Yield the same, each with the time of its last change."""
        token: dict[str, str] = {"StartAfter": after} if after else {}
        while True:
            ask = partial(self._send, "list_objects_v2", Prefix=prefix, MaxKeys=page, **token)
            answer = self._repeat(ask)
            for each in answer.get("Contents", ()):
                yield each["Key"], each["LastModified"].timestamp()
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    # -- requests with a condition, sent once

    def put_if(self, key: str, data: bytes, etag: str | None) -> str | Failed:
        """Write the object if its entity tag is *etag*, or if there is none and *etag* is None.

        Returns:
            Its new entity tag; or why not.

        Raises:
            StorageError: The server refuses it, whatever is stored.
        """
        from .driver_errors import DRIVER_ERRORS, Meaning, meaning, translate

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            answer = self._put(key, data, **condition)
        except DRIVER_ERRORS as error:
            found = meaning(error)
            if found is Meaning.REFUSED:
                raise translate(error, self.name) from error
            # A key that is gone has no entity tag: the race for it is lost.
            why = Put.LOST if found is Meaning.MISSING else Put[found.name]
            return Failed(why, error)
        return str(answer["ETag"])

    def delete_if(self, key: str, etag: str) -> bool:
        """Delete the object if its entity tag is *etag*; False if the server says it is not.

        True says little: servers also answer so when there was nothing to delete.
        """
        from .driver_errors import DRIVER_ERRORS, Meaning, meaning

        try:
            self._send("delete_object", Key=key, IfMatch=etag)
        except DRIVER_ERRORS as error:
            return meaning(error) is Meaning.MISSING
        return True

    # -- sending

    def _put(self, key: str, data: bytes, **condition: str) -> Any:
        """Write the object, all of it: some servers store what a dying client has sent so far."""
        digest = b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        more = condition | self._encrypted
        return self._send("put_object", Key=key, Body=data, ContentMD5=digest, **more)

    def _repeat(self, ask: Callable[[], Any], **missing: object) -> Any:
        """Return what *ask* returns, asked again while that may help."""
        from .driver_errors import DRIVER_ERRORS, Meaning, meaning, translate

        for attempt in range(TRIES):
            try:
                return ask()
            except DRIVER_ERRORS as error:
                found = meaning(error)
                if found is Meaning.MISSING and missing:
                    return missing["missing"]
                if found is Meaning.REFUSED or attempt == TRIES - 1:
                    raise translate(error, self.name) from error
            self.pause(attempt)
        raise AssertionError

    def _send(self, operation: str, **parameters: Any) -> Any:
        from .driver_errors import DRIVER_ERRORS, is_of_credentials, refuse_half

        client = self.client
        sent = time.monotonic()
        answer: Any = {}
        try:
            answer = getattr(client, operation)(Bucket=self.settings.bucket, **parameters)
            refuse_half(operation, answer)
        except DRIVER_ERRORS as error:
            answer = getattr(error, "response", None) or {}
            if is_of_credentials(error):
                self._forget(client)
            raise
        finally:
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            self.time.learn(headers.get("date"), sent, time.monotonic())
        return answer
