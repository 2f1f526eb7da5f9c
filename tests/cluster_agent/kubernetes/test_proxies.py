"""Which proxy the environment names for an address."""

from __future__ import annotations

import pytest

from cluster_agent.kubernetes.proxies import proxy_for


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://api.example", None),
        ({"https_proxy": "http://proxy:3128"}, "https://api.example:6443", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.example", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://api.example", "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "https://api.example", None),
        ({"all_proxy": "http://proxy:3128"}, "https://api.example", "http://proxy:3128"),
        ({"all_proxy": "http://a:1", "https_proxy": "http://b:2"}, "https://api.example", "http://b:2"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": ".example"}, "https://api.example", None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "10.96.0.1"}, "https://10.96.0.1:443", None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "fd00::1"}, "https://[fd00::1]:443", None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "*"}, "https://api.example", None),
    ],
)
def test_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, expected: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == expected
