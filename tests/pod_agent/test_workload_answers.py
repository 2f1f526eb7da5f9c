"""What an answer of the Workload API contains, as the standard's own messages read it."""

from __future__ import annotations

from spiffe._proto.workload_pb2 import X509BundlesResponse, X509SVIDResponse

from blessings import Pattern, Root, Roots
from pod_agent.identity import Identity
from pod_agent.workload.x509 import (
    MOST_ANSWER_BYTES,
    _Encoded,
    bundles,
    bundles_response,
    svid_response,
)
from tests.chains import NOW, realm
from tests.pod_agent.published_lists import identity, signed


def test_an_answer_is_encoded_as_the_standard_says() -> None:
    one = identity()
    written = svid_response(one, (b"list",))
    svid_answer = X509SVIDResponse.FromString(written)
    (svid,) = svid_answer.svids
    assert svid.spiffe_id == one.name.spiffe_id
    assert svid.x509_svid.startswith(b"\x30\x82")
    assert svid.x509_svid_key.startswith(b"\x30")
    assert dict(X509BundlesResponse.FromString(bundles_response(one, ())).bundles) == bundles(one)
    assert svid.bundle == bundles(one)[one.name.trust_domain]
    assert svid_answer.SerializeToString(deterministic=True) == written


def test_lists_that_do_not_fit_are_left_out_and_the_identity_never_is() -> None:
    small, large = signed(1, 7), signed(2, *range(1, 25_000))
    assert 2 * len(large) > MOST_ANSWER_BYTES > len(large)
    svids = svid_response(identity(), (small, large, large, small))
    assert list(X509SVIDResponse.FromString(svids).crl) == [small, large, small]
    assert X509SVIDResponse.FromString(svids).svids[0].spiffe_id == identity().name.spiffe_id
    found = bundles_response(identity(), (large, large))
    assert list(X509BundlesResponse.FromString(found).crl) == [large]
    assert max(len(svids), len(found)) <= MOST_ANSWER_BYTES


def test_all_streams_share_the_bytes_of_an_answer_and_a_change_that_is_not_in_it_is_none() -> None:
    one, lists = identity(), (signed(1, 7),)
    encoded = _Encoded(bundles_response)
    first = encoded.of(one, lists)
    assert encoded.of(one, lists) is first
    assert encoded.of(identity(2), lists) is first, "the bundles did not change with the identity"
    assert encoded.of(one, (signed(2, 8),)) != first
    assert _Encoded(svid_response).of(identity(2), lists) != _Encoded(svid_response).of(one, lists)


def test_attack_a_root_trusted_for_a_part_of_a_domain_is_not_handed_out_for_the_whole() -> None:
    one, whole, part, exact = realm(), realm("whole"), realm("part"), realm("exact")
    entries = [
        ("acme", one),
        ("whole", whole),
        ("part:web", part),
        ("exact:$", exact),
        ("...", realm("anybody")),
    ]
    roots = Roots(tuple(Root(other.root.certificate, Pattern.parse(text)) for text, other in entries))
    held = Identity(1, one.replica, one.blessing, one.blessing.presented, roots, NOW)
    assert sorted(domain for domain, bundle in bundles(held).items() if bundle) == [
        "spiffe://acme",
        "spiffe://whole",
    ]
