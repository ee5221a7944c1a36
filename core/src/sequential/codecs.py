"""Payload codecs: ``zlib`` and ``zstd`` make stored values smaller, ``seal`` encrypts them.

Each is known to every application by its id (``payload = ["zlib", "seal"]``). Give one made in
code as a plugin: ``Sequential(plugins=[Seal({"k1": key})], payload=["seal"])``. A codec of your own
keeps the contract `PayloadCodec`; one that seals, `KeyedCodec`.
"""

from __future__ import annotations

from ._compress import Zlib, Zstd
from ._payload import KeyedCodec, PayloadCodec, Place
from ._seal import Seal

__all__ = ["KeyedCodec", "PayloadCodec", "Place", "Seal", "Zlib", "Zstd"]
