"""Errors travel: through a queue, between processes, into a log of another program."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from sequential.errors import (
    OutcomeUnknown,
    RunStatusWrong,
    SchemeUnknown,
    SequentialError,
    ToolError,
    ToolNotFound,
)

ERRORS: list[SequentialError] = [
    SchemeUnknown("storage", "shelf", ["memory", "sqlite"], "install it"),
    OutcomeUnknown("flows.db", "the reply was lost"),
    RunStatusWrong("r", "completed", "redrive", "a quarantined run"),
    ToolNotFound("api", "user", ["api.post"]),
    ToolError("api.user", "ValueError", "no", {"a": [1]}, 3, retryable=False),
]


def pickled(error: SequentialError) -> SequentialError:
    restored: SequentialError = pickle.loads(pickle.dumps(error))
    return restored


@pytest.mark.parametrize("way", [pickled, copy.copy], ids=["pickle", "copy"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_left(
    error: SequentialError, way: Callable[[SequentialError], SequentialError]
) -> None:
    arrived = way(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
