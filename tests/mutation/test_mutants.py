"""Mutants apply to the core as it is, the quickest of them die; the rest: `python -m`."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.mutation.mutants import MUTANTS
from tests.mutation.patch import SIMULATOR, Mutant, NotApplicable, Patch, mutated, source_of
from tests.mutation.trial import tried, verdict_of

ROOT = Path(__file__).parents[2]
SAMPLE = (
    "neither fence nor owner is compared",
    "the cursor is not compared",
    "the claim is checked by time only",
    "a claim does not grow the fence",
    "a message that was consumed is accepted again",
    "a commit sent again forgets what others added",
    "a commit is sent again under a new op_id",
    "at most once runs without an intent",
    "the idempotency key changes with every claim",
    "an error comes back as another on replay",
    "a renewal revives a run that has ended",
    "the sweeper executes what it finds",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_to_the_core_as_it_is(mutant: Mutant) -> None:
    by_module: dict[str, list[Patch]] = defaultdict(list)
    for patch in mutant.patches:
        by_module[patch.module].append(patch)
    for module, patches in by_module.items():
        source = source_of(module).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(mutated(source, patches))) != ast.dump(ast.parse(source))


def test_every_mutant_has_a_name_of_its_own_and_a_named_killer() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []
    for killer in {mutant.killer for mutant in MUTANTS} - {SIMULATOR}:
        path, *_, name = killer.split("::")
        assert name.startswith("test_"), killer
        assert (ROOT / path).is_file(), killer


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mutant_dies(name: str) -> None:
    (number,) = (number for number, mutant in enumerate(MUTANTS) if mutant.name == name)
    verdict = tried(number)
    assert verdict.killed_by is not None, verdict.note


# -- that the above can fail ---------------------------------------------------------------------

HARMLESS = Patch("_protocol", "_SEEN_LIMIT = 10_000", "_SEEN_LIMIT = 10_001")


def test_a_change_that_nobody_looks_for_survives() -> None:
    killer = "tests/core/test_protocol.py::test_a_completed_run_is_final"
    verdict = verdict_of(Mutant("harmless", (HARMLESS,), killer))
    assert (verdict.killed_by, verdict.note) == (None, f"survived {killer}")


def test_a_killer_that_there_is_not_kills_nothing() -> None:
    killer = "tests/core/test_protocol.py::test_that_there_is_not"
    verdict = verdict_of(Mutant("harmless", (HARMLESS,), killer))
    assert verdict.killed_by is None
    assert "could not be run" in verdict.note


def test_a_mutant_that_cannot_be_imported_is_not_dead() -> None:
    broken = HARMLESS._replace(new="_SEEN_LIMIT = 1 / 0")
    verdict = verdict_of(Mutant("broken", (broken,), SIMULATOR))
    assert verdict.killed_by is None
    assert "ZeroDivisionError" in verdict.note


@pytest.mark.parametrize(("old", "found"), [("no such line", 0), ("line", 2)])
def test_a_mutant_that_does_not_apply_once_is_refused(old: str, found: int) -> None:
    with pytest.raises(NotApplicable, match=f"{found} times"):
        mutated("a line\na line\n", (Patch("_protocol", old, "other"),))
