"""``plugins``, ``doctor`` and ``migrate``: the installation and the storage themselves."""

from __future__ import annotations

import logging
from typing import Any

import click

from .._config import shown_url
from .._plugins import PluginInfo, Plugins
from .._storage import Storage
from ._audit import Finding, audit
from ._options import duration, with_session
from ._session import Session


@click.command("plugins")
@with_session
def plugins_command(session: Session) -> None:
    """List the installed plugins, and why one cannot be loaded."""
    log = logging.getLogger("sequential")
    before = log.level
    # What would be warned of stands in the list.
    log.setLevel(logging.ERROR)
    try:
        found = Plugins((), session.settings.plugins).found
    finally:
        log.setLevel(before)
    if session.json:
        for plugin in found:
            session.output.document(_plugin(plugin))
    elif found:
        columns = ("PLUGIN", "PACKAGE", "VERSION", "HOOKS")
        session.output.table(columns, [_plugin_row(plugin) for plugin in found])
    else:
        session.output.note("no plugins are installed; sqlite:, memory: and poll: need none")


def _plugin(plugin: PluginInfo) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "package": plugin.distribution,
        "version": plugin.version,
        "hooks": list(plugin.hooks),
        "error": plugin.error,
    }


def _plugin_row(plugin: PluginInfo) -> list[str]:
    hooks = ", ".join(name.removeprefix("sequential_") for name in plugin.hooks)
    said = hooks if plugin.error is None else f"broken: {plugin.error}"
    return [plugin.name, plugin.distribution, plugin.version, " ".join(said.split())]


@click.command("doctor")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True,
              help="How many runs to look at, newest first.")  # fmt: skip
@click.option("--overdue", type=duration, metavar="DURATION", default="60s", show_default=True,
              help="How long a run may be due before nobody seems to look.")  # fmt: skip
@click.option("--repair", is_flag=True,
              help="First let the storage put right what is wrong with its own parts.")  # fmt: skip
@with_session
def doctor_command(session: Session, limit: int, overdue: float, repair: bool) -> int:
    """Try what the storage promises, and look for runs that need somebody.

    Exit code 1 if there is anything to do.
    """
    with session.app() as app:
        probe = app.probe()
        repaired = _repaired(app.storage) if repair else []
        schema = getattr(app.storage, "schema", None)
        found, looked = audit(app, limit, overdue)
    if session.json:
        session.output.document(
            {
                "storage": shown_url(session.settings.storage),
                "schema": schema,
                "deployment": app.storage.deployment,
                "checks": list(probe.checks),
                "cannot": list(probe.cannot),
                "repaired": repaired,
                "runs": looked,
                "findings": [each._asdict() for each in found],
            }
        )
        return 1 if found else 0
    output = session.output
    output.fields(
        {
            "storage": shown_url(session.settings.storage),
            "schema": "" if schema is None else str(schema),
            "deployment": app.storage.deployment,
        }
    )
    for line in probe.checks:
        output.text(f"ok: {line}")
    for line in probe.cannot:
        output.text(f"cannot {line}")
    for line in repaired:
        output.text(f"repaired: {line}")
    if repair and not repaired:
        output.text("nothing to repair")
    _print_findings(session, found, looked)
    return 1 if found else 0


def _repaired(storage: Storage) -> list[str]:
    """Let *storage* repair itself; most have no parts that could come apart, and no `repair`."""
    repair = getattr(storage, "repair", list)
    return list(repair())


def _print_findings(session: Session, found: list[Finding], looked: int) -> None:
    session.output.text(f"{looked} runs looked at, {len(found)} need somebody")
    if found:
        rows = [[each.run_id, each.what, each.why] for each in found]
        session.output.table(("RUN", "WHAT", "WHY"), rows)


@click.command("migrate")
@with_session
def migrate_command(session: Session) -> None:
    """Set up the storage, or bring it to the schema of this version."""
    with session.app() as app:
        schema = getattr(app.storage, "schema", None)
        deployment = app.storage.deployment
    shown = shown_url(session.settings.storage)
    if session.json:
        session.output.document({"storage": shown, "schema": schema, "deployment": deployment})
        return
    at = "" if schema is None else f" at schema {schema}"
    session.output.text(f"{shown} is up to date{at}")
