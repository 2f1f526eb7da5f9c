"""The proxy for an address, taken from the environment as curl and Go's programs do."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def proxy_for(url: str) -> str | None:
    """The URL of the proxy for `url`; None when there is none, or `no_proxy` excludes the host.

    It comes from `https_proxy` or `http_proxy`, or else `all_proxy`, in small or capital letters. It is
    looked up once for an address that does not change: aiohttp itself looks it up again for each call, in a
    thread, and also sends the passwords in `.netrc`.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    named = urllib.request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
