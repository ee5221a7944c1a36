"""Log lines of flows and tools: which run and step a line comes from, said on it and kept.

Reads context variables, which follow a tool to its thread or to the event loop. Changes no level
and no handler of anybody.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from ._calls import CALL
from ._keeper import Keeper
from ._redaction import redacted_text
from ._scope import CURRENT
from ._span_ids import attempt_span_id, run_span_id, step_span_id, trace_id_of
from ._span_store import LogRow

LINES = 200
"""Lines of one step that are kept, the first ones; those of the flow's own code count together."""

_COUNTED = 1024

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Origin(NamedTuple):
    """Where code runs.

    Attributes:
        run_id: The run.
        position: Of the step whose tool runs; empty in the flow's own code.
        attempt: From 1; 0 in the flow's own code.
        trace: Id of the run's trace.
        span: Id of the attempt's span; in the flow's own code, of the run's.
        silent: The code runs again only because the flow is replayed, or discarded.
    """

    run_id: str
    position: str
    attempt: int
    trace: int
    span: int
    silent: bool = False


def origin() -> Origin | None:
    """Return where the current code runs; None if it is no flow's and no tool's."""
    call, scope = CALL.get(), CURRENT.get()
    if call is not None:
        step = step_span_id(call.run_id, call.generation, call.position)
        span = attempt_span_id(step, call.attempt, call.fence)
        trace = trace_id_of(call.run_id, call.run_created)
        return Origin(call.run_id, call.position, call.attempt, trace, span)
    if scope is not None and scope.run_id:
        trace, span = trace_id_of(scope.run_id, scope.created), run_span_id(scope.run_id)
        return Origin(scope.run_id, "", 0, trace, span, scope.replaying or scope.pausing)
    return None


class Stamps(logging.Filter):
    """Says on each log record where it comes from; lets every record pass.

    Give it to a handler. Sets the texts ``run_id``, ``step`` (its position), ``attempt``,
    ``trace_id`` and ``span_id`` (hex digits), each empty where there is none, so that a format
    may always name them.

    Example:
        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(Stamps())
        >>> handler.setFormatter(logging.Formatter("%(run_id)s %(step)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp *record*."""
        found = origin()
        record.run_id = record.step = record.attempt = record.trace_id = record.span_id = ""
        if found is not None:
            record.run_id, record.step = found.run_id, found.position
            record.attempt = str(found.attempt or "")
            record.trace_id, record.span_id = f"{found.trace:032x}", f"{found.span:016x}"
        return True


class KeptLines(logging.Handler):
    """Keeps the lines of runs that *keeper* sees."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__()
        self._keeper = keeper
        self._lines: dict[tuple[str, str, int], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*, redacted, unless it is none of a run's, or said again on replay."""
        found = origin()
        if found is None or found.silent or not self._keeper.sees(found.trace):
            return
        if not self._counted(found):
            return
        try:
            message = redacted_text(self.format(record), 2_000)
        except Exception:  # noqa: BLE001  (arguments of a line may be anything)
            self.handleError(record)
            return
        self._keeper.put(
            LogRow(
                trace=f"{found.trace:032x}",
                position=found.position,
                time=record.created,
                level=_LEVELS[min(max(record.levelno // 10, 1), 5) - 1],
                logger=record.name[:256],
                message=message,
                span=f"{found.span:016x}",
            )
        )

    def _counted(self, found: Origin) -> bool:
        key = found.run_id, found.position, found.attempt
        lines = self._lines.get(key, 0) + 1
        self._lines[key] = lines
        if len(self._lines) > _COUNTED:
            del self._lines[next(iter(self._lines))]
        return lines <= LINES
