"""Payload codecs that make stored values smaller: ``zlib``, and ``zstd`` where it is installed.

What a value inflates to is bounded before it is inflated, so nobody who can write to the storage
can fill the memory of who reads. What a value means, and in what order codecs are applied, is not
known here.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from ._json import MAX_VALUE
from ._payload import PayloadCodec, Place
from .errors import ConfigError, NotDecodable, NotEncodable
from .hookspecs import hookimpl

SMALL: Final = 256
"""Bytes below which compressing costs more time than it saves room."""

MOST: Final = MAX_VALUE + 64 * 1024
"""Bytes that a value may inflate to: the cap of a value, and room for what other codecs add."""

# The first byte says what follows, so that a value left alone is never taken for a packed one.
_AS_IS = b"\x00"
_PACKED = b"\x01"


class _Compression(ABC):
    """What both have in common: the marker, and the bound. Brings itself as a plugin."""

    id = ""

    @hookimpl
    def sequential_payload_codecs(self) -> Sequence[PayloadCodec]:
        """Bring this codec, where it is given to an application as a plugin."""
        return (self,)

    def encode(self, data: bytes, place: Place) -> bytes:  # noqa: ARG002  (a `PayloadCodec`)
        """Return *data* packed, or as it is where packing does not make it smaller.

        Raises:
            NotEncodable: It has more bytes than would be read back.
            ConfigError: The package that packs is not installed.
        """
        if len(data) > MOST:
            raise NotEncodable("$", "bytes", f"{self.id} reads back at most {MOST:,} bytes")
        packed = self._pack(data)
        return _AS_IS + data if packed is None else _PACKED + packed

    def decode(self, data: bytes, place: Place) -> bytes:  # noqa: ARG002  (a `PayloadCodec`)
        """Return what `encode` was given.

        Raises:
            NotDecodable: It was not packed here, is damaged, would inflate to more than `MOST`
                bytes, or the package that unpacks is not installed.
        """
        marker, packed = data[:1], data[1:]
        if marker not in (_AS_IS, _PACKED):
            raise NotDecodable(f"{self.id}: it was not packed by this codec")
        whole = packed if marker == _AS_IS else self._unpack(packed)
        if len(whole) > MOST:
            raise self._too_large()
        return whole

    @abstractmethod
    def _pack(self, data: bytes) -> bytes | None:
        """Return *data* packed, or None where that is no gain."""

    @abstractmethod
    def _unpack(self, data: bytes) -> bytes:
        """Return what `_pack` was given; may stop after ``MOST + 1`` bytes, never later."""

    def _too_large(self) -> NotDecodable:
        return NotDecodable(f"{self.id}: it inflates to more than {MOST:,} bytes")

    def _damaged(self) -> NotDecodable:
        return NotDecodable(f"{self.id}: it is cut short or damaged")


class Zlib(_Compression):
    """Compression with the standard library's zlib; needs nothing installed.

    Args:
        level: 1, fastest, to 9, smallest.
    """

    id = "zlib"

    def __init__(self, level: int = 6) -> None:
        if level not in range(1, 10):
            raise ConfigError("Zlib level", level, "use 1, fastest, to 9, smallest")
        self._level = level

    def __repr__(self) -> str:
        return f"Zlib(level={self._level})"

    def _pack(self, data: bytes) -> bytes | None:
        packed = zlib.compress(data, self._level) if len(data) >= SMALL else data
        return packed if len(packed) < len(data) else None

    def _unpack(self, data: bytes) -> bytes:
        stream = zlib.decompressobj()
        try:
            whole = stream.decompress(data, MOST + 1)
        except zlib.error:
            raise self._damaged() from None
        if len(whole) <= MOST and (not stream.eof or stream.unused_data):
            raise self._damaged()
        return whole


class Zstd(_Compression):
    """Compression with Zstandard, faster and smaller; needs ``sequential-core[zstd]``.

    Args:
        level: 1, fastest, to 22, smallest and very slow.
    """

    id = "zstd"

    def __init__(self, level: int = 3) -> None:
        if level not in range(1, 23):
            raise ConfigError("Zstd level", level, "use 1, fastest, to 22, smallest")
        self._level = level

    def __repr__(self) -> str:
        return f"Zstd(level={self._level})"

    def _pack(self, data: bytes) -> bytes | None:
        try:
            # Also for what is left alone: the first small value says that it is not installed.
            zstandard = _zstandard()
        except ImportError:
            raise ConfigError("payload", self.id, _INSTALL) from None
        if len(data) < SMALL:
            return None
        # One of these must not be used by two threads at a time, and making it takes microseconds.
        packed: bytes = zstandard.ZstdCompressor(self._level, write_checksum=True).compress(data)
        return packed if len(packed) < len(data) else None

    def _unpack(self, data: bytes) -> bytes:
        try:
            zstandard = _zstandard()
        except ImportError:
            raise NotDecodable(f"{self.id}: {_INSTALL}") from None
        try:
            # As much as the frame declares is taken at once, and never more; one that declares
            # nothing is refused by the package.
            if zstandard.frame_content_size(data) > MOST:
                raise self._too_large()
            opened = zstandard.ZstdDecompressor()
            whole: bytes = opened.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError:
            raise self._damaged() from None
        return whole


_INSTALL = "it needs: pip install 'sequential-core[zstd]'"


def _zstandard() -> Any:
    import zstandard

    return zstandard
