"""Records for tests that look inside storages: those of the contract kit.

Imported by other processes too, so nothing here needs pytest.
"""

from __future__ import annotations

from sequential._model import evolve
from sequential._storage import STALE
from sequential.testing._storage_samples import (
    applied,
    found,
    full_run,
    make_run,
    make_step,
    numbers,
    plain,
)

__all__ = [
    "STALE",
    "applied",
    "evolve",
    "found",
    "full_run",
    "make_run",
    "make_step",
    "numbers",
    "plain",
]
