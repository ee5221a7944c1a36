"""From encoded values to what is stored, and back: payload codecs, sizes, references.

The ids of the codecs and the reference to a large value stand beside the bytes, never inside the
JSON, so nothing in a value can point anywhere. Which storage keeps a large value is not known
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ._model import Payload, Run
from .errors import ConfigError, NotDecodable

INLINE_LIMIT = 64 * 1024
"""Bytes up to which a result stands in its step record."""

RECORD_LIMIT = 4 * 1024
"""Bytes up to which an input stands in the record of its run, which every commit writes anew."""


class Place(NamedTuple):
    """Where a value belongs. Sealing codecs bind to it, so that no value can be moved.

    Attributes:
        run_id: The run.
        generation: Of the run.
        part: ``input``, ``result``, ``message:<id>``, or a step's position and side, such as
            ``3:value``.
    """

    run_id: str
    generation: int
    part: str


_TRIAL = Place("trial", 0, "trial")


class PayloadCodec(Protocol):
    """Turns bytes into bytes, both ways: compression, sealing, offload."""

    @property
    def id(self) -> str:
        """What stored values name it by: 1 to 32 of a-z, 0-9 and ``-``; never changed."""

    def encode(self, data: bytes, place: Place) -> bytes:
        """Return what to store for *data*."""

    def decode(self, data: bytes, place: Place) -> bytes:
        """Return what `encode` was given.

        Raises:
            NotDecodable: The bytes were not made by this codec for this place.
        """


class Payloads:
    """The codecs of one application, in the order in which they are applied."""

    def __init__(self, known: Sequence[PayloadCodec] = (), order: Sequence[str] = ()) -> None:
        self._known = {codec.id: codec for codec in known}
        for name in order:
            if name not in self._known:
                have = ", ".join(sorted(self._known)) or "none"
                raise ConfigError("payload", name, f"installed payload codecs: {have}")
        self._order = tuple(self._known[name] for name in order)
        self._ids = tuple(order)
        if order:
            # A key or a package that is missing is found now, not after a tool has run.
            self.unwrap(self.wrap(b"null", _TRIAL), _TRIAL)

    @property
    def applied(self) -> bool:
        """Whether values stored from now on go through a codec."""
        return bool(self._order)

    def wrap(self, data: bytes, place: Place) -> Payload:
        """Return the payload of *data*, still whole: large ones are cut out by `is_large`."""
        size = len(data)
        for codec in self._order:
            data = codec.encode(data, place)
        return Payload(data, self._ids, None, size)

    def wrap_part(self, data: bytes, run: Run, part: str) -> Payload:
        """Return the payload of *data* as *part* of the run's generation; see `wrap`."""
        if not self._order:
            return Payload(data, (), None, len(data))
        return self.wrap(data, Place(run.run_id, run.generation, part))

    def unwrap(self, payload: Payload, place: Place) -> bytes:
        """Return the encoded value of *payload*, whose bytes are at hand.

        Raises:
            NotDecodable: A codec is not installed, or refuses the bytes.
        """
        data = payload.data
        for name in reversed(payload.codecs):
            codec = self._known.get(name)
            if codec is None:
                reason = f"it went through payload codec {name!r}, which is not installed"
                raise NotDecodable(reason)
            data = codec.decode(data, place)
        return data
