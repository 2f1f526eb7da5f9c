"""A credential goes over verified TLS only."""

from __future__ import annotations

import pytest

from service.addresses import https_address


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
