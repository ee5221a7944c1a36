"""What a URL says, what is refused, and what of it is never repeated; and texts as columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential.errors import ConfigError
from sequential_postgres.texts import from_column, from_row, to_column, to_row
from sequential_postgres.url import read_postgres_url

SECRET = "hunter2%3F"


def test_an_address_says_where_and_how() -> None:
    settings = read_postgres_url(
        "postgres://me:pw@db.example:5433/flows?schema=acme&pool=3&prepare=off"
        "&statement_timeout=2.5s&sslmode=require&application_name=a+b"
    )
    assert (settings.schema, settings.pool, settings.prepare) == ("acme", 3, False)
    assert settings.statement_timeout == 2.5
    assert settings.place == "postgresql://db.example:5433/flows?schema=acme"
    for part in ("user=me", "password=pw", "sslmode=require", "application_name=a+b"):
        assert part in settings.conninfo


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql:///flows", "postgresql:///flows"),
        ("postgresql://", "postgresql:///"),
        ("postgresql://u:p@/flows?host=/run/pg", "postgresql:///run/pg/flows"),
        (
            "postgresql://a:1,b:2/flows?target_session_attrs=read-write",
            "postgresql://a:1,b:2/flows",
        ),
        ("postgresql://[::1]:5/flows", "postgresql://::1:5/flows"),
        ("postgresql://h/flows?password=x&user=y", "postgresql://h/flows"),
    ],
)
def test_the_address_for_people_has_neither_user_nor_password(url: str, place: str) -> None:
    assert read_postgres_url(url).place == place


@pytest.mark.parametrize(
    ("rest", "hint"),
    [
        ("@h/d?schema=A", "schema"),
        ("@h/d?schema=pg_x", "Postgres's own"),
        ("@h/d?schema=a%22b", "schema"),
        ("@h/d?schema=", "schema"),
        ("@h/d?schema=" + "a" * 32, "31"),
        ("@h/d?pool=0", "1 to 1000"),
        ("@h/d?pool=many", "1 to 1000"),
        ("@h/d?prepare=yes", "on, or off"),
        ("@h/d?statement_timeout=0", "third of the lease"),
        ("@h/d?statement_timeout=nan", "third of the lease"),
        ("@h/d?poool=3", "'poool'"),
        ("@h:port/d", "a port is a number"),
        ("@more@h/d", "percent-encode"),
        ("/more@h/d", "percent-encode"),
        ("?more=1@h/d", "percent-encode"),
        ("%zz@h/d", "percent-encode"),
        ("@[::1/d", "percent-encode"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(
    rest: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=hint) as caught:
        read_postgres_url(f"postgresql://bob:{SECRET}{rest}")
    told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__context__!r}"
    assert "hunter2" not in told
    assert "bob" not in told


def test_settings_do_not_show_the_password() -> None:
    settings = read_postgres_url(f"postgresql://bob:{SECRET}@h/d")
    assert "hunter2" in settings.conninfo
    assert "hunter2" not in repr(settings)
    assert "bob" not in repr(settings)


@given(st.text(st.sampled_from("\0\x1a01ab\u20ac")), st.text(st.sampled_from("\0\x1a01ab\u20ac")))
def test_any_text_comes_back_and_no_two_become_one(one: str, other: str) -> None:
    assert "\0" not in to_column(one)
    assert from_column(to_column(one)) == one
    assert (to_column(one) == to_column(other)) == (one == other)


def test_a_row_keeps_what_is_no_text() -> None:
    row = (1, None, 1.5, b"\0", "a\0")
    assert to_row(row) == (1, None, 1.5, b"\0", "a\x1a0")
    assert from_row(to_row(row)) == row
