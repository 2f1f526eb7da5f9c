"""DNS names that an administrator registers for an application, checked before they are stored.

A replica's certificate has them beside its SPIFFE ID, so that a client that knows no SPIFFE verifies the
server by name. They never come from a Pod or from a certificate request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cluster_agent.errors import BadRequest

MOST_DNS_NAMES = 16
LONGEST_DNS_NAME = 253
# RFC 1123, section 2.1, in lower case: RFC 5280 compares DNS names without regard to case.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LOOPBACK = "localhost"


def check_dns_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as they are put into certificates. Raises BadRequest for one that no host name can be, for a
    wildcard, for an address, and for too many."""
    if len(names) > MOST_DNS_NAMES:
        raise _invalid(f"an application has at most {MOST_DNS_NAMES} DNS names, got {len(names)}")
    for name in names:
        _check(name)
    return tuple(dict.fromkeys(names))


def _check(name: str) -> None:
    shown = repr(name[:LONGEST_DNS_NAME])
    if "*" in name:
        raise _invalid(
            f"{shown} is a wildcard, which would name hosts that nobody registered; list each name"
        )
    labels = name.split(".")
    if len(name) > LONGEST_DNS_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise _invalid(
            f"{shown} is no host name: labels of a-z, 0-9 and inner hyphens, separated by dots, "
            f"at most {LONGEST_DNS_NAME} characters in all"
        )
    if labels[-1].isdigit():
        raise _invalid(f"{shown} may be read as an IPv4 address; certificates name no addresses")
    if labels[-1] == _LOOPBACK:
        # RFC 6761, section 6.3: it is each host itself, so it identifies no application.
        raise _invalid(f"{shown} is each host's own name for itself, so it names no application")


def _invalid(message: str) -> BadRequest:
    return BadRequest("InvalidDnsName", message)
