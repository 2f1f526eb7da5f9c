"""Vectors of verification: chains of every kind, and what stops those that hold but for one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.vectors import caveats
from tests.vectors.caveats import discharge, restrictions
from tests.vectors.making import (
    APPLICATION,
    DAY,
    DELEGATE,
    HOUR,
    LEAF,
    MINUTE,
    NOW,
    ROOT,
    Made,
    constraints,
    make,
    usage,
)

NAME = "acme:web:web-1"
SECOND = timedelta(seconds=1)
ROOT_MADE = make(ROOT, "acme", "root")
WEB = make(APPLICATION, "acme:web", "application", ROOT_MADE)
REPLICA = make(LEAF, NAME, "replica", WEB)
PHONE = make(DELEGATE, f"{NAME}:phone", "phone", REPLICA, restrictions=restrictions(delegation=True))


@dataclass(frozen=True)
class Case:
    """A chain, leaf first, and the circumstances in which it is judged. `expected` is a name, or a reason
    with the place of the certificate and the field."""

    name: str
    chain: Sequence[Made]
    expected: str | tuple[str, int | None, str | None]
    roots: Sequence[tuple[Made, str]] = ((ROOT_MADE, "acme"),)
    now: datetime = NOW
    delegations: int = 0
    policy: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    own_names: Sequence[str] = ()
    discharges: Sequence[dict[str, Any]] = ()

    def to_value(self) -> dict[str, Any]:
        expected: dict[str, Any] = {"name": self.expected}
        if not isinstance(self.expected, str):
            expected = dict(zip(("reason", "certificate", "field"), self.expected, strict=True))
        return {
            "name": self.name,
            "chain": pem(*self.chain),
            "roots": [{"certificate": pem(root), "pattern": pattern} for root, pattern in self.roots],
            "now": self.now.isoformat().replace("+00:00", "Z"),
            "policy": {"maxDelegations": self.delegations, **self.policy},
            "call": {"method": self.method, "ownNames": list(self.own_names)},
            "discharges": list(self.discharges),
            "expected": expected,
        }


def pem(*chain: Made) -> str:
    return "".join(one.certificate.public_bytes(Encoding.PEM).decode() for one in chain)


def cases() -> list[Case]:
    return [*_svids(), *_delegates(), *_restricted(), *_discharged()]


def _svids() -> list[Case]:
    ed_root = make(ROOT, "acme", "ed25519 root")
    ed_web = make(APPLICATION, "acme:web", "ed25519 application", ed_root)
    ed_replica = make(LEAF, NAME, "ed25519 replica", ed_web)
    old_root = make(ROOT, "acme", "old root", end=NOW + DAY)
    foreign = make(
        ROOT,
        "partner",
        "foreign root",
        subject=x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Partner Ltd")]),
    )
    guest = make(LEAF, "partner:jobs:one", "guest", foreign)
    deep = make(APPLICATION, "acme:a", "deep", ROOT_MADE, path_length=1)
    deeper = make(APPLICATION, "acme:a:b", "deeper", deep)
    return [
        Case("replica of an application of a root", [REPLICA, WEB], NAME),
        Case("with its root", [REPLICA, WEB, ROOT_MADE], NAME),
        Case("leaf of a root", [make(LEAF, "acme:ops", "ops", ROOT_MADE)], "acme:ops"),
        Case("Ed25519 throughout", [ed_replica, ed_web], NAME, [(ed_root, "acme")]),
        Case(
            "a P-256 leaf below Ed25519",
            [make(LEAF, NAME, "mixed", ed_web), ed_web],
            NAME,
            [(ed_root, "acme")],
        ),
        Case("two signing certificates", [make(LEAF, "acme:a:b:c", "c", deeper), deeper, deep], "acme:a:b:c"),
        Case(
            "of two roots of one name, one signed",
            [REPLICA, WEB],
            NAME,
            [(old_root, "acme"), (ROOT_MADE, "acme")],
        ),
        Case("root trusted for everybody", [REPLICA, WEB], NAME, [(ROOT_MADE, "...")]),
        Case("root trusted for a part", [REPLICA, WEB], NAME, [(ROOT_MADE, "acme:web")]),
        Case("root trusted for exactly this", [REPLICA, WEB], NAME, [(ROOT_MADE, f"{NAME}:$")]),
        Case("foreign root without a blessing name", [guest], "partner:jobs:one", [(foreign, "partner")]),
        Case("first second", [REPLICA, WEB], NAME, now=NOW - MINUTE),
        Case("last second", [REPLICA, WEB], NAME, now=NOW + HOUR - SECOND),
        Case("P-256 only", [REPLICA, WEB], NAME, policy={"keyKinds": ["P-256"]}),
    ]


def _row(count: int) -> list[Made]:
    chain = [REPLICA, WEB]
    for position in range(count):
        above = chain[0]
        name = f"{NAME}:{':'.join(map(str, range(position + 1)))}"
        text = restrictions(delegation=True)
        chain.insert(0, make(DELEGATE, name, f"delegate {position}", above, restrictions=text))
    return chain


def _delegates() -> list[Case]:
    watch = make(DELEGATE, f"{NAME}:phone:watch", "watch", PHONE, restrictions=restrictions(delegation=True))
    under_signer = make(DELEGATE, "acme:web:x", "x", WEB, restrictions=restrictions(delegation=True))
    fourteen = f"{NAME}:{':'.join(map(str, range(14)))}"
    stranger = make(DELEGATE, "acme:db:phone", "phone", REPLICA, restrictions=restrictions(delegation=True))
    longer = make(
        DELEGATE,
        f"{NAME}:phone",
        "phone",
        REPLICA,
        restrictions=restrictions(delegation=True),
        end=NOW + HOUR + SECOND,
    )
    signing = make(
        DELEGATE,
        f"{NAME}:phone",
        "phone",
        REPLICA,
        restrictions=restrictions(delegation=True),
        change={"basicConstraints": constraints(True), "keyUsage": usage(sign=True)},
    )
    svid = make(LEAF, f"{NAME}:phone", "phone", REPLICA)
    below = make(LEAF, f"{NAME}:phone:x", "x", PHONE)
    return [
        Case("delegate", [PHONE, REPLICA, WEB], f"{NAME}:phone", delegations=1),
        Case("delegate of a delegate", [watch, PHONE, REPLICA, WEB], f"{NAME}:phone:watch", delegations=2),
        Case("delegate, by default", [PHONE, REPLICA, WEB], ("DelegationNotAccepted", 0, "restrictions")),
        Case(
            "two delegates, one accepted",
            [watch, PHONE, REPLICA, WEB],
            ("DelegationNotAccepted", 0, "restrictions"),
            delegations=1,
        ),
        Case("sixteen certificates", _row(14), fourteen, delegations=15),
        Case("seventeen certificates", _row(15), ("ChainTooLong", None, None), delegations=15),
        Case(
            "delegate of a signing certificate",
            [under_signer, WEB],
            ("NotALeaf", 0, "restrictions"),
            delegations=1,
        ),
        Case(
            "delegate outside of its blesser's name",
            [stranger, REPLICA, WEB],
            ("NameNotExtended", 0, "subject"),
            delegations=1,
        ),
        Case(
            "delegate that outlives its blesser",
            [longer, REPLICA, WEB],
            ("TimesDoNotNest", 0, "notAfter"),
            delegations=1,
        ),
        Case(
            "delegate that signs",
            [signing, REPLICA, WEB],
            ("Malformed", 0, "basicConstraints"),
            delegations=1,
        ),
        Case(
            "SVID signed by a leaf",
            [svid, REPLICA, WEB],
            ("NotAnAuthority", 1, "basicConstraints"),
            delegations=1,
        ),
        Case(
            "SVID signed by a delegate",
            [below, PHONE, REPLICA, WEB],
            ("NotAnAuthority", 1, "basicConstraints"),
            delegations=1,
        ),
    ]


def _leaf_with(*values: object) -> list[Made]:
    return [make(LEAF, NAME, "replica", WEB, restrictions=restrictions(*values)), WEB]


def _restricted() -> list[Case]:
    expiry, methods, peers, zone = caveats.EXPIRY, caveats.METHODS, caveats.PEERS, caveats.ZONE
    app = make(APPLICATION, "acme:web", "application", ROOT_MADE, restrictions=restrictions(methods))
    below = [make(LEAF, NAME, "replica", app), app]
    with_zone = {"customCaveats": {"example.com/zone": "eu"}}
    first = "restrictions.caveats[0]"
    return [
        Case("expiry holds", _leaf_with(expiry), NAME),
        Case("expiry at its time", _leaf_with(expiry), ("CaveatFailed", 0, first), now=caveats.EXPIRES),
        Case("method holds", _leaf_with(methods), NAME, method="Get"),
        Case("method of another case", _leaf_with(methods), ("CaveatFailed", 0, first), method="get"),
        Case("no method", _leaf_with(methods), ("CaveatFailed", 0, first)),
        Case("peer holds", _leaf_with(peers), NAME, own_names=["other", "acme:db:db-1"]),
        Case(
            "peer whose name begins alike",
            _leaf_with(peers),
            ("CaveatFailed", 0, first),
            own_names=["acme:db2"],
        ),
        Case("no peer", _leaf_with(peers), ("CaveatFailed", 0, first)),
        Case("custom holds", _leaf_with(zone), NAME, policy=with_zone),
        Case(
            "custom fails",
            _leaf_with({**zone, "parameters": "us"}),
            ("CaveatFailed", 0, first),
            policy=with_zone,
        ),
        Case("custom unknown", _leaf_with(zone), ("UnknownCaveat", 0, first)),
        Case(
            "custom with a field more",
            _leaf_with({**zone, "more": 1}),
            ("UnknownCaveat", 0, first),
            policy=with_zone,
        ),
        Case("unknown kind", _leaf_with({"kind": "future"}), ("UnknownCaveat", 0, first)),
        Case(
            "second fails",
            _leaf_with(methods, peers),
            ("CaveatFailed", 0, "restrictions.caveats[1]"),
            method="Get",
        ),
        Case("caveat of the application holds", below, NAME, method="Get"),
        Case("caveat of the application fails", below, ("CaveatFailed", 1, first), method="Put"),
    ]


def _discharged() -> list[Case]:
    third, other, nested = caveats.THIRD, caveats.OTHER, caveats.NESTED
    met = discharge(third, "discharger")
    first, missing = "restrictions.caveats[0]", ("MissingDischarge", 0, "restrictions.caveats[0]")
    until = discharge(third, "discharger", caveats.EXPIRY)
    forged = {**until, "caveats": []}
    needs = discharge(third, "discharger", nested)
    return [
        Case("discharge", _leaf_with(third), NAME, discharges=[met]),
        Case(
            "discharge among others",
            _leaf_with(third),
            NAME,
            discharges=[discharge(other, "discharger"), met],
        ),
        Case("no discharge", _leaf_with(third), missing),
        Case(
            "discharge of a caveat with another nonce",
            _leaf_with(third),
            missing,
            discharges=[discharge(other, "discharger")],
        ),
        Case(
            "discharge by somebody else", _leaf_with(third), missing, discharges=[discharge(third, "replica")]
        ),
        Case("discharge with an expiry", _leaf_with(third), NAME, discharges=[until]),
        Case("expired discharge", _leaf_with(third), missing, discharges=[until], now=caveats.EXPIRES),
        Case("discharge without its caveats", _leaf_with(third), missing, discharges=[forged]),
        Case(
            "discharge that needs another",
            _leaf_with(third),
            NAME,
            discharges=[needs, discharge(nested, "ed25519 discharger")],
        ),
        Case("discharge whose other is missing", _leaf_with(third), missing, discharges=[needs]),
        Case(
            "discharge signed as a message",
            _leaf_with(third),
            ("MissingDischarge", 0, first),
            discharges=[caveats.signed_as_message(third)],
        ),
    ]
