"""Programs as a schedule draws them: what runs do, with the branches and child runs that they have.

What an operation means stands in `programs`, what disturbs it in `happenings`.
"""

from __future__ import annotations

from tests.simulation.asking import TYPES, numbered, several
from tests.simulation.choices import Choices
from tests.simulation.programs import STYLES, Op, Program

CANARY = "canary-7f3a"
"""Stands in inputs, and must stand nowhere else: I15."""

NAMES = ("a", "b")
"""Signals that programs wait for."""

Kinds = tuple[tuple[object, ...], ...]

_TALK: Kinds = (
    *[("typed", NAMES, tuple(TYPES))] * 2,
    *[("ask", (0, 0, 1, 2), (None, None, 1, 30))] * 3,
    *[("say", int, (0, 0, 20))] * 2,
    ("several",),
)
"""Operations of runs and people who have much to say to each other."""
_KINDS: Kinds = (
    *[("add", int)] * 6,
    ("fail", int),
    ("return", int),
    *[("flaky", int, (0, 1, 2, 3))] * 2,
    *[("once", int)] * 3,
    *[("token",)] * 3,
    *[("sleep", (0, 1, 20))] * 2,
    *[("save",)] * 2,
    *[("wait", NAMES)] * 3,
    *[("wait_for", NAMES, (1, 30))] * 3,
    *[("det",)] * 2,
    *[("big", int)] * 2,
    *[("use", int)] * 3,
    *[("load", int)] * 2,
    ("secret", CANARY),
    *[("stop", int)] * 2,
    ("poison", int),
    ("draw",),
    *_TALK,
)
_WIDE: tuple[tuple[str], ...] = (*[("gather",)] * 4, *[("race",)] * 4, *[("map",)] * 2)
"""Operations with branches."""
_BARE = ("child", "child", "add", "sleep", "once", "fail", "wait")
"""Operations that may be a branch by themselves."""
_CHILDREN: tuple[tuple[str], ...] = (*[("child",)] * 5, *[("start",)] * 2)
"""Operations with a run of their own."""
_READS = ("use", "use", "load")
"""Operations that read a large value."""
_IDS = (*[None] * 6, "x", "x", "r0")
"""Of children: what follows from the step, what others choose as well, what another run has."""


def drawn_program(choices: Choices) -> Program:
    """Draw what a run does."""
    kinds = choices.one_of((_KINDS, _KINDS, (*_KINDS, *_TALK * 6)))
    program = _ops(choices, 0, 6, kinds)
    if choices.chance(0.1):
        program.append(["continue", numbered(_given(choices, [_op(choices, 0)]))])
    elif choices.chance(0.1):
        program.append(["stop", 1 + choices.below(99)])
    elif choices.chance(0.1):
        program.append(["apart"])
    return numbered(program)


def _op(choices: Choices, depth: int, kinds: Kinds = _KINDS) -> Op:
    draw = choices.one_of
    kind = draw(kinds if depth > 1 else (*kinds, *_WIDE, *_CHILDREN))
    if kind == ("several",):
        return several(choices, NAMES)
    if kind in _WIDE:
        return _wide(choices, kind[0], depth + 1)
    if kind in _CHILDREN:
        return _child(choices, kind[0], depth + 1)
    return [part if part is not int else 1 + choices.below(99) for part in (
        draw(option) if isinstance(option, tuple) else option for option in kind)]  # fmt: skip


def _wide(choices: Choices, kind: object, depth: int) -> Op:
    below, draw = choices.below, choices.one_of
    if kind == "map":
        return [kind, [1 + below(99) for _ in range(below(5))], draw((None, 1, 2))]
    branches = [_branch(choices, depth) for _ in range(1 + below(4))]
    if kind == "race":
        return [kind, branches]
    return [kind, branches, draw(("raise", "collect")), draw((None, None, 1, 2))]


def _branch(choices: Choices, depth: int) -> Program | Op:
    if choices.below(4) < 3:
        return _ops(choices, depth, 3)
    kind = choices.one_of(_BARE)
    if kind == "child":
        return _child(choices, kind, depth)
    rest = {"sleep": (0, 1, 20), "wait": NAMES}.get(kind, tuple(range(1, 9)))
    return [kind, choices.one_of(rest)]


def _child(choices: Choices, kind: object, depth: int) -> Op:
    draw = choices.one_of
    flow, program, run_id = draw(STYLES), _given(choices, _ops(choices, depth, 2)), draw(_IDS)
    if choices.chance(0.2):
        program.append(["apart"])
    if kind == "start":
        return [kind, flow, program, run_id]
    return [kind, flow, program, run_id, draw(("cancel", "cancel", "leave"))]


def _given(choices: Choices, program: Program) -> Program:
    """Let *program* be given a large value, if there is one, and read it."""
    if not choices.chance(0.5):
        return program
    return [["hold", None], [choices.one_of(_READS), 1 + choices.below(99)], *program]


def _ops(choices: Choices, depth: int, most: int, kinds: Kinds = _KINDS) -> Program:
    program = [_op(choices, depth, kinds) for _ in range(1 + choices.below(most))]
    first = program[0][0]
    if first in _READS or (first in {"child", "start"} and _takes_value(program[0])):
        # Else there would be nothing to read or to give.
        program.insert(0, ["big", 1 + choices.below(99)])
    return program


def _takes_value(op: Op) -> bool:
    program: Program = op[2]
    first: Op = program[0]
    return str(first[0]) == "hold"
