"""Changes valid chains everywhere, and sees that none proves a name that it should not.

    python -m tests.blessings.mutants [--count 100000] [--seed 1]

Three kinds of mutants: every bit of every certificate flipped, and bytes changed, added and removed; every
field (each node of the DER) changed in many ways and signed again, by its issuer or by somebody else; and
certificates and discharges left out, doubled, exchanged. What a mutant may prove is judged by who signed it,
and not by `blessings.verification.verifier`: a signer may only sign what extends its own name.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import (
    Blessing,
    Call,
    Discharge,
    Discharges,
    InvalidCaveat,
    InvalidCertificate,
    Name,
    Policy,
    Principal,
    Root,
    Roots,
    VerificationError,
    verify_blessing,
)
from blessings.patterns import Pattern
from tests.blessings import der_tree
from tests.blessings.der_tree import Node
from tests.blessings.field_changes import CHANGES, exchange_for
from tests.vectors import caveats
from tests.vectors.chains import NAME, PHONE, REPLICA, ROOT_MADE, WEB
from tests.vectors.making import (
    APPLICATION,
    DELEGATE,
    LEAF,
    NOW,
    ROOT,
    Made,
    deterministic_signature,
    make,
    principal,
)

ATTACKER = principal("attacker")


@dataclass(frozen=True)
class Subject:
    """A valid chain, leaf first; with its root, and discharges, and the name that each certificate is for."""

    title: str
    chain: tuple[Made, ...]
    names: tuple[str, ...]
    root: Made = ROOT_MADE
    discharges: tuple[dict[str, Any], ...] = ()

    @property
    def der(self) -> list[bytes]:
        return [one.certificate.public_bytes(Encoding.DER) for one in self.chain]

    @property
    def roots(self) -> Roots:
        return Roots((Root(self.root.certificate, Pattern.parse("acme")),))

    def signer(self, place: int) -> Principal:
        return self.chain[place + 1].principal if place + 1 < len(self.chain) else self.root.principal


@dataclass(frozen=True)
class Mutant:
    """What is presented, and whether a name may be what it proves."""

    kind: str
    certificates: Sequence[bytes]
    may_prove: Callable[[Name, Blessing], bool]
    discharges: bytes | None = None


def subjects() -> list[Subject]:
    ed_root = make(ROOT, "acme", "ed25519 root")
    ed_web = make(APPLICATION, "acme:web", "ed25519 application", ed_root)
    ed_replica = make(LEAF, NAME, "ed25519 replica", ed_web)
    text = caveats.restrictions(caveats.EXPIRY, caveats.METHODS, delegation=True)
    held = make(DELEGATE, f"{NAME}:phone", "phone", REPLICA, restrictions=text)
    needy_text = caveats.restrictions(caveats.METHODS, caveats.THIRD, delegation=True)
    needy = make(DELEGATE, f"{NAME}:phone", "phone", REPLICA, restrictions=needy_text)
    met = caveats.discharge(caveats.THIRD, "discharger", caveats.EXPIRY)
    three = (f"{NAME}:phone", NAME, "acme:web")
    return [
        Subject("two certificates", (REPLICA, WEB), three[1:]),
        Subject("two on Ed25519", (ed_replica, ed_web), three[1:], ed_root),
        Subject("a delegate", (PHONE, REPLICA, WEB), three),
        Subject("a delegate with caveats", (held, REPLICA, WEB), three),
        Subject("a delegate with a discharge", (needy, REPLICA, WEB), three, discharges=(met,)),
    ]


def judge(subject: Subject, mutant: Mutant) -> str:
    """What became of it, in a word. Raises AssertionError when it proves what it should not, and any
    exception that verification should not have raised."""
    try:
        discharges = _discharges(subject, mutant)
        blessing = Blessing.from_der(b"".join(mutant.certificates))
        name = verify_blessing(
            blessing,
            subject.roots,
            now=NOW,
            policy=Policy(max_delegations=1),
            call=Call("Get"),
            discharges=discharges,
        )
    except InvalidCertificate:
        return "no chain"
    except InvalidCaveat:
        return "no discharge"
    except VerificationError as error:
        return str(error.reason)
    assert mutant.may_prove(name, blessing), f"{subject.title}: {mutant.kind} proves {name}"
    return "proves what it may"


def _discharges(subject: Subject, mutant: Mutant) -> Discharges:
    if mutant.discharges is not None:
        return Discharges((Discharge.parse(mutant.discharges),))
    return Discharges(tuple(Discharge.from_json(one) for one in subject.discharges))


def every_bit(subject: Subject, step: int = 1) -> Iterator[Mutant]:
    """Each bit, or one of `step`."""
    for place, der in enumerate(subject.der):
        for bit in range(0, len(der) * 8, step):
            changed = bytearray(der)
            changed[bit // 8] ^= 1 << bit % 8
            yield _unsigned(subject, place, bytes(changed), "a flipped bit")


def some_bytes(subject: Subject, rng: random.Random) -> Mutant:
    place = rng.randrange(len(subject.chain))
    der = bytearray(subject.der[place])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(der))
        match rng.randrange(4):
            case 0:
                der[at] = rng.randrange(256)
            case 1:
                der.insert(at, rng.randrange(256))
            case 2:
                del der[at : at + rng.randint(1, 8)]
            case _:
                der[at:at] = der[at : at + rng.randint(1, 16)]
        if not der:
            break
    return _unsigned(subject, place, bytes(der), "changed bytes")


def every_field(subject: Subject, rng: random.Random, step: int = 1) -> Iterator[Mutant]:
    """Each node of each certificate, each change of it, signed by the issuer, by the key's holder, and by
    an attacker; or one of `step` of these."""
    for place, der in enumerate(subject.der):
        body = der_tree.parse(der).at((0,))
        every = product([*body.paths()][1:], CHANGES, range(3))
        for path, change, who in islice(every, 0, None, step):
            yield _signed(subject, place, body.with_changed(path, partial(change, rng=rng)), who)


def some_fields(subject: Subject, rng: random.Random) -> Mutant:
    """Two fields at once, or a field in another's place."""
    place = rng.randrange(len(subject.chain))
    body = der_tree.parse(subject.der[place]).at((0,))
    donor = der_tree.parse(subject.der[rng.randrange(len(subject.chain))]).at((0,))
    for _ in range(2):
        path = rng.choice([*body.paths()][1:])
        foreign = donor.at(rng.choice([*donor.paths()][1:]))
        change = rng.choice([*CHANGES, *[exchange_for(foreign)] * 3])
        body = body.with_changed(path, partial(change, rng=rng))
        if len([*body.paths()]) == 1:
            break
    return _signed(subject, place, body, rng.choice([0, 0, 0, 1, 2]))


