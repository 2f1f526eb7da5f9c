"""An issuer is judged before it is used, as OpenSSL, Go's crypto/x509 and cryptography's verifier would.

Each case of `tests.foreign.issuer_changes` is made in a root and in an issuer. A replica's chain below it
goes through those verifiers; we accept what all of them accept, and refuse every other by the wrong field.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blessings import Authority, Blessing, KeyKind, Name, Principal
from cluster_agent.errors import BadRequest, DataDirectoryError
from cluster_agent.roots import mounted_files
from cluster_agent.roots.mounted_files import MountedFiles
from cluster_agent.signing import granted
from cluster_agent.signing.key_files import read_authority
from tests.foreign.issuer_changes import CASES, ISSUER, ROOT, Case
from tests.foreign.issuers import DAY, NOW, Foreign, foreign
from tests.foreign.judges import GO_MODULE, STRICT, cryptography, go, openssl

PREFIX = Name.parse("acme:prod")
ROWS = [pytest.param(one, place, id=f"{one.what}, {place}") for one in CASES for place in one.places]
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")


def our_judgement(issuer: Foreign) -> str:
    """Of the issuer when it is mounted."""
    files = issuer.files
    try:
        mounted_files.check(
            MountedFiles(files["tls.crt"], files["tls.key"], files["ca.crt"]),
            prefix=PREFIX,
            at_least=NOW - NOW,
            known_roots={},
            gone=(),
            now=NOW,
        )
    except BadRequest as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def issuers() -> dict[str, Foreign]:
    return {f"{one.what}, {place}": one.made(place) for one in CASES for place in one.places}


@pytest.fixture(scope="module")
def refused_by_go(
    go_toolchain: Path, issuers: dict[str, Foreign], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    program = tmp_path_factory.mktemp("go") / "verifier"
    subprocess.run([go_toolchain, "build", "-o", program, "."], cwd=GO_MODULE, check=True)
    return go(program, issuers, NOW)


@pytest.mark.parametrize(("case", "place"), ROWS)
def test_an_issuer_is_accepted_when_every_plain_verifier_accepts_what_is_below_it(
    case: Case, place: str, tmp_path: Path, issuers: dict[str, Foreign], refused_by_go: dict[str, str]
) -> None:
    issuer = issuers[f"{case.what}, {place}"]
    theirs = {
        "openssl": openssl(tmp_path, issuer, NOW, STRICT),
        "go": refused_by_go[f"{case.what}, {place}"],
        "cryptography": cryptography(issuer, NOW),
    }
    ours = our_judgement(issuer)
    if case.refused is None:
        assert not ours
    else:
        assert case.refused in ours
    if case.stricter:
        assert not any(theirs.values()), theirs
    else:
        assert bool(ours) == any(theirs.values()), (ours, theirs)


@pytest.mark.parametrize("case", [one for one in CASES if ROOT in one.places], ids=lambda one: one.what)
def test_a_root_that_is_kept_with_its_key_is_judged_alike_but_for_its_time(
    case: Case, tmp_path: Path, issuers: dict[str, Foreign]
) -> None:
    """A mounted Secret with keys may contain a root that was made elsewhere, or has expired."""
    root = issuers[f"{case.what}, {ROOT}"].root
    path = tmp_path / "root.pem"
    path.write_bytes(root.key_pem + root.pem)
    if case.refused is None or case.what in ("expired", "not valid yet", "path length 1 in the root"):
        assert read_authority(path).certificate == root.certificate
        return
    with pytest.raises(DataDirectoryError, match=f"{path} contains no usable"):
        read_authority(path)


def test_a_blessing_that_signs_no_lists_cannot_be_registered() -> None:
    """The agent signs revocation lists as the issuer that its replicas are directly below."""
    made = foreign(issuer=next(one.change for one in CASES if "signs no lists" in one.what))
    agent = Principal.from_pem(made.issuer.key_pem)
    chain, root = Blessing((made.issuer.certificate,)), made.root.certificate
    granted.check_chain(chain, root, PREFIX, issuing=agent, room_below=True, now=NOW)
    with pytest.raises(BadRequest, match="no cRLSign") as caught:
        granted.check_chain(chain, root, PREFIX, issuing=agent, room_below=False, now=NOW)
    assert caught.value.reason == "CannotRevoke"


def test_an_issuer_with_an_ed25519_key_is_accepted() -> None:
    """cryptography's verifier knows no such key; OpenSSL and Go do."""
    root = Authority.create_root(Name.parse("acme"), Principal.create(KeyKind.ED25519), now=NOW, lifetime=DAY)
    agent = Principal.create(KeyKind.ED25519)
    chain = root.grant(agent.public_key, "prod", now=NOW, lifetime=DAY)
    granted.check_chain(chain, root.certificate, PREFIX, issuing=agent, room_below=False, now=NOW)


def test_the_refusal_names_the_certificate_of_the_chain_and_the_field_and_what_to_do() -> None:
    limited = next(one for one in CASES if one.what == "usages: server alone")
    assert our_judgement(limited.made(ISSUER)).startswith(
        "the chain: certificate 0, extKeyUsage: it limits what is below it, which must identify clients and "
        "servers; have it made without an extended key usage, or with both"
    )
    assert our_judgement(limited.made(ROOT)).startswith("the root certificate: extKeyUsage: ")
