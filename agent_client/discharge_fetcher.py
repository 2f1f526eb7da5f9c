"""Fetches discharges over HTTP, for `blessings.DischargeCache`.

    with httpx.Client(timeout=5) as client:
        cache = DischargeCache(DischargeFetcher(client, ["https://discharger.acme.example/"]))
        discharges = cache.discharges_for(blessing, now=now)

Where a discharger is, whoever made the caveat decides; whom this process may ask, its owner does.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from blessings import Discharge, InvalidCaveat, ThirdParty
from blessings.caveats.discharges import encode_request
from blessings.encoding.canonical import MAX_BYTES


class DischargeUnavailable(Exception):
    """The discharger may not be asked, gives no answer, or no discharge."""


class DischargeFetcher:
    """Asks by POST. Redirects are not followed, and answers longer than 16 KiB not read."""

    def __init__(self, client: httpx.Client, allowed: Sequence[str]) -> None:
        """`client` has the timeout and what TLS trusts. `allowed` are the URLs that may be asked, each with
        what is below it. Raises ValueError for one without a scheme, host and path."""
        self._client = client
        self._allowed = [httpx.URL(url) for url in allowed]
        for url in self._allowed:
            if url.scheme not in ("http", "https") or not url.host or not url.path.endswith("/"):
                raise ValueError(f"an allowed discharger is a URL that ends with '/', got {str(url)!r}")

    def __call__(self, caveat: ThirdParty) -> Discharge:
        """Raises DischargeUnavailable. Whether the discharge is one for `caveat`, the cache checks."""
        url = self._url(caveat.location)
        try:
            content = self._post(url, encode_request(caveat))
            return Discharge.parse(content)
        except httpx.HTTPError as error:
            raise DischargeUnavailable(f"no answer from {url}: {error}") from error
        except InvalidCaveat as error:
            raise DischargeUnavailable(f"{url} answered with no discharge: {error}") from error

    def _url(self, location: str) -> httpx.URL:
        try:
            url = httpx.URL(location)
        except httpx.InvalidURL as error:
            raise DischargeUnavailable(f"the caveat's location {location!r:.200} is no URL") from error
        for allowed in self._allowed:
            same_server = (url.scheme, url.host, url.port) == (allowed.scheme, allowed.host, allowed.port)
            if same_server and not url.userinfo and _is_below(url.path, allowed.path):
                return url
        raise DischargeUnavailable(f"{location!r:.200} is none of the dischargers that may be asked")

    def _post(self, url: httpx.URL, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        with self._client.stream(
            "POST", url, content=body, headers=headers, follow_redirects=False
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise DischargeUnavailable(f"{url} answered {response.status_code}")
            content = bytearray()
            for part in response.iter_raw():
                content += part
                if len(content) > MAX_BYTES:
                    raise DischargeUnavailable(f"{url} answered with more than {MAX_BYTES} bytes")
        return bytes(content)


def _is_below(path: str, allowed: str) -> bool:
    """httpx has decoded the path, so that `%2e%2e` is seen as what a server may make of it."""
    return path.startswith(allowed) and ".." not in path.split("/")
