"""Who may do what: the question that is asked before anything is done for a client.

`Tokens` answers it by bearer tokens; anything callable may answer it instead, per action and run.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sequential.errors import ConfigError
from sequential.storage import Run

from .exchange import Call

TOKENS = "SEQUENTIAL_HTTP_TOKENS"

Action = Literal["start", "list", "read", "signal", "cancel", "retry"]

_LEAST = 16
_TOKEN = re.compile(r"[!-~]{16,512}")


@dataclass(frozen=True, slots=True)
class Access:
    """Something that a client asks for.

    It is asked about twice: first with *call* alone, before anything is read; a "no" is then
    answered 401. Then with what it is about; a "no" is then answered 404, as if it were not there.

    Attributes:
        action: What is to be done.
        call: The request, for its headers.
        run: The run that it is about, when there is one.
        flow: The flow to start, or the one that is listed; empty for all.
        run_id: The id that a new run is to have; empty for a random one.
        tags: The tags that a new run is to have, or that are listed.
    """

    action: Action
    call: Call
    run: Run | None = None
    flow: str | None = None
    run_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether nothing but the request is known yet."""
        return self.run is None and self.flow is None


Authorise = Callable[[Access], bool]
"""Says whether an access is allowed. Called on a thread, so it may ask a database."""


class Tokens:
    """Allows everything to whoever sends one of the tokens as ``Authorization: Bearer …``.

    Args:
        tokens: At least 16 printable characters each, without spaces.

    Raises:
        ConfigError: There is none, or one is too short; no message repeats a token.
    """

    __slots__ = ("_digests",)

    def __init__(self, *tokens: str) -> None:
        if not tokens or not all(_TOKEN.fullmatch(token) for token in tokens):
            remedy = f"write tokens of at least {_LEAST} random characters, separated by commas"
            raise ConfigError(TOKENS, "…", remedy)
        # Digests have one length, so that comparing them says nothing of a token's.
        self._digests = tuple(_digest(token) for token in tokens)

    def __repr__(self) -> str:
        """Say how many there are, and nothing of them."""
        return f"<{len(self._digests)} tokens>"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Tokens | None:
        """Read ``SEQUENTIAL_HTTP_TOKENS``; None where it is not set."""
        text = environ.get(TOKENS, "")
        return cls(*(part.strip() for part in text.split(","))) if text.strip() else None

    def __call__(self, access: Access) -> bool:
        """Tell whether the request has one of the tokens."""
        scheme, _, token = access.call.header("authorization").partition(" ")
        digest = _digest(token.strip())
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        return scheme.lower() == "bearer" and any(matches)


def nobody(access: Access) -> bool:  # noqa: ARG001  (an `Authorise`)
    """Allow nothing: the client API is closed."""
    return False


def anybody(access: Access) -> bool:  # noqa: ARG001  (an `Authorise`)
    """Allow everything: only for a machine's own loopback."""
    return True


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
