"""Recorded, new, or changed: the decision that a replay consists of.

Pure: a step that the code asks for is held against the record at its place. What a disagreement
does to the run stands in `_player`; how records are stored is not known here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ._model import StepKind, StepRecord

Check = Literal["inputs", "names", "off"]
"""What a replay compares: names and inputs, only kinds and names, or nothing but the kind."""

_SHOWN = 300
"""Characters of an input that a diff shows."""


class Asked(NamedTuple):
    """What the code asks for.

    Attributes:
        position: Where it stands.
        kind: What it is.
        tool: ``category.name``, the name of a signal, the flow of a child, or empty.
        fingerprint: Digest of the compared input, empty where there is none.
        input: The compared input as JSON, for people.
        number: Of a wait for a child: how many were asked for before it.
    """

    position: str
    kind: StepKind
    tool: str = ""
    fingerprint: str = ""
    input: bytes | None = None
    number: int = 0


def agrees(record: StepRecord, asked: Asked, check: Check) -> bool:
    """Tell whether *record* is the record of what is *asked*."""
    if record.kind is not asked.kind or record.position != asked.position:
        return False
    if check == "off":
        return True
    if record.tool != asked.tool:
        return False
    return check == "names" or record.fingerprint == asked.fingerprint


def name_of(record: StepRecord) -> str:
    """Return what *record* is of in a word or two: ``api.user``, ``signal go``, ``sleep``."""
    if record.kind is StepKind.TOOL:
        return record.tool
    return f"{record.kind} {record.tool}".rstrip()


def describe_record(record: StepRecord) -> str:
    """Return *record* in words, for a diff; an input that went through codecs by its digest."""
    data = record.input.data if record.input is not None else None
    if record.input is not None and record.input.codecs:
        data = _digest(record.fingerprint)
    return _describe(record.kind, record.tool, data)


def describe_asked(asked: Asked | None) -> str:
    """Return what was *asked* in words; None is the end of the flow."""
    return (
        "the end of the flow" if asked is None else _describe(asked.kind, asked.tool, asked.input)
    )


def without_input(asked: Asked | None) -> Asked | None:
    """Return what was *asked* with a digest for its input, where a diff must not show values."""
    if asked is None or asked.input is None:
        return asked
    return asked._replace(input=_digest(asked.fingerprint))


def _digest(fingerprint: str) -> bytes:
    return f"(input not shown, digest {fingerprint.rpartition(':')[2][:8]}…)".encode()


def diff(position: str, recorded: str, asked: str) -> str:
    """Return recorded against asked, one line each."""
    return f"step {position}\n  - recorded: {recorded}\n  + asked:    {asked}"


def _describe(kind: StepKind, tool: str, data: bytes | None) -> str:
    words = {
        StepKind.TOOL: f"tool call {tool}",
        StepKind.SIGNAL: f"wait for signal {tool!r}",
        StepKind.SLEEP: "sleep",
        StepKind.SAVE: "save point",
        StepKind.CHILD: f"child run of {tool}",
        StepKind.START: f"start of {tool}",
    }[kind]
    if not data:
        return words
    text = data.decode("utf-8", "replace")
    return f"{words} {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"
