"""Signing, blessing and verifying, each beside the bare primitives of `cryptography` that it is made of.

    python -m tests.bench.blessings [--kind P-256|Ed25519] [--rounds 7] [--count 400]

Rounds of ours and of the primitive's take turns, in seconds of the processor, and the best of each
counts: what else the machine does makes single ones slower, never faster. Verification is of root,
application and replica: two signatures, the application's and the replica's (a root is recognised by its
bytes). What is verified is

    parsed      a `Blessing` that was judged before, as on a connection that is kept
    new         certificates that were parsed, and not read yet but for the application's, which is read
                once for all its replicas; so also in the next ones
    from DER    bytes, as they come out of a handshake; beside it what parsing them, their keys and the
                checks cost with `cryptography` alone, without any rule of ours
    from PEM    text

`bare` are the two signature checks, with keys and bytes at hand.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from blessings import Authority, Blessing, KeyKind, Name, Principal, Roots, verify_blessing, verify_signature
from blessings.encoding.chains import parse_der_chain

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_MESSAGE = b"a message of a usual length, as a challenge of 64 bytes would be"
_GOAL = 2.0


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", type=KeyKind, choices=list(KeyKind), default=KeyKind.P256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=400, help="operations a round")
    given = parser.parse_args()
    for title, ours, bare in _pairs(given.kind):
        mine, floor = _best(ours, bare, given.rounds, given.count)
        print(f"{title:44} {1 / mine:9.0f}/s   bare {1 / floor:9.0f}/s   {mine / floor:5.2f}x")
    print(f"goal: parsed at most {_GOAL:g}x the two bare checks")


def _pairs(kind: KeyKind) -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    root = Authority.create_root(Name.parse("acme"), Principal.create(kind), now=_NOW, lifetime=1000 * _HOUR)
    agent, replica = Principal.create(kind), Principal.create(kind)
    granted = root.grant(agent.public_key, "prod:shop:web", now=_NOW, lifetime=100 * _HOUR)
    application = Authority(agent, granted)
    blessing = application.bless(replica.public_key, "web-1", now=_NOW, lifetime=_HOUR)
    roots = Roots.of(root.certificate)
    der, pem = blessing.to_der(), blessing.to_pem()
    parsed = Blessing.from_der(der)
    signature = replica.sign(_MESSAGE)
    checks = _bare_checks(blessing, root.certificate)

    def verified(one: Blessing) -> Name:
        return verify_blessing(one, roots, now=_NOW)

    def parse_and_check() -> None:
        _bare_checks(Blessing(parse_der_chain(der)), root.certificate)()

    return [
        ("sign", lambda: replica.sign(_MESSAGE), _bare_sign(replica)),
        (
            "check a signature",
            lambda: verify_signature(replica.public_key, _MESSAGE, signature),
            _check_one(replica),
        ),
        (
            "bless (beside one signature)",
            lambda: application.bless(replica.public_key, "web-1", now=_NOW, lifetime=_HOUR),
            _bare_sign(agent),
        ),
        ("verify, parsed (beside two checks)", lambda: verified(parsed), checks),
        ("verify, new (beside two checks)", lambda: verified(Blessing(parsed.certificates)), checks),
        ("verify, from DER (beside two checks)", lambda: verified(Blessing.from_der(der)), checks),
        (
            "verify, from DER (beside parsing and checks)",
            lambda: verified(Blessing.from_der(der)),
            parse_and_check,
        ),
        ("verify, from PEM (beside two checks)", lambda: verified(Blessing.from_pem(pem)), checks),
    ]


def _best(
    ours: Callable[[], object], bare: Callable[[], object], rounds: int, count: int
) -> tuple[float, float]:
    """Seconds for one of each."""
    both = [[_seconds(one, count) for one in (ours, bare)] for _ in range(rounds)]
    mine, floor = (min(one) for one in zip(*both, strict=True))
    return mine, floor


def _seconds(run: Callable[[], object], count: int) -> float:
    begin = time.process_time()
    for _ in range(count):
        run()
    return (time.process_time() - begin) / count


def _bare_sign(principal: Principal) -> Callable[[], object]:
    key = principal.signing_key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return lambda: key.sign(_MESSAGE)
    return lambda: key.sign(_MESSAGE, ec.ECDSA(hashes.SHA256()))


def _check_one(principal: Principal) -> Callable[[], object]:
    key, signature = principal.public_key, principal.signing_key
    if isinstance(key, ed25519.Ed25519PublicKey):
        assert isinstance(signature, ed25519.Ed25519PrivateKey)
        made = signature.sign(_MESSAGE)
        return lambda: key.verify(made, _MESSAGE)
    assert isinstance(signature, ec.EllipticCurvePrivateKey)
    by_ecdsa = signature.sign(_MESSAGE, ec.ECDSA(hashes.SHA256()))
    return lambda: key.verify(by_ecdsa, _MESSAGE, ec.ECDSA(hashes.SHA256()))


def _bare_checks(blessing: Blessing, root: x509.Certificate) -> Callable[[], object]:
    """Checks each certificate's signature with the key of the next, and the last one's with the root's."""
    certificates = blessing.certificates
    keys = [one.public_key() for one in (*certificates[1:], root)]
    work = [(one.signature, one.tbs_certificate_bytes) for one in certificates]

    def check() -> None:
        for key, (signature, body) in zip(keys, work, strict=True):
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, body)
            else:
                assert isinstance(key, ec.EllipticCurvePublicKey)
                key.verify(signature, body, ec.ECDSA(hashes.SHA256()))

    return check


if __name__ == "__main__":
    main()
