"""How others judge a chain: OpenSSL, Go's crypto/x509, and cryptography's own verifier.

Each judgement is why the chain is refused, or empty.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from blessings.errors import VerificationError
from blessings.verification.plain_verifiers import check_svid
from tests.foreign.issuers import Foreign

GO_MODULE = Path(__file__).parent / "go_verifier"
# As Python verifies since 3.13; it refuses all that OpenSSL refuses without it, and more.
STRICT = "-x509_strict"


def openssl(directory: Path, made: Foreign, now: datetime, *arguments: str) -> str:
    """As a client's certificate, and as a server's."""
    judged = (_openssl(directory, made, purpose, now, *arguments) for purpose in ("sslclient", "sslserver"))
    return next(filter(None, judged), "")


def _openssl(directory: Path, made: Foreign, purpose: str, now: datetime, *arguments: str) -> str:
    (directory / "root.pem").write_bytes(made.root.pem)
    (directory / "leaf.pem").write_text(_pem(made.chain[:1]))
    (directory / "above.pem").write_text(_pem(made.chain[1:]))
    judged = subprocess.run(
        ["openssl", "verify", "-purpose", purpose, "-attime", str(int(now.timestamp())),
         *arguments, "-CAfile", "root.pem", "-untrusted", "above.pem", "leaf.pem"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if judged.returncode == 0 else judged.stdout + judged.stderr


def cryptography(made: Foreign, now: datetime) -> str:
    try:
        check_svid(made.chain, made.root.certificate, now)
    except VerificationError as error:
        return str(error)
    return ""


def go(program: Path, asked: Mapping[str, Foreign], now: datetime) -> dict[str, str]:
    """By the same names: why it is refused as a client's or as a server's."""
    lines = [
        {"name": name, "root": made.root.pem.decode(), "chain": _pem(made.chain), "now": now.isoformat()}
        for name, made in asked.items()
    ]
    answered = subprocess.run(
        [program], input="\n".join(map(json.dumps, lines)), capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in answered.stdout.splitlines()]
    return {one["name"]: one["client"] or one["server"] for one in answers}


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)