def some_order(subject: Subject, rng: random.Random) -> Mutant:
    """Certificates of this chain and others', each whole."""
    everything = [*subject.chain, subject.root, PHONE, REPLICA, WEB, make(LEAF, "acme:db:x", "attacker", WEB)]
    chosen = [rng.choice(everything) for _ in range(rng.randint(1, 4))]
    names = {one.certificate: name for one, name in zip(subject.chain, subject.names, strict=True)}
    names |= {PHONE.certificate: f"{NAME}:phone", REPLICA.certificate: NAME}
    certificates = [one.certificate.public_bytes(Encoding.DER) for one in chosen]
    return Mutant(
        "another order", certificates, lambda name, _: names.get(chosen[0].certificate) == str(name)
    )


def some_discharge(subject: Subject, rng: random.Random) -> Mutant:
    """Bytes or fields of the discharge changed, as they are or signed again by somebody else."""
    met = subject.discharges[0]
    text = bytearray(caveats.canonical(met).encode())
    if rng.random() < 0.5:
        text[rng.randrange(len(text))] = rng.randrange(256)
    else:
        values: list[Any] = [
            None,
            1,
            "",
            [],
            [caveats.METHODS],
            met["caveat"],
            caveats.identifier(caveats.OTHER),
        ]
        changed = {**met, rng.choice([*met, "more"]): rng.choice(values)}
        if rng.random() < 0.5:
            changed = caveats.discharge(caveats.THIRD, rng.choice(["attacker", "phone", "replica"]))
        text = bytearray(json.dumps(changed).encode())

    def may_prove(name: Name, _: Blessing) -> bool:
        read = Discharge.parse(bytes(text))
        return str(name) == subject.names[0] and read == Discharge.from_json(met)

    return Mutant("a changed discharge", subject.der, may_prove, bytes(text))


def _unsigned(subject: Subject, place: int, der: bytes, kind: str) -> Mutant:
    certificates = [*subject.der[:place], der, *subject.der[place + 1 :]]
    body = subject.chain[place].certificate.tbs_certificate_bytes

    def may_prove(name: Name, blessing: Blessing) -> bool:
        # ECDSA has a second signature for each; nothing else may differ.
        return str(name) == subject.names[0] and blessing.certificates[place].tbs_certificate_bytes == body

    return Mutant(kind, certificates, may_prove)


def _signed(subject: Subject, place: int, body: Node, who: int) -> Mutant:
    signer = (subject.signer(place), subject.chain[place].principal, ATTACKER)[who]
    whole = der_tree.parse(subject.der[place])
    tbs = body.encode()
    signature = deterministic_signature(signer, tbs)
    der = Node(0x30, children=(body, whole.at((1,)), Node(0x03, b"\x00" + signature))).encode()
    certificates = [*subject.der[:place], der, *subject.der[place + 1 :]]
    original = subject.chain[place].certificate.tbs_certificate_bytes
    above = Name.parse([*subject.names, "acme"][place + 1])

    def may_prove(name: Name, blessing: Blessing) -> bool:
        if tbs == original:
            return str(name) == subject.names[0] and (who == 0 or _same_key(signer, subject.signer(place)))
        own = name.is_extension_of(above) if place == 0 else str(name) == subject.names[0]
        return who == 0 and own and _is_valid_now(blessing.certificates[place])

    return Mutant("a changed field", certificates, may_prove)


def _same_key(one: Principal, other: Principal) -> bool:
    return one.public_key == other.public_key


def _is_valid_now(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_before_utc <= NOW < certificate.not_valid_after_utc


def systematic(rng: random.Random) -> Iterator[tuple[Subject, Mutant]]:
    for subject in subjects():
        for mutant in every_field(subject, rng):
            yield subject, mutant
        for mutant in every_bit(subject):
            yield subject, mutant


def endless(rng: random.Random) -> Iterator[tuple[Subject, Mutant]]:
    every = subjects()
    while True:
        subject = rng.choice(every)
        kinds = [some_bytes, some_fields, some_fields, some_fields, some_order]
        if subject.discharges:
            kinds += [some_discharge] * 3
        yield subject, rng.choice(kinds)(subject, rng)


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=100_000, help="at least so many; every bit and field always"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    found: Counter[tuple[str, str]] = Counter()
    for subject, mutant in systematic(rng):
        found[mutant.kind, judge(subject, mutant)] += 1
    more = endless(rng)
    while found.total() < given.count:
        subject, mutant = next(more)
        found[mutant.kind, judge(subject, mutant)] += 1
    for (kind, outcome), count in sorted(found.items()):
        print(f"{kind:20} {outcome:26} {count:8}")
    print(f"{'all':20} {'':26} {found.total():8}, none of which proves what it should not")


if __name__ == "__main__":
    main()
