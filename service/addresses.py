"""The address of a server, which must use verified TLS because a credential may be sent to it."""

from __future__ import annotations

from urllib.parse import urlsplit


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
