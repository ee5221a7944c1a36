"""Turns in programs: places where a patch lets the code of a flow go another way.

A turn is an operation ``["turn", patch, old, new]``: the operations *old*, or *new* where the
patch is in. Which way a history went is read from its records. What must hold is not known here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from sequential._model import Open, StepKind, StepRecord
from sequential._scope import CURRENT
from tests.simulation.choices import Choices
from tests.simulation.references import STEPLESS

Op = list[Any]
Program = list[Op]

PATCHES = ("more", "less")
"""What changes are called; all turns of one name in a run go one way."""
_OLD = 1_000
"""What is added to the number of a turn where code goes its old way; no other step has either."""


class Answer(NamedTuple):
    """What a flow was told when it asked whether a patch is in."""

    run_id: str
    patch: str
    new: bool


ANSWERS: list[Answer] = []
"""What flows were told and nobody has looked at yet."""


def noted(patch: str, *, new: bool) -> bool:
    """Keep what the flow that runs here was told, and return it."""
    scope = CURRENT.get()
    assert scope is not None
    ANSWERS.append(Answer(scope.run_id, patch, new))
    return new


def turned(program: Program, goes_new_way: Callable[[str], bool]) -> Iterator[Op]:
    """Yield the operations of *program*, asking at a turn not before the flow has come to it."""
    for op in program:
        if op[0] == "turn":
            yield from op[3] if goes_new_way(op[1]) else op[2]
        else:
            yield op


def unfolded(program: Program, ways: Mapping[str, bool]) -> Program:
    """Return what *program* is without turns, those in *ways* being new; others are old."""
    found: Program = []
    for op in turned(program, lambda patch: ways.get(patch, False)):
        if op[0] in {"gather", "race"}:
            branches = [
                branch if isinstance(branch[0], str) else unfolded(branch, ways) for branch in op[1]
            ]
            found.append([op[0], branches, *op[2:]])
        else:
            found.append(op)
    return found


# -- which way a history went --------------------------------------------------------------------


def ways_gone(
    program: Program, steps: Sequence[StepRecord], waits: Mapping[str, Open]
) -> Mapping[str, set[bool]]:
    """Return which ways a history went at turns of each patch: new ones, old ones; mostly one.

    Told from the first thing that stands at a turn; nothing is told of one that has none.
    """
    found: dict[str, set[bool]] = defaultdict(set)
    there: dict[str, StepRecord | Open] = dict(waits)
    there |= {step.position: step for step in steps}
    there = {at: each for at, each in there.items() if each.tool != "t.undo"}
    _go(program, "", there, found)
    return found


def _go(
    program: Program,
    place: str,
    there: Mapping[str, StepRecord | Open],
    found: dict[str, set[bool]],
) -> None:
    count = 0
    for op in program:
        position = f"{place}{count}"
        if op[0] == "turn":
            new = _way(op, position, there)
            if new is None:
                return
            found[op[1]].add(new)
            count += len(op[3] if new else op[2])
            continue
        if op[0] in {"gather", "race"}:
            for index, branch in enumerate(op[1]):
                if not isinstance(branch[0], str):
                    _go(branch, f"{position}.{index}.", there, found)
        count += op[0] not in STEPLESS


def _way(op: Op, position: str, there: Mapping[str, StepRecord | Open]) -> bool | None:
    """Tell whether the new way of the turn *op* was gone at *position*; None if it is unknown."""
    _, _, old, new = op
    first = there.get(position)
    if first is None:
        if not any(at.startswith(f"{position}.") for at in there):
            return None
        return not new
    if first.kind is StepKind.TOOL and first.tool == "t.add":
        if isinstance(first, Open):
            return None
        assert first.input is not None
        number = json.loads(first.input.data)["number"]
        if new and number == new[0][1]:
            return True
        if old and number == old[0][1]:
            return False
    # What comes behind the turn: the way that has no step was gone.
    return not new


def possible(
    program: Program, steps: Sequence[StepRecord], waits: Mapping[str, Open]
) -> list[Program]:
    """Return what *program* can be without turns, by the ways that its history went; old first."""
    patches = sorted(set(_patches(program)))
    if not patches:
        return [program]
    gone = ways_gone(program, steps, waits)
    options = [sorted(gone[patch]) if patch in gone else (False, True) for patch in patches]
    ways = [dict(zip(patches, each, strict=True)) for each in product(*options)]
    return [unfolded(program, each) for each in ways]


def _patches(program: Program) -> Iterator[str]:
    for op in program:
        if op[0] == "turn":
            yield op[1]
        elif op[0] in {"gather", "race"}:
            for branch in op[1]:
                if not isinstance(branch[0], str):
                    yield from _patches(branch)


# -- programs with turns -------------------------------------------------------------------------


def add_turns(choices: Choices, program: Program) -> Program:
    """Put turns anywhere into *program*, its branches and the programs that it gives to others."""
    numbers = iter(range(1, _OLD))
    if choices.chance(0.4):
        _put(choices, program, _together(choices, numbers))
    if not choices.chance(0.1):
        _put(choices, program, _turn(choices, numbers))
    _spread(choices, program, numbers)
    return program


def _spread(choices: Choices, program: Program, numbers: Iterator[int]) -> None:
    for op in program:
        for inner in _programs_of(op):
            _spread(choices, inner, numbers)
            if choices.chance(0.4):
                _put(choices, inner, _turn(choices, numbers))


def _put(choices: Choices, program: Program, op: Op) -> None:
    """Put *op* somewhere into *program*, but not before what it is given, nor behind its end."""
    first = program[0][0] == "hold"
    last = len(program) - (program[-1][0] == "apart")
    program.insert(first + choices.below(1 + last - first), op)


def _programs_of(op: Op) -> Iterable[Program]:
    if op[0] in {"gather", "race"}:
        return [branch for branch in op[1] if not isinstance(branch[0], str)]
    return {"continue": op[1:2], "child": op[2:3], "start": op[2:3]}.get(op[0], ())


def _turn(choices: Choices, numbers: Iterator[int]) -> Op:
    number = next(numbers)
    old, new = [["add", _OLD + number]], [["add", -1 - number]]
    ways = choices.one_of((([], new), (old, new), (old, [])))
    return ["turn", choices.one_of(PATCHES), *ways]


def _together(choices: Choices, numbers: Iterator[int]) -> Op:
    """Return branches whose steps are recorded together, each with a turn behind."""
    first = choices.one_of((["sleep", 20], ["sleep", 1], ["add", 7]))
    branches = [[first, _turn(choices, numbers), ["save"]] for _ in range(2 + choices.below(2))]
    return ["gather", branches, "raise", None]
