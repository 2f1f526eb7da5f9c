"""DNS names in replicas' certificates: from an administrator alone, and each attack on them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update

from blessings import Blessing, Principal
from cluster_agent.errors import BadRequest, Conflict, Forbidden
from cluster_agent.model import Application
from cluster_agent.registry.dns_names import MOST_DNS_NAMES, check_dns_names
from cluster_agent.store import tables
from tests.cluster_agent.registry.claimed import WEB, Claimed
from tests.foreign.judges import GO_MODULE

API = Application("shop", "api")
HOST = "web.shop.svc"


def dns_names_of(blessing: Blessing) -> list[str]:
    names = blessing.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


async def registered_names(claimed: Claimed) -> dict[Application, tuple[str, ...]]:
    return {one.application: one.dns_names for one, _ in await claimed.registered()}


async def test_a_replica_of_a_registered_application_has_its_dns_names(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Web", dns_names=[HOST, "shop.example"])
    await claimed.register("acme:api", claimed.grant("api"), application=API, dns_names=["api.shop.svc"])
    web = await claimed.issue()
    assert dns_names_of(web) == [HOST, "shop.example"]
    assert claimed.proven(web) == "acme:prod:Web:web-1"
    assert dns_names_of(await claimed.issue(API)) == ["api.shop.svc"]
    assert dns_names_of(await claimed.issue(Application("shop", "other"))) == []


async def test_dns_names_stay_until_others_are_given_and_end_with_the_registration(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Web", dns_names=[HOST])
    await claimed.register("acme:prod:Web", ttl=600)
    assert dns_names_of(await claimed.issue()) == [HOST]
    await claimed.register("acme:prod:Web", dns_names=[])
    assert dns_names_of(await claimed.issue()) == []
    await claimed.register("acme:prod:Web", dns_names=[HOST])
    await claimed.registrar.unregister(claimed.chief(), WEB)
    assert dns_names_of(await claimed.issue()) == []
    await claimed.register("acme:prod:Api", application=API, dns_names=[HOST])


async def test_an_application_gets_dns_names_under_its_own_name_without_being_cut_off(
    claimed: Claimed,
) -> None:
    before = await claimed.secrets.make(claimed.administrator(), WEB)
    for names in ([HOST], [HOST, "shop.example"]):
        claimed.clock.turn(minutes=1)
        await claimed.register("acme:prod:shop:web", dns_names=names)
        assert [one.id for one in await claimed.secrets.live(claimed.chief())] == [before.secret.id]
    assert dns_names_of(await claimed.issue()) == [HOST, "shop.example"]
    await claimed.register("acme:prod:Web")
    assert await claimed.secrets.live(claimed.chief()) == []


async def test_attack_a_certificate_request_with_dns_names_of_its_own_gets_none(claimed: Claimed) -> None:
    asked = x509.SubjectAlternativeName([x509.DNSName("bank.example"), x509.DNSName(HOST)])
    asking = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(asked, critical=False)

    def csr() -> str:
        made = asking.sign(Principal.create().signing_key, hashes.SHA256())
        return made.public_bytes(Encoding.PEM).decode()

    assert dns_names_of(await claimed.issue(csr=csr())) == []
    await claimed.register("acme:prod:Web", dns_names=["shop.example"])
    assert dns_names_of(await claimed.issue(csr=csr())) == ["shop.example"]


async def test_attack_the_dns_name_of_another_application(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Web", dns_names=["other.example", HOST])
    with pytest.raises(Conflict, match=r"web\.shop\.svc is a DNS name of shop/web") as caught:
        await claimed.register("acme:prod:Api", application=API, dns_names=["api.example", HOST])
    assert caught.value.reason == "DnsNameTaken"
    assert API not in await registered_names(claimed)
    await claimed.register("acme:prod:Api", application=API, dns_names=[HOST], share=True)
    # Both have it now, so that each may be changed without sharing it again.
    await claimed.register("acme:prod:Web", dns_names=[HOST])
    await claimed.register("acme:prod:Api", application=API, ttl=600)
    assert await registered_names(claimed) == {WEB: (HOST,), API: (HOST,)}


async def test_attack_dns_names_that_were_written_into_the_database(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Web", dns_names=[HOST])
    for written in ("bank.example", None):
        with claimed.store._access.database.writing.begin() as connection:
            connection.execute(update(tables.applications).values(dns_names=written))
        with pytest.raises(Forbidden, match="was not made by this cluster agent"):
            await claimed.issue()
    await claimed.register("acme:prod:Web")
    assert dns_names_of(await claimed.issue()) == []


async def test_a_registration_of_a_version_that_knew_no_dns_names_is_believed(claimed: Claimed) -> None:
    registration = await claimed.register("acme:prod:Web")
    assert "dnsNames" not in registration.spelled
    assert "dnsNames" in replace(registration, dns_names=(HOST,)).spelled


@pytest.mark.parametrize(
    "name",
    [
        "*.shop.svc", "*", "w*b.shop.svc", "", ".", "web.", ".web", "web..svc", "Web.shop.svc", "-web.svc",
        "web-.svc", "web_1.svc", "web shop", "web\n.svc", "wéb.svc", "web.svc:443", "10.0.0.1", "1",
        "https://web.svc", "::1", "localhost", "web.localhost", "a" * 64 + ".svc", "a." * 126 + "ab",
    ],
)  # fmt: skip
def test_attack_a_dns_name_that_is_a_wildcard_an_address_or_no_host_name(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_dns_names(["web.shop.svc", name])
    assert caught.value.reason == "InvalidDnsName"


def test_a_dns_name_that_a_host_can_have() -> None:
    names = (
        "web",
        "web.shop.svc.cluster.local",
        "a-1.example",
        "xn--wb-bja.example",
        "3com.example",
        "a" * 63,
    )
    assert check_dns_names([*names, "web"]) == names
    assert len(check_dns_names([("a" * 61 + ".") * 4 + "abcde"])) == 1


def test_attack_more_dns_names_than_a_certificate_should_have() -> None:
    names = [f"web-{number}.shop.svc" for number in range(MOST_DNS_NAMES + 1)]
    assert len(check_dns_names(names[1:])) == MOST_DNS_NAMES
    with pytest.raises(BadRequest, match="at most 16 DNS names, got 17"):
        check_dns_names(names)


async def test_openssl_and_go_verify_a_replica_by_its_dns_name_and_by_no_other(
    claimed: Claimed, go_toolchain: Path, tmp_path: Path
) -> None:
    await claimed.register("acme:prod:Web", dns_names=[HOST])
    blessing, root = await claimed.issue(), claimed.root.root.blessing.to_pem()
    (tmp_path / "chain.pem").write_text(blessing.to_pem())
    (tmp_path / "root.pem").write_text(root)
    build_go_verifier(go_toolchain, tmp_path / "verifier")
    for judge in (refused_by_openssl, refused_by_go):
        assert judge(tmp_path, HOST, claimed.clock()) == ""
        assert judge(tmp_path, "api.shop.svc", claimed.clock()) != ""


def build_go_verifier(go: Path, program: Path) -> None:
    subprocess.run([go, "build", "-o", program, "."], cwd=GO_MODULE, check=True)


def refused_by_openssl(directory: Path, host: str, now: datetime) -> str:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host]
    command += ["-attime", str(int(now.timestamp()))]
    command += ["-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"]
    judged = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return "" if judged.returncode == 0 else judged.stdout + judged.stderr


def refused_by_go(directory: Path, host: str, now: datetime) -> str:
    root, chain = ((directory / name).read_text() for name in ("root.pem", "chain.pem"))
    asked = json.dumps({"name": "", "root": root, "chain": chain, "now": now.isoformat(), "host": host})
    program = directory / "verifier"
    judged = subprocess.run([program], input=asked, capture_output=True, text=True, check=True)
    return str(json.loads(judged.stdout)["server"])
