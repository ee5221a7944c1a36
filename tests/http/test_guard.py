"""S20: which servers may be called. Nothing here asks a real resolver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequential.errors import ConfigError
from sequential_http.guard import Guard, HostUnknown, Place, UrlRefused

PUBLIC = "93.184.215.14"
URLS = [
    line
    for line in (Path(__file__).parent / "data/urls.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def publicly(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


def to(*addresses: str) -> Guard:
    return Guard(["example.com"], lambda host, port: addresses)


@pytest.mark.parametrize("url", URLS)
def test_what_leads_elsewhere_is_refused_though_everything_has_a_public_address(url: str) -> None:
    guard = Guard(["example.com", "*.example.com"], publicly)
    with pytest.raises(UrlRefused) as raised:
        guard.check(url)
    assert not raised.value.retryable
    assert "password" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["https://example.com/" + "a" * 100_000, "https://example.com/\n", "https://exam\nple.com/",
     "\thttps://example.com/", "", "\0", "https://example.com/\x7f",
     "https://" + "a." * 200 + "com/"],
)  # fmt: skip
def test_what_no_line_of_a_list_can_hold_is_refused_too(url: str) -> None:
    with pytest.raises(UrlRefused):
        Guard(["example.com"], publicly).check(url)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com/a?b=c", "HTTPS://EXAMPLE.COM/",
     "https://example.com:443/", "https://example.com/a%20b"],
)  # fmt: skip
def test_what_is_allowed_is_called(url: str) -> None:
    place = to(PUBLIC).check(url)
    assert place == Place("https", "example.com", 443, (PUBLIC,))
    assert place.origin == "https://example.com"


PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9",
    "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd12::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(UrlRefused):
        to(address).check("https://example.com/")


@pytest.mark.parametrize("address", PRIVATE)
def test_one_such_address_among_public_ones_is_enough(address: str) -> None:
    for addresses in ([PUBLIC, address], [address, PUBLIC]):
        with pytest.raises(UrlRefused):
            to(*addresses).check("https://example.com/")


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "2001:4860:4860::8888"])
def test_public_addresses_are_called(address: str) -> None:
    assert to(address).check("https://example.com/").addresses == (address,)


def test_a_host_is_resolved_once_and_the_checked_address_is_the_one_called() -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    guard = Guard(["example.com"], rebinding)
    assert guard.check("https://example.com/").addresses == (PUBLIC,)
    assert asked == ["example.com"]
    with pytest.raises(UrlRefused):
        guard.check("https://example.com/")


def test_what_is_not_allowed_is_not_even_resolved() -> None:
    def nobody(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    with pytest.raises(UrlRefused, match=r"evil\.test:443 is not allowed"):
        Guard(["example.com"], nobody).check("https://evil.test/")
    with pytest.raises(UrlRefused):
        Guard([], nobody).check("https://example.com/")


def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(HostUnknown) as raised:
        to().check("https://example.com/")
    assert raised.value.retryable


def test_hosts_below_a_host_are_allowed_by_a_star() -> None:
    guard = Guard(["*.example.com"], publicly)
    for host in ("a.example.com", "a.b.example.com"):
        assert guard.check(f"https://{host}/").host == host
    for host in ("example.com", "badexample.com", "example.com.test"):
        with pytest.raises(UrlRefused):
            guard.check(f"https://{host}/")


def test_another_port_is_allowed_by_its_name() -> None:
    guard = Guard(["example.com:8443"], publicly)
    assert guard.check("https://example.com:8443/").port == 8443
    with pytest.raises(UrlRefused):
        guard.check("https://example.com/")


def test_a_service_of_our_own_network_is_named_whole() -> None:
    guard = Guard(["http://billing.internal:8080"], lambda host, port: ["10.1.2.3"])
    place = guard.check("http://billing.internal:8080/pay")
    assert (place.origin, place.addresses) == ("http://billing.internal:8080", ("10.1.2.3",))
    for url in ("http://billing.internal/", "https://billing.internal:8080/"):
        with pytest.raises(UrlRefused):
            guard.check(url)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0", "224.0.0.1"],
)
def test_credentials_of_the_machine_are_never_called(address: str) -> None:
    guard = Guard(["http://billing.internal"], lambda host, port: [address])
    with pytest.raises(UrlRefused):
        guard.check("http://billing.internal/")


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "http://", "ftp://example.com", "https://example.com/path", "example.com/path",
     "https://user@example.com", "example.com:x", "exa mple.com", "https://example.com?x=1",
     "**.example.com", "127.1", "*.*.com"],
)  # fmt: skip
def test_an_entry_that_names_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="http allow"):
        Guard([entry])


@given(st.text(max_size=80))
def test_whatever_stands_there_is_refused_and_breaks_nothing(url: str) -> None:
    for text in (url, f"https://{url}", f"https://example.com{url}/"):
        try:
            place = Guard(["example.com"], publicly).check(text)
        except UrlRefused:
            continue
        assert place.host == "example.com"


def test_the_list_of_hostile_urls_is_there() -> None:
    assert len(URLS) > 60
