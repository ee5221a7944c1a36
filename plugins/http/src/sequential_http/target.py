"""What ``https://host/base?audience=…&timeout=5s`` says; connects to nothing."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from sequential.errors import ConfigError

_OPTIONS = ("audience", "ca", "insecure", "threads", "timeout")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_\-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_\-]*[a-z0-9_])?)*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where resume messages go, and how they are sent.

    Attributes:
        base: URL of the server, without a slash at its end.
        audience: What the server calls itself; by default *base*.
        timeout: Seconds to wait for the acknowledgement.
        threads: Messages that are handled at a time, where they are heard.
        ca: File of the certificates to trust; empty for those of the system.
    """

    base: str
    audience: str
    timeout: float = 5.0
    threads: int = 10
    ca: str = ""


def read_target(url: str) -> Target:
    """Return what *url* says.

    Raises:
        ConfigError: It is no such URL, has an option that there is not, or names a server that
            is not on this machine without TLS. Names and passwords are never repeated.
    """
    address, options = _split(url)
    base = read_base(address, insecure=_switch(options.get("insecure", "off")))
    return Target(
        base,
        options.get("audience", base),
        _number("timeout", options.get("timeout", "5").removesuffix("s"), 0.05, 60.0),
        int(_number("threads", options.get("threads", "10"), 1, 1000)),
        options.get("ca", ""),
    )


def read_base(address: str, *, insecure: bool = False) -> str:
    """Return the address of a server in one spelling: lower case, no default port, no last slash.

    Raises:
        ConfigError: It is none, or is not TLS and not on this machine.
    """
    remedy = "write https://host/base, without a user, a password or a fragment"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError("transport", "…", remedy) from None
    # The split leaves out line breaks and tabs, wherever they stand.
    plain = re.fullmatch(r"[!-~]+", address) and not re.search(r"[@?#]", address)
    if parts.scheme not in _PORTS or not plain or not _is_host(host) or not _is_path(parts.path):
        raise ConfigError("transport", "…", remedy)
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        remedy = "http:// is for this machine only; write https://, or add ?insecure=on"
        raise ConfigError("transport", f"http://{host}", remedy)
    shown = f"[{host}]" if ":" in host else host
    where = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{shown}{where}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Tell whether *host* is this machine, without asking anybody."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> tuple[str, dict[str, str]]:
    address, _, query = url.partition("?")
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS or name in options:
            known = ", ".join(_OPTIONS)
            raise ConfigError("transport option", name, f"use each of {known} once at most")
        options[name] = value
    return address, options


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    return len(host) <= 253 and _HOST.fullmatch(host) is not None


def _is_path(path: str) -> bool:
    return re.fullmatch(r"(/[A-Za-z0-9_~.\-]+)*/?", path) is not None and "/.." not in path


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ConfigError("transport option insecure", text, "use on or off")
    return text == "on"


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        remedy = f"use a number from {least:g} to {most:g}"
        raise ConfigError(f"transport option {name}", text, remedy)
    return value
