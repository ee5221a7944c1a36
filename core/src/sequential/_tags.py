"""The tags of a run: what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigError


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return *tags* if they can be those of a run.

    Raises:
        ConfigError: They are not text to text, or too long.
    """
    given: Mapping[Any, Any] = tags
    if not isinstance(given, Mapping):
        raise ConfigError("tags", given, "tags map text to text, as in {'team': 'shop'}")
    for name, value in given.items():
        text = isinstance(name, str) and isinstance(value, str)
        if not text or not 0 < len(name) <= 64 or len(value) > 256:
            raise ConfigError("tags", {name: value}, "tags map text (1 to 64) to text (up to 256)")
    return dict(tags)
