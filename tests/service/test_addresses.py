"""A credential goes over verified TLS only; and what counts as one client address."""

from __future__ import annotations

import pytest

from service.addresses import https_address, network_of, plain_address


def test_a_path_can_be_added_to_an_address_with_a_slash_at_its_end() -> None:
    for text in ("https://agent:8193", "https://agent:8193/"):
        assert https_address(text) + "/v1/claim" == "https://agent:8193/v1/claim"
    assert https_address("https://[::1]:8193") == "https://[::1]:8193"
    assert https_address("https://proxy/agents/one/") == "https://proxy/agents/one"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agent:8193",
        "http://agent:8193",
        "HTTP://agent",
        "file:///etc/passwd",
        "https://",
        "https://user:password@agent",
        "https://agent:notaport",
        "https://agent:99999",
        "https://[::1",
        "https://agent?to=other",
        "https://agent#other",
        "https://agent\n.example",
    ],
)
def test_attack_anything_else_than_https_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected https://<host>:<port>"):
        https_address(text)


@pytest.mark.parametrize(
    ("address", "plain", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1:0:0:1", "2001:db8::1:0:0:1", "2001:db8::/64"),
        ("2001:db8:0:1::ff", "2001:db8:0:1::ff", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
    ],
)
def test_a_client_has_one_address_and_its_network_counts(address: str, plain: str, network: str) -> None:
    assert plain_address(address) == plain
    assert network_of(address) == network
