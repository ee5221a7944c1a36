"""The group of all commands: finds them late, and makes one line and an exit code of any error.

Which command stands in which module is listed here, so that ``sequential --version`` imports none
of them. Knows nothing of runs.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from ..errors import RunBlocked, RunCancelled, RunFailed, SequentialError
from ._options import common_options, remember
from ._output import one_line
from ._session import Session

_COMMANDS = {
    "run": "start",
    "start": "start",
    "execute": "execute",
    "wait": "execute",
    "worker": "execute",
    "sweep": "execute",
    "list": "look",
    "show": "look",
    "replay": "histories",
    "export": "histories",
    "signal": "tell",
    "cancel": "tell",
    "terminate": "tell",
    "retry": "repair",
    "fork": "repair",
    "redrive": "repair",
    "purge": "repair",
    "plugins": "operate",
    "doctor": "operate",
    "migrate": "operate",
    "project": "project",
    "demo": "demo",
}
"""The module of each command; in it stands a function of the command's name and ``_command``."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130


class Commands(click.Group):
    """All commands, each imported when it is asked for; those of plugins only after ours."""

    _asked_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which one meets them, then those of plugins."""
        try:
            self._ask_plugins(ctx)
        except SequentialError as error:
            # Help must work most of all when the configuration does not.
            click.echo(f"note: no commands of plugins: {one_line(error)}", err=True)
        return [*_COMMANDS, *sorted(set(self.commands) - set(_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command *cmd_name*; None if neither we nor a plugin have it."""
        if cmd_name in _COMMANDS:
            module = importlib.import_module(f".{_COMMANDS[cmd_name]}", __package__)
            command: click.Command = getattr(module, f"{cmd_name}_command")
            return command
        self._ask_plugins(ctx)
        return super().get_command(ctx, cmd_name)

    def _ask_plugins(self, ctx: click.Context) -> None:
        if not self._asked_plugins:
            from .._plugins import Plugins

            session = ctx.obj if isinstance(ctx.obj, Session) else Session()
            Plugins((), session.settings.plugins).commands(self)
            self._asked_plugins = True

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that the arguments name, and leave the process with its exit code."""
        session = extra.setdefault("obj", Session())
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read us has enough, as `head` does; the interpreter must not flush again.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
            code = FAILED
        except BaseException as error:
            if not standalone_mode:
                raise
            code = _explain(error, session)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException, session: Session) -> int:
    """Say *error* on stderr, in one line; return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if session.debug:
        traceback.print_exception(error)
    text, code = _said(error)
    click.echo(text, err=True)
    return code


def _said(error: BaseException) -> tuple[str, int]:
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted; a run that was started goes on where it is resumed", INTERRUPTED
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "sequential"
        return f"error: {one_line(error.format_message())} (see {path} --help)", USAGE
    if isinstance(error, click.ClickException):
        return f"error: {one_line(error.format_message())}", FAILED
    if isinstance(error, SequentialError | RunCancelled):
        return f"error: {one_line(error)}", _code_of(error)
    if isinstance(error, OSError):
        return f"error: {one_line(error)}", FAILED
    place = f"{type(error).__name__}: {one_line(error)}"
    return f"error: {place} (unexpected; --debug shows where it was raised)", FAILED


def _code_of(error: BaseException) -> int:
    if isinstance(error, RunBlocked):
        return 3
    if isinstance(error, RunFailed):
        return 4
    return 5 if isinstance(error, RunCancelled) else FAILED


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        try:
            click.echo(f"sequential {version('sequential-core')}")
        except PackageNotFoundError:
            click.echo("sequential, from a source tree that is not installed")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True,
    help="Print the version and exit.",
)  # fmt: skip
@common_options
@click.pass_context
def cli(ctx: click.Context, /, **common: Any) -> None:
    """Carry flows to their end, and look after their runs.

    A FLOW is module:flow, path/file.py:flow, or a registered name. Settings come from flags, then
    SEQUENTIAL_* variables, then sequential.toml or [tool.sequential] in pyproject.toml.

    Exit codes: 0 done or paused, 1 error, 2 wrong usage, 3 blocked or quarantined, 4 failed,
    5 cancelled.
    """
    remember(ctx, common)


def main() -> None:
    """Run the command line; this is the script ``sequential``."""
    cli.main(prog_name="sequential")
