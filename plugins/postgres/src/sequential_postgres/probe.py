"""What a server can promise: durability, who else has the commits, whether it takes writes at all.

Looks only; the contract itself is tried by `sequential.storage.try_contract`.
"""

from __future__ import annotations

from sequential.errors import StorageRefused
from sequential.storage import Probe, Storage, try_contract

from .connections import Connections

_FACTS = b"""
SELECT pg_is_in_recovery(), current_setting('transaction_read_only'),
    current_setting('server_version'), current_setting('fsync'),
    current_setting('synchronous_commit'), current_setting('full_page_writes'),
    current_setting('synchronous_standby_names'), current_setting('statement_timeout')"""


def probe(storage: Storage, connections: Connections) -> Probe:
    """Try everything; say what held and what cannot be had here.

    Raises:
        StorageRefused: The server is a replica, or takes no writes.
        StorageError: The contract does not hold.
    """
    place = connections.place
    [facts] = connections.repeat(_FACTS, ())
    replica, read_only, version, fsync, synchronous, pages, standbys, timeout = facts
    if replica or read_only == "on":
        raise StorageRefused(place, "the server is a read-only replica; name the primary")
    checks = list(try_contract(storage, place))
    checks.append(f"Postgres {version}, fsync {fsync}, synchronous_commit {synchronous}")
    cannot = []
    if fsync == "off" or pages == "off":
        cannot.append(f"survive a power failure (fsync {fsync}, full_page_writes {pages})")
    if synchronous == "off":
        cannot.append("keep the last commits through a crash of the server (synchronous_commit)")
    if not standbys or synchronous in {"off", "local"}:
        cannot.append("keep the last commits through a failover (no synchronous standby is set)")
    if timeout == "0":
        cannot.append("stop a statement that hangs (statement_timeout is 0; set it for the role)")
    return Probe(place, checks, cannot)
