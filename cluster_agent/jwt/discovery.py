"""OIDC discovery: the JWT keys at a public address, so that cloud providers can verify JWT-SVIDs.

It is a port of its own, because its clients have no certificate and are anybody. It answers two paths, with
documents that are the same for everybody.
https://openid.net/specs/openid-connect-discovery-1_0.html, section 3
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cluster_agent.errors import DataDirectoryError, Unavailable
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from service.errors import ServiceError
from service.serving_certificate import CertificateFiles, ServingCertificate

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/keys"
# Much shorter than a key is published before it signs.
_CACHE_SECONDS = 300


class Discovery:
    """The application for `issuer`, an https:// address, and its TLS context; None behind an ingress."""

    def __init__(self, issuer: str, keys: JwtKeyKeeper, certificate_directory: Path | None) -> None:
        """Raises DataDirectoryError when the files in `certificate_directory` cannot be used."""
        self._issuer = issuer
        self._keys = keys
        self.context: ssl.SSLContext | None = None
        self._files: CertificateFiles | None = None
        if certificate_directory is not None:
            # Cloud providers do not all have TLS 1.3.
            certificate = ServingCertificate(ssl.TLSVersion.TLSv1_2)
            files = (certificate_directory / "tls.crt", certificate_directory / "tls.key")
            self._files = CertificateFiles(certificate, *files)
            self.context = certificate.context
            self.refresh()
        path = urlsplit(issuer).path
        self.app = Starlette(
            routes=[
                Route(f"{path}{CONFIGURATION}", self._configuration),
                Route(f"{path}{KEYS}", self._key_set),
            ]
        )
        self.app.router.redirect_slashes = False

    def refresh(self) -> bool:
        """Reads the certificate's files again, and returns whether they changed. On an error, the current
        certificate stays. Raises DataDirectoryError."""
        try:
            return self._files is not None and self._files.refresh()
        except ServiceError as error:
            raise DataDirectoryError(f"OIDC discovery cannot serve with its certificate: {error}") from error

    async def _configuration(self, _request: Request) -> Response:
        return _cached(
            {
                "issuer": self._issuer,
                "jwks_uri": f"{self._issuer}{KEYS}",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "claims_supported": ["iss", "sub", "aud", "exp", "iat", "jti"],
            }
        )

    async def _key_set(self, request: Request) -> Response:
        try:
            state = self._keys.state
        except Unavailable as error:
            return Response(status_code=503, headers={"retry-after": str(error.retry_after_seconds or 1)})
        tag = f'"{state.version}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        # OIDC's word for a key that signs; verifiers leave out keys for other uses.
        return _cached({"keys": state.jwks("sig")}, etag=tag)


def _cached(document: dict[str, Any], **headers: str) -> Response:
    caching = {"cache-control": f"public, max-age={_CACHE_SECONDS}", **headers}
    return JSONResponse(document, headers=caching)
