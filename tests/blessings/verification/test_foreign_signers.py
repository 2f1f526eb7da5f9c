"""No chain is verified that OpenSSL refuses: signing certificates of other authorities, in a chain or as its
root."""

from __future__ import annotations

from pathlib import Path

import pytest

from blessings import Blessing, InvalidCertificate, Roots, VerificationError, verify_blessing
from tests.foreign.issuer_changes import CASES, Case
from tests.foreign.issuers import NOW
from tests.foreign.judges import openssl

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")


@pytest.mark.parametrize(
    ("case", "place"),
    [pytest.param(one, place, id=f"{one.what}, {place}") for one in CASES for place in one.places],
)
def test_no_chain_is_verified_that_openssl_refuses(case: Case, place: str, tmp_path: Path) -> None:
    made = case.made(place)
    try:
        verify_blessing(Blessing(made.chain), Roots.of(made.root.certificate), now=NOW)
    except (VerificationError, InvalidCertificate):
        accepted = False
    else:
        accepted = True
    if case.refused is None:
        assert accepted
    if accepted:
        assert not openssl(tmp_path, made, NOW)
