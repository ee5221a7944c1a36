"""The objects of a bucket as the tables that the other storages have: plain boto3 and plain JSON.

S3 reads one object at a time. Each run is read at one moment all the same: its head is one object,
what a head refers to was written before it and does not change, and values are listed after the
heads that refer to them. No moment is the same for two runs, and nothing that is checked needs one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_TABLES = """
CREATE TABLE runs (run_id, generation, status, wake, state);
CREATE TABLE steps (run_id, generation, number, position, kind, tool, fingerprint, outcome, value,
    input, attempts, started, ended, fence, op_id, v);
CREATE TABLE stored_values (run_id, digest, data);
"""


class _Run(NamedTuple):
    run: list[Any]
    steps: list[list[Any]]


class Objects:
    """What is stored at *url*. What was read once is not read again while it is the same."""

    def __init__(self, url: str) -> None:
        import boto3  # type: ignore[import-untyped]

        parts = urlsplit(url)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._runs = f"{prefix}/f/"
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=parse_qs(parts.query)["endpoint"][0],
            region_name="us-east-1",
            config=_config(),
        )
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, bytes]] = {}

    def tables(self) -> sqlite3.Connection:
        """Return the tables as they are now."""
        with self._lock:
            heads = [(key, tag) for key, tag in self._listed() if key.endswith("/head")]
            runs = [found for key, tag in heads if (found := self._run(key, tag)) is not None]
            tables = sqlite3.connect(":memory:")
            tables.executescript(_TABLES)
            for found in runs:
                row = found.run
                tables.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (*row[:2], *row[6:8], row[12])
                )
                steps = [(row[0], *step) for step in found.steps]
                tables.executemany(f"INSERT INTO steps VALUES ({', '.join('?' * 16)})", steps)
            tables.executemany("INSERT INTO stored_values VALUES (?, ?, ?)", self._values())
            return tables

    def _listed(self) -> Iterator[tuple[str, str]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._runs):
            for each in page.get("Contents", ()):
                yield each["Key"], each["ETag"]

    def _values(self) -> Iterator[tuple[str, str, bytes]]:
        for key, tag in self._listed():
            run, _, digest = key.partition("/value/")
            if digest and (data := self._get(key, tag)) is not None:
                yield unquote(run.rpartition("/")[2]), digest, data

    def _run(self, key: str, tag: str) -> _Run | None:
        """Return the run of the head *key*; None if it is gone or never was."""
        while (data := self._get(key, tag)) is not None:
            first, *lines = data.split(b"\n")
            head = _load(first)
            if head["run"] is None:
                return None
            sealed: list[bytes] = []
            for _, _, rest, _, _ in head["segments"]:
                name = f"{key.removesuffix('head')}seg/{rest}"
                segment = self._get(name, rest)
                if segment is None:
                    break  # a purge deletes them after it has written the head
                sealed += segment.split(b"\n")
            else:
                return _Run(head["run"], [_load(line) for line in (*sealed, *lines)])
            tag = ""
        return None

    def _get(self, key: str, tag: str) -> bytes | None:
        """Return the bytes of the object; the last ones, if they were those of *tag*."""
        seen = self._seen.get(key)
        if seen is not None and seen[0] == tag:
            return seen[1]
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except self._client.exceptions.NoSuchKey:
            return None
        data: bytes = answer["Body"].read()
        # A segment is named by a nonce; all else by what the server calls its version.
        self._seen[key] = (tag if "/seg/" in key else answer["ETag"]), data
        return data


@cache
def objects_at(url: str) -> Objects:
    """Return the objects at *url*, always the same ones."""
    return Objects(url)


def _config() -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    return Config(
        s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=30
    )


def _load(line: bytes) -> Any:
    return json.loads(line, object_hook=_bytes)


def _bytes(found: dict[str, Any]) -> object:
    return found["b"].encode("latin-1") if found.keys() == {"b"} else found
