"""TLS contexts that present a blessing and recognise roots, and the blessing that a peer presented.

Blessing names are not DNS names. A context made here demands a chain to a recognised root; the program then
calls `verify_blessing(peer_blessing(connection), …)` for the peer's name.
"""

from __future__ import annotations

import _ssl
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from blessings.blessing import Blessing
from blessings.encoding.chains import parse_der
from blessings.errors import InvalidCertificate
from blessings.principal import Principal
from blessings.roots import Roots


def server_context(
    principal: Principal, blessing: Blessing, client_roots: Roots, *, client_certificate: ssl.VerifyMode
) -> ssl.SSLContext:
    """A TLS 1.3 server that presents `blessing` and checks clients against `client_roots`.

    `client_certificate` is ssl.CERT_REQUIRED, or ssl.CERT_OPTIONAL where some routes need none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Some Python versions resume a session without its client certificate. Without tickets, nothing is
    # resumed.
    context.num_tickets = 0
    context.verify_mode = client_certificate
    trust(context, client_roots)
    load_identity(context, blessing.to_pem(), principal.to_pem().decode())
    return context


def client_context(principal: Principal, blessing: Blessing, server_roots: Roots) -> ssl.SSLContext:
    """A TLS 1.3 client that presents `blessing` and demands a server certificate under `server_roots`.

    Host names are not checked (`check_hostname` is off). The caller checks the peer's blessing name, or turns
    `check_hostname` on for a server that it knows by a DNS name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    trust(context, server_roots)
    load_identity(context, blessing.to_pem(), principal.to_pem().decode())
    return context


def trust(context: ssl.SSLContext, roots: Roots) -> None:
    """Makes `context` recognise `roots`. One without certificates then trusts nobody; not the system's
    certificate authorities, as `ssl.create_default_context` does when it is given none."""
    if len(roots):  # the ssl module refuses an empty text
        context.load_verify_locations(cadata=roots.to_pem())


def load_identity(context: ssl.SSLContext, chain_pem: str, private_key_pem: str) -> None:
    """Makes `context` present this chain, with a key that is in memory only.

    Python's ssl reads the key from a path only. On Linux the path is that of an anonymous memory file, which
    no other user can open and which is gone when this returns; elsewhere it is a temporary file of mode 0600,
    removed at once. Raises ssl.SSLError when key and chain do not belong together.
    """
    with _readable_path((private_key_pem + "\n" + chain_pem).encode()) as path:
        # Without a password argument, OpenSSL would ask for one on the terminal when the key is encrypted.
        context.load_cert_chain(path, password=lambda: "")


def peer_blessing(connection: ssl.SSLObject | ssl.SSLSocket) -> Blessing | None:
    """The chain that the peer presented, unverified by us; None when it presented none."""
    if connection.getpeercert(binary_form=True) is None:
        return None
    # Python 3.13 made this call public; earlier versions have it on the inner object only. Some versions fail
    # when the client presented nothing, hence the check above.
    chain = getattr(connection, "_sslobj").get_unverified_chain()  # noqa: B009 - private, untyped
    return _blessing_of(tuple(certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain))


# The same chains come again and again, and replicas of one application share all certificates but the leaf.
@lru_cache(maxsize=64)
def _blessing_of(chain: tuple[bytes, ...]) -> Blessing:
    return Blessing(tuple(parse_der(certificate) for certificate in chain))


def require_peer_blessing(connection: ssl.SSLObject | ssl.SSLSocket) -> Blessing:
    """Like `peer_blessing`. Raises InvalidCertificate when the peer presented none."""
    blessing = peer_blessing(connection)
    if blessing is None:
        raise InvalidCertificate("the peer presented no certificate")
    return blessing


@contextmanager
def _readable_path(data: bytes) -> Iterator[str]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("vanadium-identity", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        import tempfile  # only here: it would take half a MiB of each process that needs it nowhere else

        with tempfile.NamedTemporaryFile(prefix="vanadium-") as file:
            file.write(data)
            file.flush()
            yield file.name
