"""What the canvas is sent: the rows of a run in columns, times in milliseconds from its start.

Only what is drawn: no input, result or error is in it. Neither are the selected row nor the time
of the look, or each click and each refresh would send all of it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .gaps import Piece, folded
from .spans import Span

GOES_ON = -1
"""Stands for an end that is not there yet: the canvas draws up to now."""


def payload_of(spans: Sequence[Span], pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return the rows *spans* and the folds among *pieces* as JSON data.

    Names, kinds and states are numbers into lists of words. A parent is the index of a row before.
    """
    root = spans[0]
    names = _Words()
    kinds = _Words()
    states = _Words()
    reasons = _Words()
    ended = root.end is not None
    folds = [
        [_ms(root, each.start), _end(root, each, pieces[-1], ended=ended), reasons[each.why]]
        for each in folded(pieces)
    ]
    return {
        "v": 1,
        "epoch": round(root.start * 1000),
        "key": [each.key for each in spans],
        "parent": [each.parent for each in spans],
        "name": [names[each.name] for each in spans],
        "kind": [kinds[each.kind] for each in spans],
        "state": [states[each.status] for each in spans],
        "start": [_ms(root, each.start) for each in spans],
        "length": [_length(each) for each in spans],
        "tries": [each.tries for each in spans],
        "folds": folds,
        "names": list(names),
        "kinds": list(kinds),
        "states": list(states),
        "reasons": list(reasons),
    }


class _Words(dict[str, int]):
    """Numbers words in the order in which they are asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def _ms(root: Span, moment: float) -> int:
    return round((moment - root.start) * 1000)


def _length(span: Span) -> int:
    return GOES_ON if span.end is None else max(0, round((span.end - span.start) * 1000))


def _end(root: Span, piece: Piece, last: Piece, *, ended: bool) -> int:
    return GOES_ON if piece is last and not ended else _ms(root, piece.end)
