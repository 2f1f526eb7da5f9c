"""The proxy that the environment names for an address, as curl and Go's programs take it."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def proxy_for(url: str) -> str | None:
    """The URL of the proxy for `url` by `https_proxy` or `http_proxy`, or else `all_proxy`, in small or in
    capital letters; None when there is none, or `no_proxy` excepts the host.

    Asked once for an address that does not change: aiohttp's own way asks anew for each call, in a thread,
    and sends what `.netrc` holds.
    """
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    named = urllib.request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
