"""A fetcher of discharges over HTTP, for `blessings.DischargeCache`.

    with httpx.Client(timeout=5) as client:
        cache = DischargeCache(DischargeFetcher(client, ["https://discharger.acme.example/"]))
        discharges = cache.discharges_for(blessing, now=now)

The author of a caveat decides where its discharger is. The owner of this process decides which dischargers it
may call.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from blessings import Discharge, InvalidCaveat, ThirdParty
from blessings.caveats.discharges import encode_request
from blessings.encoding.canonical import MAX_BYTES


class DischargeUnavailable(Exception):
    """The discharger may not be called, does not answer, or answers with something else than a discharge."""


class DischargeFetcher:
    """Fetches by POST. Does not follow redirects, and reads at most 16 KiB of an answer."""

    def __init__(self, client: httpx.Client, allowed: Sequence[str]) -> None:
        """`client` brings the timeout and the trusted TLS roots. `allowed` are the URLs that may be called,
        each together with every URL below it. Raises ValueError for one without a scheme, host and path."""
        self._client = client
        self._allowed = [httpx.URL(url) for url in allowed]
        for url in self._allowed:
            if url.scheme not in ("http", "https") or not url.host or not url.path.endswith("/"):
                raise ValueError(f"an allowed discharger must be a URL that ends with '/', got {str(url)!r}")

    def __call__(self, caveat: ThirdParty) -> Discharge:
        """Raises DischargeUnavailable. The cache checks whether the discharge is one for `caveat`."""
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
        raise DischargeUnavailable(f"{location!r:.200} is not among the allowed dischargers")

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
    """Whether `path` is below `allowed`. httpx has decoded it: a server may read `%2e%2e` as `..`."""
    return path.startswith(allowed) and ".." not in path.split("/")
