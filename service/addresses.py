"""Addresses: of a server, which must use verified TLS because a credential may be sent to it; and of clients,
as limits count them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = IPv4Network | IPv6Network

_NETWORK_BITS = 64


def https_address(text: str) -> str:
    """`text` without a slash at its end, so that a path can be added.

    Raises ValueError, with what is expected, for anything but an https:// URL of a host and a port: a
    credential is sent over verified TLS only.
    """
    try:
        parts = urlsplit(text)
        usable = (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
            and not (parts.query or parts.fragment)
        )
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not usable or any(letter.isspace() for letter in text):
        raise ValueError("expected https://<host>:<port>")
    return text.rstrip("/")


def plain_address(address: str) -> str:
    """A client's address without its zone; an IPv4 address, also where a socket for both families gives it
    as `::ffff:192.0.2.1`."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed)


def network_of(address: str) -> str:
    """What limits count as one address: an IPv4 address, or the /64 network of an IPv6 address, all of whose
    addresses one host may use (RFC 4291, RFC 7934)."""
    plain = plain_address(address)
    if ":" not in plain:
        return plain
    prefix = int(IPv6Address(plain)) >> _NETWORK_BITS << _NETWORK_BITS
    return f"{IPv6Address(prefix)}/{_NETWORK_BITS}"


def networks(text: str) -> list[Network]:
    """The networks and addresses in a list with commas between them. Raises ValueError for anything else."""
    return [ip_network(one.strip()) for one in text.split(",") if one.strip()]
