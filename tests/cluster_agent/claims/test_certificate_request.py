"""The chain of a claimed agent is renewed by CSR and import: what is accepted, each attack that is not, and
what other authorities make of the request. Real stores and certificates; the program over TLS at the end."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from blessings import Expiry, Name, Principal, Roots, verify_blessing
from blessings.encoding.chains import to_pem
from cluster_agent.claims.certificate_request import certificate_request
from cluster_agent.errors import Conflict, Refusal
from tests.claims import CODE, Administrator
from tests.cluster_agents import AgentUnderClock, running_cluster_agent

CHIEF = Name.parse("acme:administrator")
PREFIX, WEB = Name.parse("acme:prod"), Name.parse("acme:prod:shop:web")
YEAR = timedelta(days=365)


class Claimed(AgentUnderClock):
    """An agent with a chain of a year, 300 days later."""

    def __init__(self, directory: Path, store_url: str) -> None:
        super().__init__(directory, store_url, claimable=True)
        (directory / "code").write_text(CODE)
        self.claiming = self.claim_keeper(directory / "code", lambda roots: None)
        self.offline = Administrator(self.clock())

    async def start(self) -> None:
        await self.claiming.start()
        await self.claiming.claim(**self.offline.claim(self.room.issuing.public_key))
        self.clock.turn(days=300)
        self.offline.now = self.clock()

    def grant(self, **changes: Any) -> str:
        return self.offline.grant(**{"key": self.room.issuing.public_key, **changes})

    def ends(self) -> datetime:
        return self.room.identity.signing.blessing.not_after


@pytest.fixture
async def claimed(tmp_path: Path, store_url: str) -> AsyncIterator[Claimed]:
    agent = Claimed(tmp_path, store_url)
    await agent.start()
    yield agent
    await agent.store.close()


async def refused(claimed: Claimed, chain: str) -> str:
    """The reason of an import that must be refused, with everything as before."""
    before, stored = claimed.ends(), await claimed.store.claim.read()
    with pytest.raises(Refusal) as caught:
        await claimed.claiming.renew(chain, by=CHIEF)
    await claimed.claiming.look()
    assert claimed.ends() == before
    assert await claimed.store.claim.read() == stored
    return caught.value.reason


async def test_a_renewed_chain_signs_at_once_and_after_a_restart(claimed: Claimed) -> None:
    administrators = claimed.administrators.access_list
    await claimed.claiming.renew(claimed.grant(), by=CHIEF)
    assert claimed.ends() == claimed.clock() + YEAR
    assert claimed.administrators.access_list == administrators
    key = Principal.create().public_key
    blessing = claimed.room.sign_replica(WEB, "web-1", key, now=claimed.clock(), ttl=timedelta(hours=1))
    assert str(verify_blessing(blessing, claimed.room.identity_roots, now=claimed.clock())) == (
        "acme:prod:shop:web:web-1"
    )
    stored = await claimed.claiming._stored()
    assert stored is not None
    assert stored.chain == claimed.room.identity.signing.blessing


async def test_another_replica_follows(claimed: Claimed) -> None:
    room = claimed.room
    before = room.identity
    await claimed.claiming.renew(claimed.grant(), by=CHIEF)
    after = room.identity
    room.follow(before)
    await claimed.claiming.look()
    assert room.identity == after


async def test_a_chain_that_has_ended_is_renewed_too(claimed: Claimed) -> None:
    claimed.clock.turn(days=100)
    claimed.offline.now = claimed.clock()
    assert claimed.ends() < claimed.clock()
    await claimed.claiming.look()
    await claimed.claiming.renew(claimed.grant(), by=CHIEF)
    assert claimed.ends() == claimed.clock() + YEAR


async def test_attacks_on_an_import(claimed: Claimed) -> None:
    foreign = Administrator(claimed.clock()).grant(claimed.room.issuing.public_key)
    leaf = claimed.offline.root.bless(
        claimed.room.issuing.public_key, "prod", now=claimed.clock(), lifetime=YEAR
    )
    soon = Expiry(claimed.clock() + YEAR)
    attacks = {
        "BlessingForAnotherKey": claimed.grant(key=Principal.create().public_key),
        "OtherName": claimed.grant(extension="production"),
        "NotSigning": leaf.to_pem(),
        "NoRoomBelow": claimed.grant(path_length=0),
        "RestrictedBlessing": claimed.grant(caveats=[soon]),
        "NotLonger": claimed.grant(lifetime=timedelta(days=20)),
        "EndsTooSoon": claimed.grant(lifetime=timedelta(hours=20)),
        "ChainInvalid": foreign,
        "InvalidChain": "no chain",
    }
    assert {await refused(claimed, chain): chain for chain in attacks.values()} == attacks
    assert await refused(claimed, claimed.grant(extension="prod:shop")) == "OtherName"
    claimed.offline.now = claimed.clock() - timedelta(days=200)
    assert await refused(claimed, claimed.grant(lifetime=timedelta(days=10))) == "ChainInvalid", "expired"


async def test_an_agent_with_a_root_of_its_own_has_no_chain_to_renew(tmp_path: Path, store_url: str) -> None:
    under = AgentUnderClock(tmp_path, store_url)
    try:
        claiming = under.claim_keeper(None, lambda roots: None)
        await claiming.start()
        with pytest.raises(Conflict, match="no chain of an administrator's to renew"):
            await claiming.renew("", by=CHIEF)
        await claiming.look()
    finally:
        await under.store.close()


# What cert-manager's CA issuer puts into a certificate for a request with `isCA: true` and
# `usages: [cert sign, crl sign]`: the subject and alternative names of the request, no path length.
_CERT_MANAGER_CA = """
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectAltName = URI:spiffe://acme
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(directory: Path, arguments: str) -> str:
    command = ["openssl", *arguments.split()]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


