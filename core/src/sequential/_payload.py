"""From encoded values to what is stored, and back: payload codecs, sizes, references.

The ids of the codecs and the reference to a large value stand beside the bytes, never inside the
JSON, so nothing in a value can point anywhere. Which storage keeps a large value is not known
here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from . import _codec
from ._model import ErrorValue, Payload, Run
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


def input_place(run_id: str) -> Place:
    """Return the place of a run's input, which later generations may share."""
    return Place(run_id, 0, "input")


def progress_place(run_id: str) -> Place:
    """Return the place of what a run says of its progress, which later generations keep."""
    return Place(run_id, 0, "progress")


def value_place(run: Run, position: str) -> Place:
    """Return the place of the result of the step at *position*."""
    return Place(run.run_id, run.generation, f"{position}:value")


def result_place(run: Run) -> Place:
    """Return the place of a run's result."""
    return Place(run.run_id, run.generation, "result")


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


@runtime_checkable
class KeyedCodec(PayloadCodec, Protocol):
    """A codec with keys, which therefore makes the digests of inputs too.

    A digest without a key tells whoever reads the storage which of his guesses is right.
    """

    def fingerprint(self, data: bytes, like: str) -> str:
        """Return a keyed digest of *data* that names its key.

        Made as *like* was, an earlier answer, so that both can be compared after a key was
        changed; with the key that seals if *like* is empty.

        Raises:
            NotDecodable: The key of *like* is not here.
        """


_REQUIRED = "required"


class Payloads:
    """The codecs of one application, in the order in which they are applied.

    Args:
        known: All codecs of this process.
        order: Ids of those that stored values go through from now on; ``seal:required`` also
            refuses to read a value that did not go through `seal`.

    Attributes:
        strict: Whether values that are stored without a codec must not be read.
    """

    def __init__(self, known: Sequence[PayloadCodec] = (), order: Sequence[str] = ()) -> None:
        self._known = {codec.id: codec for codec in known}
        wanted = [entry.partition(":") for entry in order]
        for name, colon, word in wanted:
            if name not in self._known:
                have = ", ".join(sorted(self._known)) or "none"
                raise ConfigError("payload", name, f"installed payload codecs: {have}")
            if colon and word != _REQUIRED:
                raise ConfigError("payload", f"{name}:{word}", f"write {name} or {name}:required")
        self._ids = tuple(name for name, _, _ in wanted)
        self._required = tuple(name for name, _, word in wanted if word)
        self.strict = bool(self._required)
        self._order = tuple(self._known[name] for name in self._ids)
        self._keyed = next((c for c in reversed(self._order) if isinstance(c, KeyedCodec)), None)
        if order:
            # A key or a package that is missing is found now, not after a tool has run.
            self.unwrap(self.wrap(b"null", _TRIAL), _TRIAL)

    @property
    def applied(self) -> bool:
        """Whether values stored from now on go through a codec."""
        return bool(self._order)

    @property
    def sealing(self) -> bool:
        """Whether values stored from now on must not be readable without a key."""
        return self._keyed is not None

    def fingerprint(self, data: bytes, like: str = "") -> str:
        """Return the digest of an encoded input, made as *like* was, another one, if it is given.

        Raises:
            NotDecodable: What *like* was made with is not here.
        """
        codec, made = self._keyed, ""
        if like:
            name, colon, made = like.partition(":")
            known = self._known.get(name) if colon else None
            # Asked of None it would cost more than the digest.
            codec = known if colon and isinstance(known, KeyedCodec) else None
            if colon and codec is None:
                raise _not_installed(name)
        if codec is None:
            return hashlib.sha256(data).hexdigest()
        return f"{codec.id}:{codec.fingerprint(data, made)}"

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
            NotDecodable: A codec is not installed, or refuses the bytes; or the value did not go
                through one that is required.
        """
        data = payload.data
        for name in self._required:
            if name not in payload.codecs:
                raise NotDecodable(
                    f"{place.part[:80]!r} of run {place.run_id!r} is stored without payload codec"
                    f" {name!r}, and `payload` says {name}:required; if it was stored before"
                    f" {name} was, write {name} until it is purged, else somebody put it there"
                )
        for name in reversed(payload.codecs):
            codec = self._known.get(name)
            if codec is None:
                raise _not_installed(name)
            data = codec.decode(data, place)
        return data

    def seal_error(self, error: ErrorValue, run: Run) -> ErrorValue:
        """Return *error*, which *run* failed with, as it is stored: its words sealed if values are.

        What its class is called stays readable, for those who look after runs.
        """
        if self._keyed is None:
            return error
        data = None if error.data is None else _codec.decode(error.data.data)
        parts = _codec.encode({"message": error.message, "data": data})
        return error._replace(message="(sealed)", data=self.wrap_part(parts, run, "error"))

    def open_error(self, error: ErrorValue, run: Run) -> ErrorValue:
        """Return what `seal_error` was given; an error that was never sealed comes as it is.

        Raises:
            NotDecodable: It cannot be opened here.
        """
        if error.data is None or not error.data.codecs:
            return error
        place = Place(run.run_id, run.generation, "error")
        parts = _codec.decode(self.unwrap(error.data, place))
        data = None if parts["data"] is None else Payload(_codec.encode(parts["data"]))
        return error._replace(message=parts["message"], data=data)


class PlainPayloads(Payloads):
    """For values that were taken out of their codecs: digests made with a key are not compared."""

    def fingerprint(self, data: bytes, like: str = "") -> str:
        """Return the digest of *data*, or *like* where a key would be needed for it."""
        return like if ":" in like else super().fingerprint(data, like)


def _not_installed(name: str) -> NotDecodable:
    return NotDecodable(
        f"it went through payload codec {name!r}, which is not installed; install the package that"
        " brings it, or pass the codec under `plugins`"
    )
