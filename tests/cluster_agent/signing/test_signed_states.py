"""Attack: a program that writes to the database, without the issuing key, and with what that key signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blessings import Principal
from cluster_agent.errors import StoreError
from cluster_agent.federation.bundles import FederatedBundles
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store.documents import SignedDocument

ISSUING = Principal.create()
STATES = SignedStates("federated bundles", FederatedBundles.from_json)
ROW = STATES.signed(FederatedBundles(3), ISSUING)


def test_a_state_is_opened_as_it_was_signed() -> None:
    assert STATES.opened(ROW, ISSUING) == FederatedBundles(3)


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, version=4),
        replace(ROW, document='{"bundles":{"evil":{}}}'),
        replace(ROW, signature="no hex"),
        STATES.signed(FederatedBundles(3), Principal.create()),
        SignedStates("identity roots", FederatedBundles.from_json).signed(FederatedBundles(3), ISSUING),
    ],
    ids=["another version", "another text", "no signature", "another key", "a state of another kind"],
)
def test_attack_what_was_not_signed_as_this_state_is_refused(row: SignedDocument) -> None:
    with pytest.raises(StoreError, match="the federated bundles in the store were not put there by"):
        STATES.opened(row, ISSUING)


def test_a_state_that_is_gone_or_cannot_be_read_is_told_without_its_text() -> None:
    with pytest.raises(StoreError, match="the store has lost the federated bundles"):
        STATES.opened(None, ISSUING)
    secret: SignedStates[FederatedBundles] = SignedStates("federated bundles", _refuse)
    with pytest.raises(StoreError, match=r"cannot be read: ValueError$"):
        secret.opened(ROW, ISSUING)


def _refuse(version: int, document: str) -> FederatedBundles:
    raise ValueError(f"{version}: {document}")
