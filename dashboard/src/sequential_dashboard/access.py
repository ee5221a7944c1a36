"""Who is looking, and what they may do. Asked anew on every rerun, fragment and callback.

Identity is not authorisation: whoever is known still has no right that is not given here. Pure
functions; how a page gets a token or the claims of a login stands in `gate`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from .settings import Settings, is_loopback


class Right(StrEnum):
    """What one may do."""

    LOOK = "look"
    PAYLOADS = "payloads"
    ACT = "act"


class Viewer(NamedTuple):
    """Somebody who looks: *name* for the audit, and *rights*."""

    name: str
    rights: frozenset[Right]

    def may(self, right: Right) -> bool:
        """Tell whether *right* is given."""
        return right in self.rights


def by_place(settings: Settings) -> Viewer | None:
    """Return the viewer that needs no login: whoever is on this machine, where none is set up."""
    if settings.is_open and is_loopback(settings.host):
        return Viewer("local", _rights(settings, operator=True))
    return None


def by_token(settings: Settings, given: str) -> Viewer | None:
    """Return who has the token whose digest is *given*; None if nobody has."""
    # Both are compared whatever the first says: the time tells nothing.
    operator = hmac.compare_digest(given, settings.operator_token or "-")
    viewer = hmac.compare_digest(given, settings.token or "-")
    if operator:
        return Viewer("operator token", _rights(settings, operator=True))
    return Viewer("viewer token", _rights(settings, operator=False)) if viewer else None


def by_claims(settings: Settings, claims: Mapping[str, Any]) -> Viewer | None:
    """Return who logged in with *claims*; None if they are not on the lists.

    An address of mail counts only where the provider says that it verified it.
    """
    if claims.get("is_logged_in") is not True:
        return None
    names = [claims.get("sub")]
    if claims.get("email_verified") is True:
        names.append(claims.get("email"))
    known = [name for name in names if isinstance(name, str) and name]
    for operator, allowed in ((True, settings.operators), (False, settings.viewers)):
        found = next((name for name in known if name in allowed), None)
        if found is not None:
            return Viewer(found, _rights(settings, operator=operator))
    return None


def _rights(settings: Settings, *, operator: bool) -> frozenset[Right]:
    rights = {Right.LOOK}
    if operator and settings.payloads:
        rights.add(Right.PAYLOADS)
    if operator and settings.actions:
        rights.add(Right.ACT)
    return frozenset(rights)
