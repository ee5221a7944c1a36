"""The ids of traces and spans, derived from records: every process adds to the same trace.

Arithmetic only; knows nothing of OpenTelemetry.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


def trace_id_of(run_id: str, created: float) -> int:
    """Return the id of the trace of a run: 4 bytes of when it was created, 12 of its id's digest.

    *created* is in seconds since the epoch. The leading time is what AWS X-Ray asks of trace ids.
    """
    digest = blake2b(run_id.encode(), digest_size=12).digest()
    return ((int(created) & 0xFFFFFFFF) << 96) | int.from_bytes(digest)


def step_span_id(run_id: str, generation: int, position: str) -> int:
    """Return the id of the span of one step."""
    return hashed_id(run_id, str(generation), position)


def attempt_span_id(step: int, attempt: int, fence: int) -> int:
    """Return the id of the span of one attempt at the step whose span has the id *step*.

    The number of an attempt repeats when its process died before the result was saved; the fence,
    which grows with every claim, tells the two apart.
    """
    return hashed_id(str(step), str(attempt), str(fence))


def run_span_id(run_id: str) -> int:
    """Return the id of the run's own span, the root of its trace."""
    return hashed_id(run_id, "run")


def invocation_span_id(run_id: str, fence: int) -> int:
    """Return the id of the span of the invocation that claimed the run with the number *fence*."""
    return hashed_id(run_id, "invocation", str(fence))


@lru_cache(1024)  # a step asks for its own id three times
def hashed_id(*parts: str) -> int:
    """Return a span id made of *parts*, never zero."""
    text = "".join(f"{len(part)}:{part}" for part in parts).encode()  # no two lists make one text
    return int.from_bytes(blake2b(text, digest_size=8).digest()) or 1  # zero is no id
