"""Where a server is: an address that may carry a credential is one of verified TLS."""

from __future__ import annotations

from urllib.parse import urlsplit


def https_address(text: str) -> str:
    """`text` without a slash at its end, to which a path can be added.

    Raises ValueError, which says what is expected, for anything but an https:// URL of a host and a port:
    a credential goes over verified TLS only.
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
    except ValueError:  # no port, no IPv6 address
        usable = False
    if not usable or any(letter.isspace() for letter in text):
        raise ValueError("expected https://<host>:<port>")
    return text.rstrip("/")
