"""What stands in a namespace's Secret, and that the pod agent reads it, whichever version wrote it."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from blessings import Name, Roots
from pod_agent.credential import Credential, parse_credential
from pod_agent.errors import NotMounted
from tests.webhook.reconciler.cluster_agent_double import ROOTS, credential
from webhook.layout import ROOTS_KEY
from webhook.reconciler.entries import MOST_BYTES, Entry, complete, entry_of, read_entry, renewed, size

ROOTS_PEM = ROOTS.to_pem()


def read(data: dict[str, str], account: str) -> Credential:
    return parse_credential(data[account], lambda: data[ROOTS_KEY])


@pytest.mark.parametrize("version", [1, 2])
def test_the_pod_agent_reads_both_versions_alike(version: int) -> None:
    made = credential()
    entry = json.dumps(made) if version == 1 else entry_of(made)
    found = read(complete({"web": entry}, ROOTS_PEM), "web")
    assert found.application == Name.parse("acme:prod:shop:web")
    assert found.blessing.to_pem() == made["certificateChain"]
    assert found.principal.to_pem().decode() == made["privateKey"]
    assert found.cluster_agent_roots.to_pem() == ROOTS_PEM


def test_a_thousand_applications_with_the_longest_names_of_labels_fit() -> None:
    namespace, account = "n" * 63, "a" * 63
    entry = entry_of(credential(f"acme:prod:{namespace}:{account}"))
    assert 1000 * len(entry) + 10_000 < 900 << 10


def test_roots_that_change_are_written_once_and_into_entries_that_have_their_own() -> None:
    old, new = credential(), credential()
    data = complete({"old": json.dumps(old), "new": entry_of(new)}, "next year's roots")
    assert data[ROOTS_KEY] == "next year's roots"
    assert json.loads(data["old"]) == {**old, "clusterAgentRoots": "next year's roots"}
    assert data["new"] == entry_of(new)


def test_a_renewed_entry_stays_in_the_version_that_its_pods_read() -> None:
    made = credential()
    assert renewed(None, made, ROOTS_PEM) == entry_of(made)
    assert renewed(entry_of(credential()), made, ROOTS_PEM) == entry_of(made)
    assert renewed("damaged", made, ROOTS_PEM) == entry_of(made)
    assert json.loads(renewed(json.dumps(credential()), made, ROOTS_PEM)) == made


def test_entries_of_the_previous_version_become_short_only_where_they_do_not_fit() -> None:
    """As when the roots of 500 accounts are rotated, and each has its own copy of two roots."""
    text = json.dumps(credential())
    entries = {f"account-{number}": text for number in range(MOST_BYTES // len(text) - 1)}
    assert read_entry(complete(entries, ROOTS_PEM)["account-0"]).roots == ROOTS_PEM
    both = ROOTS_PEM + ROOTS_PEM
    data = complete(entries, both)
    assert size(data) < MOST_BYTES
    assert read_entry(data["account-0"]).roots is None
    assert read(data, "account-0").cluster_agent_roots == Roots.from_pem(both)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"version": 1, "id": "a"}',
        '{"version": 1, "id": 7, "privateKey": "k"}',
        '{"version": 2, "id": "a", "certificate": 7, "key": "k"}',
        '{"version": 3, "id": "a", "certificate": "c", "key": "k"}',
    ],
)
def test_what_is_no_entry_is_none(text: str) -> None:
    assert read_entry(text) == Entry()


def test_attack_an_entry_that_claims_to_be_one_and_cannot_be_shortened_stays_as_it_is() -> None:
    hostile = json.dumps({"version": 1, "id": "a", "privateKey": "k" * MOST_BYTES})
    data = complete({"web": hostile, "other": json.dumps(credential())}, ROOTS_PEM)
    assert json.loads(data["web"])["privateKey"] == "k" * MOST_BYTES
    assert read_entry(data["other"]).roots is None


def changed(**changes: str) -> str:
    return json.dumps({**json.loads(entry_of(credential())), **changes})


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "text",
    [
        changed(key=""),
        changed(key=in_base64(bytes(32))),
        changed(key=in_base64(b"\xff" * 32)),
        changed(key="ü"),
        changed(certificate=""),
        changed(certificate=in_base64(b"not compressed")),
        changed(certificate=in_base64(zlib.compress(b"no certificate"))),
        changed(certificate=json.loads(entry_of(credential()))["certificate"][:100]),
        changed(certificate=in_base64(zlib.compress(bytes(50 << 20), 9))),
        changed(application="."),
    ],
    ids=lambda text: text[:0],
)
def test_attack_a_damaged_entry_is_named_without_its_content(text: str) -> None:
    with pytest.raises(NotMounted, match="the credential") as caught:
        parse_credential(text, lambda: ROOTS_PEM)
    assert caught.value.reason == "BadCredential"


def test_a_key_of_another_credential_is_refused() -> None:
    other = json.loads(entry_of(credential()))["key"]
    with pytest.raises(NotMounted, match="do not belong together"):
        parse_credential(changed(key=other), lambda: ROOTS_PEM)
