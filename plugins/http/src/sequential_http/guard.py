"""Which servers a flow may call, and the one address that each call connects to.

A host is resolved once; every address that it has is checked, and the connection goes to a checked
one, so that a name which means something else a moment later leads nowhere. Sends nothing itself.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sequential import Rejected
from sequential.errors import ConfigError

LONGEST_URL = 8192

_ENTRY = "write api.example.com, *.example.com or http://host:port"
_PORTS = {"https": 443, "http": 80}
_LABEL = r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# What a resolver may read as a number, in any of its spellings.
_NUMERIC = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
# Of IPv6 only what is given out for use anywhere, without what carries another address inside.
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
# Never, not even where an address of one's own network was named.
_NEVER = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32",
        "192.0.0.192/32", "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::/32",
    )
]  # fmt: skip

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


class Place(NamedTuple):
    """Where a call goes: to one of *addresses*, where *host* must answer."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Scheme, host, and the port if it is another than the scheme's."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _PORTS[self.scheme]
        return f"{self.scheme}://{shown}" + ("" if usual else f":{self.port}")


class UrlRefused(Rejected):
    """A call that may not be made; nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the URL may not be called: {reason}", retryable=False)


class HostUnknown(Rejected):
    """A name that means no address now; nothing was sent, and trying again may help."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} has no address", retryable=True)


class Guard:
    """Says whether a URL may be called, and where to connect.

    Args:
        allow: Hosts: ``api.example.com``, ``*.example.com`` for those below it, or with a port.
            They are called by https, on public addresses. A service of one's own network is named
            whole, ``http://billing.internal:8080``, and may have a private address.
        resolve: From a name and a port to addresses; by default the system's.

    Raises:
        ConfigError: An entry is neither.
    """

    def __init__(self, allow: Iterable[str], resolve: Resolve | None = None) -> None:
        self._hosts: set[tuple[str, int]] = set()
        self._below: set[tuple[str, int]] = set()
        self._own: set[tuple[str, str, int]] = set()
        self._resolve = resolve or _addresses
        for entry in allow:
            self._add(entry)

    def check(self, url: str) -> Place:
        """Return where *url* leads, if it may be called.

        Raises:
            UrlRefused: It may not.
            HostUnknown: Its host has no address now.
        """
        scheme, host, port = _read(url)
        own = (scheme, host, port) in self._own
        if not own and not self._is_allowed(scheme, host, port):
            raise UrlRefused(f"{host[:253]}:{port} is not allowed by {scheme}")
        found = self._resolve(host, port)
        if not found:
            raise HostUnknown(host)
        addresses = [_address(each) for each in found]
        # Every one of them, so that it is not left to chance which is tried.
        if not all(may_be_called(each, own=own) for each in addresses):
            raise UrlRefused(f"{host} has an address that may not be called")
        return Place(scheme, host, port, tuple(map(str, addresses)))

    def _is_allowed(self, scheme: str, host: str, port: int) -> bool:
        if scheme != "https":
            return False
        parts = host.split(".")
        above = {".".join(parts[number:]) for number in range(1, len(parts))}
        return (host, port) in self._hosts or any((each, port) in self._below for each in above)

    def _add(self, entry: str) -> None:
        try:
            own = "://" in entry
            scheme, host, port = _read(entry if own else f"https://{entry.removeprefix('*.')}")
        except UrlRefused as error:
            raise ConfigError("http allow", entry, f"{_ENTRY} ({error})") from None
        if re.search(r"[/?]", entry.partition("://")[2] if own else entry):
            # Which paths may be asked for is the service's to say.
            raise ConfigError("http allow", entry, _ENTRY)
        if own:
            self._own.add((scheme, host, port))
        elif entry.startswith("*."):
            self._below.add((host, port))
        else:
            self._hosts.add((host, port))


def may_be_called(address: Address, *, own: bool = False) -> bool:
    """Tell whether *address* is public, or, if it is our *own*, none of those never called."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    if own:
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _V4)
    return address in _V6_GLOBAL and not any(address in network for network in _V6)


def _read(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of *url*, which is refused if it could be read two ways."""
    # Only what every reader takes alike: no spaces, controls, backslashes, no other alphabets.
    if len(url) > LONGEST_URL or not re.fullmatch(r"[!-\[\]-~]+", url):
        raise UrlRefused("it has characters that stand in no URL, or is too long")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise UrlRefused("it cannot be read") from None
    if parts.scheme not in _PORTS:
        raise UrlRefused("its scheme is neither https nor http")
    if "@" in parts.netloc or "%" in parts.netloc or "#" in url:
        raise UrlRefused("it has a user, a fragment, or an encoded host")
    if port == 0 or (port is None and parts.netloc.endswith(":")):
        raise UrlRefused("its port is none")
    if not _is_literal(host) and (
        len(host) > 253 or not _NAME.fullmatch(host) or _NUMERIC.fullmatch(host)
    ):
        raise UrlRefused("its host is neither a name nor an address in its usual form")
    return parts.scheme, host, port or _PORTS[parts.scheme]


def _is_literal(host: str) -> bool:
    try:
        # Zones are names of this machine's interfaces.
        return "%" not in host and str(ipaddress.ip_address(host)) == host
    except ValueError:
        return False


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise UrlRefused("its host has an address that cannot be read") from None


def _addresses(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [str(info[4][0]) for info in found]
