"""How spans and lines of logs become columns: some to look up by, and JSON for the rest.

JSON in ASCII holds what no column does: NUL, halves of surrogate pairs, numbers of any size. What
cannot be read back is left out, and said in the log: it is no record. Knows no store.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence

from ._span_store import LogRow, SpanRow

_log = logging.getLogger("sequential")

Columns = Sequence[str | float]


def pack_span(row: SpanRow) -> tuple[str, str, float, float, str]:
    """Return *row* as trace, span, started, ended and data."""
    attributes = dict(row.attributes)
    links = [list(link) for link in row.links]
    rest = [row.parent, row.name, row.kind, row.error, attributes, links, row.service]
    # What is no text, number or truth value is shown as text, before it fails all of a batch.
    return row.trace, row.span, row.started, row.ended, json.dumps(rest, default=str)


def pack_log(row: LogRow) -> tuple[str, str, float, str]:
    """Return *row* as trace, position, time and data."""
    return row.trace, row.position, row.time, json.dumps([*row[3:]], default=str)


def unpack_spans(rows: Iterable[Columns]) -> list[SpanRow]:
    """Return the spans that `pack_span` made *rows* of."""
    found: list[SpanRow] = []
    for trace, span, started, ended, data in rows:
        try:
            parent, name, kind, error, attributes, links, service = json.loads(str(data))
            pairs = tuple((str(one), str(other)) for one, other in links)
            texts = (str(trace), str(span), str(parent), str(name), str(kind))
            times = (float(started), float(ended))
            found.append(SpanRow(*texts, *times, str(error), dict(attributes), pairs, str(service)))
        except (ValueError, TypeError, RecursionError) as failure:
            _log.warning("left out of trace %.40s: span %.40s: %s", trace, span, failure)
    return found


def unpack_logs(rows: Iterable[Columns]) -> list[LogRow]:
    """Return the lines that `pack_log` made *rows* of."""
    found: list[LogRow] = []
    for trace, position, time, data in rows:
        try:
            level, logger, message, span = json.loads(str(data))
            texts = (str(level), str(logger), str(message), str(span))
            found.append(LogRow(str(trace), str(position), float(time), *texts))
        except (ValueError, TypeError, RecursionError) as failure:
            _log.warning("left out of trace %.40s: a line of its log: %s", trace, failure)
    return found
