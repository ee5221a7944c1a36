"""For tests of flows and of plugins: a clock that the test moves, fakes, crashes, contract kits.

The kits need pytest, and are imported when they are asked for; the rest needs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module

from ._clock import FakeClock
from ._crashes import Crash, Survived, crash_everywhere
from ._fakes import Call
from ._play import Played, PlayedStep, play
from ._verify import histories, verify_replay

__all__ = [
    "Call",
    "Crash",
    "EngineContract",
    "FakeClock",
    "Played",
    "PlayedStep",
    "SpanStoreContract",
    "StorageContract",
    "Survived",
    "TransportContract",
    "crash_everywhere",
    "histories",
    "play",
    "verify_replay",
]

_NEEDS_PYTEST = {
    "EngineContract": "_engine_contract",
    "SpanStoreContract": "_span_store_contract",
    "StorageContract": "_storage_contract",
    "TransportContract": "_transport_contract",
}
_WITH_ASSERTIONS = (
    "_engine_contract",
    "_engine_journeys",
    "_engine_language",
    "_engine_row",
    "_engine_rows_begin",
    "_engine_rows_branches",
    "_engine_rows_children",
    "_engine_rows_replay",
    "_engine_rows_steps",
    "_engine_rows_tending",
    "_engine_rows_trouble",
    "_engine_rows_zombies",
    "_engine_scene",
    "_span_store_contract",
    "_storage_contract",
    "_storage_finding",
    "_storage_keeping",
    "_storage_model",
    "_storage_races",
    "_storage_samples",
    "_storage_timing",
    "_storage_writing",
    "_transport_contract",
)


def __getattr__(name: str) -> object:
    """Import a kit when it is asked for.

    Raises:
        ImportError: pytest is not installed; the message says how to get it.
    """
    module = _NEEDS_PYTEST.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{__name__}.{name} needs pytest: pip install 'sequential-core[testing]'",
            name=error.name,
        ) from error
    # So that a failed assertion shows its values; what is imported already cannot be rewritten.
    places = [f"{__name__}.{each}" for each in _WITH_ASSERTIONS]
    pytest.register_assert_rewrite(*(place for place in places if place not in sys.modules))
    return getattr(import_module(f"{__name__}.{module}"), name)
