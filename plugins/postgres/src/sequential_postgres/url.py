"""What ``postgresql://user@host/database?schema=flows&pool=20`` says; connects to nothing.

Everything but our own options is libpq's: several hosts, ``sslmode``, ``passfile``, ``service``.
The password stays inside `PostgresSettings.conninfo`, and no text made here repeats it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sequential.errors import ConfigError

_KNOWN = ("pool", "prepare", "schema", "statement_timeout")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,30}")
_PREFIX = re.compile(r"postgres(?:ql)?://")


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """Where the server is, and how it is spoken to.

    Attributes:
        conninfo: For libpq; may hold a password.
        place: The address for people, without user and password.
        schema: Holds all tables. Each has runs of its own.
        pool: The most connections at a time.
        prepare: Whether statements may be prepared and the session may have settings; off behind
            a pooler that hands each transaction another connection.
        statement_timeout: Seconds that one statement may take. Keep it below a third of the lease.
    """

    conninfo: str = field(repr=False)
    place: str
    schema: str = "sequential"
    pool: int = 10
    prepare: bool = True
    statement_timeout: float = 10.0


def read_postgres_url(url: str) -> PostgresSettings:
    """Return what *url* says.

    Raises:
        ConfigError: libpq cannot read it, or an option of ours cannot be used.
    """
    if not _PREFIX.match(url):
        raise ConfigError("storage", "…", "write postgresql://user@host:5432/database")
    _check_at(url.partition("://")[2])
    head, sign, query = url.partition("?")
    ours: dict[str, str] = {}
    rest: list[str] = []
    # Split by hand: libpq does not read a plus as a space.
    for pair in query.split("&") if sign else ():
        key, _, value = pair.partition("=")
        if key in _KNOWN:
            ours[key] = unquote(value)
        else:
            rest.append(pair)
    given = _read(head + (f"?{'&'.join(rest)}" if any(rest) else ""))
    return PostgresSettings(
        make_conninfo("", **given),
        _place(given, ours.get("schema", "sequential")),
        check_schema(ours.get("schema", "sequential")),
        _pool(ours.get("pool", "10")),
        _prepare(ours.get("prepare", "on")),
        _timeout(ours.get("statement_timeout", "10")),
    )


def _check_at(rest: str) -> None:
    """Refuse an @ that a password brought along: libpq would take what follows for the host."""
    user, _, after = rest.partition("@")
    if "@" in after or (after and ("/" in user or "?" in user)):
        raise ConfigError("storage", "postgresql://…", "percent-encode / ? @ in user and password")


def _read(url: str) -> dict[str, str]:
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(url).items()}
        if not re.fullmatch(r"[0-9,]*", given.get("port", "")):
            raise ConfigError("storage", "postgresql://…", "a port is a number")
        return given
    except psycopg.Error as error:
        # Its sentence may quote any part of the URL, so only what is certainly an option is told.
        found = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        name = f"; there is no option {found[1]!r}" if found else ""
    remedy = (
        f"libpq cannot read it{name}; percent-encode special characters in user and password, and"
        f" use libpq's options or {', '.join(_KNOWN)}"
    )
    raise ConfigError("storage", "postgresql://…", remedy)


def _place(given: dict[str, str], schema: str) -> str:
    """Return the address without user, password and files of keys."""
    hosts = given.get("host", given.get("hostaddr", "")).split(",")
    ports = given.get("port", "").split(",")
    if len(ports) < len(hosts):
        ports = ports * len(hosts)
    named = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    options = "" if schema == "sequential" else f"?{urlencode({'schema': schema})}"
    return f"postgresql://{','.join(named)}/{given.get('dbname', '')}{options}"


def check_schema(text: str) -> str:
    """Return *text* if it can be the name of a schema, which needs no quoting.

    Raises:
        ConfigError: It cannot.
    """
    if not _SCHEMA.fullmatch(text):
        remedy = "use up to 31 of a-z 0-9 _, not beginning with a digit"
        raise ConfigError("storage option schema", text, remedy)
    if text.startswith("pg_"):
        raise ConfigError("storage option schema", text, "names with pg_ are Postgres's own")
    return text


def _pool(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise ConfigError("storage option pool", text, "use 1 to 1000 connections")
    return int(text)


def _prepare(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ConfigError("storage option prepare", text, "use on, or off behind a pooler")
    return text == "on"


def _timeout(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0.05 <= seconds <= 3600:
        remedy = "use seconds from 0.05 to 3600, less than a third of the lease"
        raise ConfigError("storage option statement_timeout", text, remedy)
    return seconds
