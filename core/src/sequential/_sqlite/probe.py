"""What a SQLite file can promise where it lies: durability, the log, the kind of file system.

Looks only; the contract itself is tried by `_storage_probe`.
"""

from __future__ import annotations

import os
import sqlite3

from .._storage import Probe, Storage
from .._storage_probe import try_contract
from ..errors import StorageRefused
from .connection import Connections

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "9p", "fuse.sshfs"}
)
_SYNCHRONOUS = ("off", "normal", "full", "extra")


def probe(storage: Storage, connections: Connections) -> Probe:
    """Try everything; say what held and what cannot be had here.

    Raises:
        StorageRefused: The file lies on a network file system.
        StorageError: The contract does not hold.
    """
    path = connections.path
    kind = file_system(path)
    if kind in _NETWORK:
        raise StorageRefused(
            path, f"it lies on a network file system ({kind}), where its locks cannot be trusted"
        )
    checks = list(try_contract(storage, path))
    with connections.reading() as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        level = _SYNCHRONOUS[connection.execute("PRAGMA synchronous").fetchone()[0]]
    checks.append(f"SQLite {sqlite3.sqlite_version}, journal {mode}, synchronous {level}")
    cannot = ["serve processes on other machines"]
    if level == "normal":
        cannot.append("keep the last commits through a power failure (synchronous=normal)")
    if kind is None:
        cannot.append("tell whether it lies on a network file system; it must not")
    return Probe(f"sqlite:///{path}", checks, cannot)


def file_system(path: str, mounts: str = "/proc/self/mounts") -> str | None:
    """Return the kind of file system under *path*, None where the machine does not say."""
    try:
        with open(mounts, encoding="utf-8") as lines:  # noqa: PTH123  (pathlib is slow to import)
            table = [line.split()[1:3] for line in lines]
    except (OSError, UnicodeError):
        return None
    real = os.path.realpath(path)
    best, kind = "", None
    for place, found in table:
        below = place if place.endswith("/") else f"{place}/"
        if real.startswith(below) and len(below) >= len(best):
            best, kind = below, found
    return kind
