"""What looks secret is masked here before it is stored for people, shown or exported."""

from __future__ import annotations

from ._redaction import MASK, is_secret_name, redacted, redacted_text

__all__ = ["MASK", "is_secret_name", "redacted", "redacted_text"]
