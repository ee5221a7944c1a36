"""What a dashboard was started with: where it listens, who may look, who may act.

Set once, before the server begins; a page cannot change it. Tokens are kept as digests only.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from urllib.parse import quote, urlsplit

from sequential.errors import ConfigError
from sequential.storage import Run

from .words import trace_of

_IN_LINKS = frozenset({"run_id", "trace_id", "step"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server.

    Attributes:
        storage: Address of the runs for people, without secrets.
        host: Address to listen on.
        port: Port to listen on.
        actions: Whether operators may change runs.
        payloads: Whether operators see values whole; everybody else sees previews with what looks
            secret masked.
        token: Digest of the token that lets one look; empty for none.
        operator_token: Digest of the token that makes one an operator; empty for none.
        oidc: Whether people log in with OpenID Connect, as Streamlit's secrets describe.
        viewers: Who may look, by subject or verified address of mail.
        operators: Who may also do what *actions* and *payloads* allow.
        audit: File that a line is appended to for each action; None for the log alone.
        demo: Whether the runs were made for show.
        log_link: Address of a run's lines in a log tool, with ``{run_id}``, ``{trace_id}`` and
            ``{step}`` where these go; empty for none.
    """

    storage: str
    host: str = "127.0.0.1"
    port: int = 8501
    actions: bool = False
    payloads: bool = False
    token: str = ""
    operator_token: str = ""
    oidc: bool = False
    viewers: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    audit: Path | None = None
    demo: bool = False
    log_link: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return not (self.token or self.operator_token or self.oidc)


def checked(settings: Settings) -> Settings:
    """Return *settings* if they can be used.

    Raises:
        ConfigError: They would let strangers in, or nobody.
    """
    if settings.is_open and not is_loopback(settings.host):
        remedy = (
            "others reach it there: set SEQUENTIAL_DASHBOARD_TOKEN, or use --oidc with --viewer;"
            " or listen on 127.0.0.1"
        )
        raise ConfigError("host", settings.host, remedy)
    if settings.oidc and not settings.viewers | settings.operators:
        raise ConfigError("oidc", "on", "say who may look: --viewer or --operator, by subject")
    if settings.operator_token and settings.operator_token == settings.token:
        raise ConfigError("token", "(hidden)", "give operators another token than viewers")
    _check_link(settings.log_link)
    return settings


def log_address(link: str, run: Run, step: str) -> str:
    """Return where the log tool shows the lines of *run*, at *step* if it can."""
    named = {"run_id": run.run_id, "trace_id": trace_of(run), "step": step}
    return link.format(**{name: quote(each, safe="") for name, each in named.items()})


def _check_link(link: str) -> None:
    if not link:
        return
    remedy = (
        "give an address with http:// or https:// in which {run_id}, {trace_id} or {step} stand"
        " for what is looked for"
    )
    try:
        fields = {name for _, name, _, _ in Formatter().parse(link) if name is not None}
        parts = urlsplit(Formatter().vformat(link, (), dict.fromkeys(_IN_LINKS, "x")))
    except (ValueError, KeyError, IndexError, AttributeError):
        raise ConfigError("log-link", link, remedy) from None
    is_address = parts.scheme in ("http", "https") and parts.netloc
    if not is_address or not fields or not fields <= _IN_LINKS:
        raise ConfigError("log-link", link, remedy)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches *host*."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def digest(token: str) -> str:
    """Return what is kept of *token*; empty for none.

    Raises:
        ConfigError: It is too short to keep anybody out.
    """
    if not token:
        return ""
    if len(token) < 16:
        raise ConfigError("token", "(hidden)", "use 16 characters or more, made at random")
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
