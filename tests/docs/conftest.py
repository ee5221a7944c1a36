"""What pages of the documentation find around them when they are played."""

from __future__ import annotations

import os

import pytest

from tests.fix_postgres import VERSIONS, Server, package


@pytest.fixture
def postgres_of_libpq(
    postgres18: Server, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let ``postgresql:///`` and ``psql`` mean an empty database, through libpq's variables."""
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(postgres18.url(empty_database))
    for option, name in (
        ("host", "HOST"),
        ("port", "PORT"),
        ("user", "USER"),
        ("dbname", "DATABASE"),
        ("password", "PASSWORD"),
    ):
        if given.get(option):
            monkeypatch.setenv(f"PG{name}", str(given[option]))
    programs = package() / VERSIONS[18] / "bin"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
