"""The hooks: what this package brings, by name. boto3 is imported with the first request."""

from __future__ import annotations

from collections.abc import Mapping

from sequential import hookimpl
from sequential.hookspecs import StorageFactory
from sequential.storage import Clock, Storage


def open_s3(url: str, clock: Clock) -> Storage:
    """Return the storage that *url* names; nothing is asked of the server yet.

    Raises:
        ConfigError: The URL names no bucket, or an option that there is not.
    """
    from .storage import S3Storage
    from .url import read_s3_url

    return S3Storage(read_s3_url(url), clock)


@hookimpl
def sequential_storages() -> Mapping[str, StorageFactory]:
    """Open ``s3:``."""
    return {"s3": open_s3}
