"""The layout: which key is whose. Pure; the order of keys is part of it.

sequential.json                                what the prefix says of itself
f/{hh}/{run}/head                              the only object that is compared and set
f/{hh}/{run}/seg/{from}-{to}.{fence}.{nonce}   sealed step records
f/{hh}/{run}/value/{sha256}                    large values
f/{hh}/{run}/handed                            when a sweeper was last told of it
w/0/{minute}/{run}!…                           wake markers
w/0/!begun, w/0/!done                          how far the daily repair is
i/{status}/{reverse time}/{run}!…              the index
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from typing import NamedTuple
from urllib.parse import quote

from sequential.storage import Run, Status

_LONGEST = 256
_LAST_MINUTE = 9_999_999_999
_CLASSES = {Status.PAUSED: "open", Status.RUNNING: "open"}

# `!` comes before whatever a name can hold, so that "a" comes before "a-b".
_MARKER = re.compile(
    r"\d{10}/(?P<name>[^/!]+)!v(?P<version>\d+)\.(?P<at>[0-9a-f]{16})\.(?P<wake>[0-9a-f]{16})"
    r"\.(?P<born>[0-9a-f]{16})\.(?P<flow>[0-9a-f]{8})\.[ms][0-9a-f]*"
)
_ENTRY = re.compile(
    r"(?P<time>[0-9a-f]{16})/(?P<name>[^/!]+)"
    r"!(?P<tag>v\d+\.[0-9a-f]+)\.(?P<flow>[0-9a-f]{8})\.(?P<parent>[0-9a-f]{8})"
)


class Marker(NamedTuple):
    """Says that a run is to be looked at.

    Attributes:
        name: Of the run.
        version: That was about to be written when the marker was, or that a sweeper saw.
        at: When to look, seconds since the epoch.
        wake: Of the run, as far as it was known.
        born: When its writer wrote it; 0 for a sweeper.
        flow: Digest of the flow's name.
        tag: ``m`` and a nonce from a writer, ``s`` from a sweeper.
    """

    name: str
    version: int
    at: float
    wake: float
    born: float
    flow: str
    tag: str = "s"

    @property
    def rest(self) -> str:
        """What its key ends in."""
        minute = min(int(self.at // 60), _LAST_MINUTE)
        times = ".".join(bits(time) for time in (self.at, self.wake, self.born))
        return f"{minute:010}/{self.name}!v{self.version}.{times}.{self.flow}.{self.tag}"


class Entry(NamedTuple):
    """One line of the index. *tag* tells entries of one run apart."""

    name: str
    tag: str
    flow: str
    parent: str
    key: str


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/" if prefix else ""
        self.meta = f"{self._prefix}sequential.json"
        self.runs = f"{self._prefix}f/"
        self.markers = f"{self._prefix}w/0/"
        # Before all markers, so that whoever lists these sees them.
        self.begun = f"{self.markers}!begun"
        self.done = f"{self.markers}!done"

    def part(self, digit: str) -> str:
        """What every key of a sixteenth of the runs begins with."""
        return f"{self.runs}{digit}"

    def run(self, name: str) -> str:
        """What every key of the run begins with."""
        shard = hashlib.sha256(name.encode()).hexdigest()[:2]
        return f"{self.runs}{shard}/{name}/"

    def head(self, name: str) -> str:
        """The record."""
        return f"{self.run(name)}head"

    def segment(self, name: str, rest: str) -> str:
        """Sealed step records."""
        return f"{self.run(name)}seg/{rest}"

    def value(self, name: str, digest: str) -> str:
        """A large value."""
        return f"{self.run(name)}value/{digest}"

    def handed(self, name: str) -> str:
        """When a sweeper was last told of the run."""
        return f"{self.run(name)}handed"

    def marker(self, marker: Marker) -> str:
        """A wake marker."""
        return self.markers + marker.rest

    def read_marker(self, key: str) -> Marker | None:
        """Return the marker of *key*, or None if it is none."""
        rest = key.removeprefix(self.markers)
        found = _MARKER.fullmatch(rest)
        if found is None:
            return None
        at, wake, born = (_unbits(found[part]) for part in ("at", "wake", "born"))
        tag = rest.rpartition(".")[2]
        return Marker(found["name"], int(found["version"]), at, wake, born, found["flow"], tag)

    def index(self, status: Status) -> str:
        """What the keys of the runs of *status* begin with."""
        return f"{self._prefix}i/{_CLASSES.get(status, status.value)}/"

    def entry(self, run: Run, tag: str) -> str:
        """The line of the index for *run*."""
        parent = run.parent.run_id if run.parent else ""
        begin = f"{self.index(run.status)}{_reverse(run.created)}/{name_of(run.run_id)}"
        return f"{begin}!{tag}.{digest_of(run.flow)}.{digest_of(parent)}"

    def after(self, status: Status, created: float, run_id: str) -> str:
        """A key that comes after all lines of the run, and before those of the next."""
        return f"{self.index(status)}{_reverse(created)}/{name_of(run_id)}!~"

    def read_entry(self, prefix: str, key: str) -> Entry | None:
        """Return the line of *key*, or None if it is none."""
        found = _ENTRY.fullmatch(key.removeprefix(prefix))
        return found and Entry(found["name"], found["tag"], found["flow"], found["parent"], key)


def name_of(run_id: str) -> str:
    """Return how *run_id* stands in keys: as it is if it keeps the grammar of ids."""
    name = quote(run_id, safe="", errors="surrogatepass")
    if name in {"", ".", ".."}:
        return f"%{len(name)}"
    if len(name) > _LONGEST:
        return "%h" + hashlib.sha256(name.encode()).hexdigest()
    return name


def may_begin(name: str, beginning: str) -> bool:
    """Tell whether the id that *name* stands for may begin with *beginning*."""
    # A name that is not the id itself begins with what it is not.
    return name.startswith((quote(beginning, safe="", errors="surrogatepass"), "%"))


def digest_of(text: str) -> str:
    """Return 8 letters for *text*; others may have the same."""
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def bits(time: float) -> str:
    """Return 16 letters for *time*, in its order, exact."""
    return struct.pack(">d", max(0.0, time) + 0.0).hex()


def _unbits(text: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(text))[0])


def _reverse(time: float) -> str:
    return f"{(1 << 64) - 1 - int(bits(time), 16):016x}"
