"""What blocks a run: found by whoever plays or carries it on, written down by the invocation."""

from __future__ import annotations


class Obstacle(Exception):
    """Something that a deploy or a person must remove before the run can go on."""

    def __init__(self, reason: str, message: str, lines: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.diff = lines
