"""Stored values as plain data for people: decoded, cut, and with what looks secret masked.

The only module that opens payloads. Nothing else of the dashboard may show a value that did not
go through `masked`, unless the viewer has the right to see payloads.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sequential import Sequential
from sequential.codecs import Place
from sequential.errors import SequentialError
from sequential.outcomes import Completed, Progress
from sequential.redaction import redacted, redacted_text
from sequential.storage import Payload, Run, Status, StepRecord, decode_value

PREVIEW = 2_000
"""Characters of a value that a viewer without the right to payloads sees."""

LOADED_AT_ONCE = 256 * 1024
"""Bytes up to which a value is read without being asked for."""


class Value(NamedTuple):
    """One value for people.

    Attributes:
        data: Plain JSON data; None where there is none.
        size: Bytes of the encoded value.
        note: Why it is not, or not wholly, shown; empty if it is.
    """

    data: Any
    size: int = 0
    note: str = ""


class Values:
    """Opens the values of runs for one viewer.

    Args:
        app: The application whose codecs and storage are used.
        whole: Show values as they are: for viewers with the right to payloads.
    """

    def __init__(self, app: Sequential, *, whole: bool) -> None:
        self._app = app
        self._whole = whole

    def of_input(self, run: Run) -> Value:
        """Return the input of *run*."""
        if run.status is Status.PURGED:
            return Value(None, 0, "it was purged")
        return self._opened(run.run_id, run.input, Place(run.run_id, 0, "input"))

    def of_result(self, run: Run) -> Value:
        """Return the result of *run*; nothing unless it completed."""
        if run.result is None:
            return Value(None)
        try:
            outcome = self._app.outcome(run)
        except SequentialError as error:
            return Value(None, run.result.size, f"it cannot be read here: {error}")
        found = outcome.result if isinstance(outcome, Completed) else None
        return self._shown(found, run.result.size)

    def of_progress(self, run: Run) -> Progress | None:
        """Return what *run* has published, as far as this viewer may see it."""
        try:
            found = self._app.progress(run)
        except SequentialError:
            return None
        return None if found is None else found._replace(text=self.text(found.text)[:PREVIEW])

    def of_step(self, run: Run, step: StepRecord) -> Value:
        """Return the result of *step*; of a failed one, its error as data."""
        try:
            return self._shown(self._app.value(run, step), step.value.size)
        except SequentialError as error:
            return Value(None, step.value.size, f"it cannot be read here: {error}")

    def of_step_input(self, run: Run, step: StepRecord) -> Value:
        """Return what *step* was asked with."""
        if step.input is None:
            return Value(None, 0, "too large to be kept with the step")
        place = Place(run.run_id, run.generation, f"{step.position}:input")
        return self._opened(run.run_id, step.input, place)

    def text(self, text: str) -> str:
        """Return a message, such as that of an error, as this viewer may see it."""
        return text if self._whole else redacted_text(text, 2 * PREVIEW)

    def _opened(self, run_id: str, payload: Payload, place: Place) -> Value:
        try:
            if payload.ref is not None:
                data = self._app.storage.get_value(run_id, payload.ref)
                payload = payload._replace(data=data, ref=None)
            found = decode_value(self._app.engine.payloads.unwrap(payload, place))
        except SequentialError as error:
            return Value(None, payload.size, f"it cannot be read here: {error}")
        return self._shown(found, payload.size)

    def _shown(self, value: object, size: int) -> Value:
        data = plain(value)
        if self._whole:
            return Value(data, size)
        hidden = redacted(data)
        text = json.dumps(hidden, ensure_ascii=False)
        if len(text) > PREVIEW:
            note = f"the first {PREVIEW:,} characters; the whole needs the right to see payloads"
            return Value(f"{text[:PREVIEW]}…", size, note)
        return Value(hidden, size, "secrets are masked" if hidden != data else "")


# -- plain data


def plain(value: object) -> Any:
    """Return *value* as data that JSON has: decimals and times as text, sets as lists."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        # What a browser would round, and what JSON does not have, is shown as text.
        exact = abs(value) < 2**53 if isinstance(value, int) else math.isfinite(value)
        return value if exact else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)
