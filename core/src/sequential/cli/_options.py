"""The options that every command has, and those that several share."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from .._config import read_duration
from ..errors import ConfigError, NotDecodable
from ._session import Session

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

_COMMON = ("storage", "values", "transport", "telemetry", "spans", "as_json", "debug")


def common_options(command: F) -> F:
    """Add the options for places and telemetry, ``--json`` and ``--debug``."""
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else."),
        click.option("--spans", metavar="URL", help="Where spans are kept; with the runs if not."),
        click.option("--telemetry", metavar="WORD", help="off, otlp, stored or otlp+stored."),
        click.option("--transport", metavar="URL", help="Resume transport, such as poll:."),
        click.option("--values", metavar="URL", help="Another storage for large values."),
        click.option("--storage", metavar="URL", help="Storage, such as sqlite:///flows.db."),
    ):
        command = option(command)
    return command


def remember(ctx: click.Context, common: dict[str, Any]) -> Session:
    """Put what the common options say into the session of *ctx*, and return it."""
    session = ctx.find_object(Session)
    if session is None:
        session = ctx.obj = Session()
    session.set("storage", common["storage"])
    session.set("values", common["values"])
    session.set("transport", common["transport"])
    session.set("telemetry", common["telemetry"])
    session.set("spans", common["spans"])
    session.json = session.json or common["as_json"]
    session.debug = session.debug or common["debug"]
    return session


def with_session(
    function: Callable[Concatenate[Session, P], int | None],
) -> Callable[..., int | None]:
    """Add the common options to a command, whose first parameter becomes the `Session`."""

    @common_options
    @click.pass_context
    @functools.wraps(function)
    def command(ctx: click.Context, /, *args: Any, **given: Any) -> int | None:
        session = remember(ctx, {name: given.pop(name) for name in _COMMON})
        return function(session, *args, **given)

    return command


def load_option(command: F) -> F:
    """Add ``--load``: where the flows are, for a command that runs them by their names."""
    return click.option(
        "--load", "load", multiple=True, metavar="MODULE|FILE.py",
        help="Import flows and tools from there first. Can be repeated.",
    )(command)  # fmt: skip


# -- what values of options are read by


def json_value(text: str) -> tuple[Any]:
    """Read JSON from the user: the text itself, ``@file.json``, or ``-`` for stdin.

    Returns the value in a one-element tuple, so that ``null`` is not "not given".
    """
    from .._codec import decode_plain

    try:
        return (decode_plain(_read(text)),)
    except OSError as error:
        raise click.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from error
    except NotDecodable as error:
        place = f" {text[1:]}" if text.startswith("@") else ""
        raise click.BadParameter(f"the JSON{place} cannot be used: {error.reason}") from error


def _read(text: str) -> bytes | str:
    if text == "-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text


def tag(text: str) -> tuple[str, str]:
    """Read ``key=value``."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise click.BadParameter(f"{text!r} is no tag; write key=value")
    return key, value


def moment(text: str) -> datetime:
    """Read a date, a time with it, or how long ago: ``2026-01-31``, ``2h``, ``7d``.

    Without a time zone it is taken as local time.
    """
    if re.match(r"\d+(\.\d+)?\s*(ms|s|m|h|d)\Z", text):
        ago = read_duration("moment", text)
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - ago, UTC)
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is no moment; write 2026-01-31T09:00, 2h or 7d"
        raise click.BadParameter(message) from error


def duration(text: str) -> float:
    """Read seconds, or ``90s``, ``5m``, ``2h``, ``7d``."""
    # "30" is seconds; the configuration reads it the same way.
    try:
        return read_duration("duration", text)
    except ConfigError as error:
        raise click.BadParameter(f"{text!r} is no duration; {error.remedy}") from error
