"""The plugin that the core itself is: its storages, its transport, its payload codecs.

Drivers, ciphers and encoders are imported when a URL asks for them, like those of any other plugin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._clock import Clock
from ._payload import PayloadCodec
from ._span_store import SpanStore
from ._storage import Storage
from .hookspecs import SpanStoreFactory, StorageFactory, TransportFactory, hookimpl


def _open_sqlite(url: str, clock: Clock) -> Storage:
    from ._sqlite import open_sqlite

    return open_sqlite(url, clock)


def _open_memory(url: str, clock: Clock) -> Storage:
    from ._memory import open_memory

    return open_memory(url, clock)


@hookimpl
def sequential_storages() -> Mapping[str, StorageFactory]:
    """Open ``sqlite:`` and ``memory:``."""
    return {"sqlite": _open_sqlite, "memory": _open_memory}


def _open_sqlite_spans(url: str, clock: Clock) -> SpanStore:
    from ._sqlite.spans import open_sqlite_spans

    return open_sqlite_spans(url, clock)


def _open_memory_spans(url: str, clock: Clock) -> SpanStore:
    from ._memory_spans import open_memory_spans

    return open_memory_spans(url, clock)


@hookimpl
def sequential_span_stores() -> Mapping[str, SpanStoreFactory]:
    """Open ``sqlite:``, in a file beside that of the runs, and ``memory:``."""
    return {"sqlite": _open_sqlite_spans, "memory": _open_memory_spans}


@hookimpl
def sequential_transports() -> Mapping[str, TransportFactory]:
    """Open ``poll:``."""
    from ._polling import open_polling

    return {"poll": open_polling}


@hookimpl
def sequential_payload_codecs() -> Sequence[PayloadCodec]:
    """Bring ``zlib``, ``zstd`` and ``seal``; the packages that they need are imported at use."""
    from ._compress import Zlib, Zstd
    from ._seal import Seal

    return (Zlib(), Zstd(), Seal())
