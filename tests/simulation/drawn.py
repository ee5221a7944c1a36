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

_TALK: tuple[tuple[object, ...], ...] = (
    *[("typed", NAMES, tuple(TYPES))] * 2,
    *[("ask", (0, 0, 1, 2), (None, None, 1, 30))] * 3,
    *[("say", int, (0, 0, 20))] * 2,
    ("several",),
)
"""Operations of runs and people who have much to say to each other."""
_KINDS: tuple[tuple[object, ...], ...] = (
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
    ("secret", CANARY),
    ("stop", int),
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
_IDS = (*[None] * 6, "x", "x", "r0")
"""Of children: what follows from the step, what others choose as well, what another run has."""


def drawn_program(choices: Choices) -> Program:
    """Draw what a run does."""
    kinds = choices.one_of((_KINDS, _KINDS, (*_KINDS, *_TALK * 6)))
    program = [_op(choices, 0, kinds) for _ in range(1 + choices.below(6))]
    if choices.chance(0.1):
        later = [_op(choices, 0) for _ in range(1 + choices.below(3))]
        program.append(["continue", numbered(later)])
    return numbered(program)


def _op(choices: Choices, depth: int, kinds: tuple[tuple[object, ...], ...] = _KINDS) -> Op:
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
    flow, program, run_id = draw(STYLES), _ops(choices, depth, 2), draw(_IDS)
    if kind == "start":
        return [kind, flow, program, run_id]
    return [kind, flow, program, run_id, draw(("cancel", "cancel", "leave"))]


def _ops(choices: Choices, depth: int, most: int) -> Program:
    return [_op(choices, depth) for _ in range(1 + choices.below(most))]
