"""Steps on S3: requests a step as counted at the client, and the time beside one conditional PUT.

The server is an emulator on the loopback: its times tell what we add to a request, and nothing
about Amazon's.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from sequential import Sequential
from tests.fix_s3 import free_port, make_bucket, serving

from .measure import Between, Row, Size, median, subject, timed

_STEPS = 100
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def measure(folder: Path, size: Size) -> Iterator[Row]:
    """Measure inline, and every-step warm and cold."""
    del folder
    if find_spec("sequential_s3") is None or find_spec("boto3") is None:
        print("sequential-s3 is not installed: S3 is left out")
        return
    with _server() as url:
        yield from _inline(url, size.operations // 10)
        yield from _every_step(url)
        yield from _cold(url, size.processes)


@contextmanager
def emulator() -> Iterator[str]:
    """Start an emulator of Amazon's services; give its endpoint."""
    os.environ.update(_CREDENTIALS)
    port = free_port()
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
    program = str(Path(sys.executable).with_name("ministack"))
    with serving([program], port, **settings) as endpoint:
        yield endpoint


@contextmanager
def _server() -> Iterator[str]:
    with emulator() as endpoint:
        make_bucket(endpoint, "bench")
        yield f"s3://bench/runs?endpoint={endpoint}&region=us-east-1&addressing=path"


class _Counted:
    """The client of an application's storage: how often it sent something, and a floor on it."""

    def __init__(self, app: Sequential) -> None:
        storage: Any = app.storage
        storage.load("another")
        self._bucket = storage.bucket
        self._bucket.client.meta.events.register("before-send.s3", self._sent)
        self.count = 0
        self._key = f"floor/{secrets.token_hex(4)}"
        self._tag: str | None = None

    def _sent(self, **_: object) -> None:
        self.count += 1

    def ready(self) -> Any:
        """Make one conditional PUT of the size of a step ready, by the same client."""
        return self._put

    def _put(self) -> None:
        condition = {"IfNoneMatch": "*"} if self._tag is None else {"IfMatch": self._tag}
        answer = self._bucket.client.put_object(
            Bucket="bench", Key=self._key, Body=bytes(1_000), **condition
        )
        self._tag = answer["ETag"]
        self.count -= 1


def _inline(url: str, operations: int) -> Iterator[Row]:
    asked: list[int] = []
    counts: list[int] = []
    floors: list[_Counted] = []
    between = Between(lambda: floors[0].ready())  # noqa: PLW0108  (there is none yet)

    def inside(number: int) -> None:
        counts.append(floors[0].count)
        between(number)

    made = subject(inside)
    with Sequential(url, registry=made.registry) as app:
        floors.append(_Counted(app))
        # A hundred at a time: what a run keeps in one object grows with its steps.
        for _ in range(max(1, operations // _STEPS)):
            between.rest()
            counts.clear()
            app.run(made.flow, {"count": _STEPS})
            asked += [after - before for before, after in pairwise(counts)]
    yield from _rows("inline", asked, 2, between.floor(), between.step())


def _every_step(url: str) -> Iterator[Row]:
    made = subject(lambda n: None)
    floors: list[float] = []
    steps: list[float] = []
    asked: list[int] = []
    with Sequential(url, pause="every-step", registry=made.registry) as app:
        counted = _Counted(app)
        run_id = app.start(made.flow, {"count": _STEPS})
        for _ in range(_STEPS):
            floors.append(timed(counted.ready()))
            before = counted.count
            steps.append(timed(partial(app.execute, run_id)))
            asked.append(counted.count - before)
    # The first invocation of a run is not warm yet.
    yield from _rows("every-step, warm", asked[1:], 3, median(floors[1:]), median(steps[1:]))


def _cold(url: str, count: int) -> Iterator[Row]:
    made = subject(lambda n: None)
    floors: list[float] = []
    steps: list[float] = []
    asked: list[int] = []
    with Sequential(url, pause="every-step", registry=made.registry) as app:
        run_id = app.start(made.flow, {"count": count + 1})
    for _ in range(count):
        with Sequential(url, pause="every-step", registry=made.registry) as app:
            counted = _Counted(app)
            floors.append(timed(counted.ready()))
            before = counted.count
            steps.append(timed(partial(app.execute, run_id)))
            asked.append(counted.count - before)
    yield from _rows("every-step, cold", asked, 4, median(floors), median(steps))


def _rows(what: str, asked: Sequence[int], most: float, floor: float, step: float) -> Iterator[Row]:
    """Yield the mean of the requests, which hides none, and the time."""
    yield Row(f"S3, {what}: requests a step", floor, step, fmean(asked), most)
    yield Row("  its time / one conditional PUT", floor, step, step / floor)
