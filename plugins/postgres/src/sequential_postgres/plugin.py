"""The hooks: what this package brings, by name. The driver is imported when a URL is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sequential import hookimpl
from sequential.hookspecs import SpanStoreFactory, StorageFactory, TransportFactory
from sequential.spans import SpanStore
from sequential.storage import Clock, Storage


def open_postgres(url: str, clock: Clock) -> Storage:
    """Return the storage that *url* names, set up if the schema is new.

    Raises:
        ConfigError: The URL cannot be read, or has an option that there is not.
        StorageError: The server cannot be reached, lets us not in, or holds something else.
    """
    from .storage import PostgresStorage
    from .url import read_postgres_url

    return PostgresStorage(read_postgres_url(url), clock)


def open_spans(url: str, clock: Clock) -> SpanStore:  # noqa: ARG001  (a factory's signature)
    """Return the span store in the schema that *url* names; raises like `open_postgres`."""
    from .spans import PostgresSpans
    from .url import read_postgres_url

    return PostgresSpans(read_postgres_url(url))


def open_notify(url: str, clock: Clock) -> Any:  # noqa: ARG001  (a factory's signature)
    """Return the transport over the server that *url* names; connects when it is used.

    Raises:
        ConfigError: The URL cannot be read, or names a pooler (``prepare=off``).
    """
    from .notify import NotifyTransport
    from .url import read_postgres_url

    return NotifyTransport(read_postgres_url(url))


@hookimpl
def sequential_storages() -> Mapping[str, StorageFactory]:
    """Open ``postgresql://`` and ``postgres://``."""
    return {"postgresql": open_postgres, "postgres": open_postgres}


@hookimpl
def sequential_span_stores() -> Mapping[str, SpanStoreFactory]:
    """Keep spans beside the runs, under the storage's own URL."""
    return {"postgresql": open_spans, "postgres": open_spans}


@hookimpl
def sequential_transports() -> Mapping[str, TransportFactory]:
    """Send and hear through NOTIFY, under the storage's own URL."""
    return {"postgresql": open_notify, "postgres": open_notify}