async def test_a_chain_that_openssl_signs_from_the_request_is_accepted(
    claimed: Claimed, tmp_path: Path
) -> None:
    """The root by our library, the intermediate by openssl, in cert-manager's form."""
    root = claimed.offline.root
    (tmp_path / "root.pem").write_text(to_pem([root.certificate]))
    (tmp_path / "root.key").write_bytes(root.principal.to_pem())
    (tmp_path / "ca.cnf").write_text(_CERT_MANAGER_CA)
    request = certificate_request(claimed.room.issuing, PREFIX)
    (tmp_path / "agent.csr").write_text(request)
    assert x509.load_pem_x509_csr(request.encode()).subject.rfc4514_string() == "DC=prod,DC=acme"
    signing = "x509 -req -in agent.csr -CA root.pem -CAkey root.key -days 3000 -sha256"
    signed = openssl(tmp_path, signing + " -extfile ca.cnf -extensions ca")
    claimed.clock.time = max(claimed.clock.time, datetime.now(UTC) + timedelta(minutes=1))
    await claimed.claiming.renew(signed, by=CHIEF)
    assert claimed.room.identity.signing.blessing.to_pem() == signed
    key = Principal.create().public_key
    blessing = claimed.room.sign_replica(WEB, "web-1", key, now=claimed.clock(), ttl=timedelta(hours=1))
    verify_blessing(blessing, Roots.of(root.certificate), now=claimed.clock())
    (tmp_path / "leaf.pem").write_text(to_pem(blessing.certificates[:1]))
    (tmp_path / "between.pem").write_text(to_pem(blessing.certificates[1:]))
    at = str(int(claimed.clock().timestamp()))
    judging = f"verify -attime {at} -x509_strict -CAfile root.pem -untrusted between.pem leaf.pem"
    assert openssl(tmp_path, judging) == "leaf.pem: OK\n"


def test_an_administrator_renews_over_tls(tmp_path: Path) -> None:
    administrator = Administrator(datetime.now(UTC))
    (tmp_path / "code").write_text(CODE)
    with running_cluster_agent(tmp_path, claim="required", claim_code_file=tmp_path / "code") as agent:
        with agent.client(None, None) as client:
            csr = x509.load_pem_x509_csr(client.get("/v1/claim").json()["csr"].encode())
            key: Any = csr.public_key()
            short = administrator.grant(key, lifetime=timedelta(days=30))
            client.post("/v1/claim", json=administrator.claim(key, chain=short)).raise_for_status()
        with agent.client(*administrator.leaf()) as client:
            before = client.get("/v1/upstream").raise_for_status().json()
            assert before["name"] == "acme:prod"
            assert timedelta(seconds=before["secondsLeft"]) < timedelta(days=30)
            chain = administrator.grant(key)
            client.post("/v1/upstream", json={"chain": chain}).raise_for_status()
            after = client.get("/v1/upstream").raise_for_status().json()
            assert timedelta(seconds=after["secondsLeft"]) > timedelta(days=364)
        with agent.client(*administrator.leaf("somebody")) as client:
            answers = [client.get("/v1/upstream"), client.post("/v1/upstream", json={"chain": chain})]
        assert {one.json()["error"]["reason"] for one in answers} == {"NotAnAdministrator"}
