"""Which callers are known to be API servers: by the API server's own word, and by a setting."""

from __future__ import annotations

import pytest

from service.addresses import networks
from service.errors import SettingsError
from webhook.api_servers import ApiServers
from webhook.settings import load_settings


def test_none_is_known_at_first() -> None:
    assert ApiServers().has("10.0.0.1") is None


def test_those_of_the_setting_are_known_by_address_and_by_network() -> None:
    api_servers = ApiServers(networks("10.0.0.0/28, 192.0.2.1,2001:db8::/64"))
    for address in ("10.0.0.15", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::7"):
        assert api_servers.has(address) is True
    for address in ("10.0.0.16", "192.0.2.2", "2001:db8:1::7", "fe80::1%eth0"):
        assert api_servers.has(address) is False


def test_an_address_that_is_none_stops_the_start_with_the_setting_s_name() -> None:
    arguments = ["--pod-agent-image", "x", "--api-server-addresses", "10.0.0.1/24"]
    with pytest.raises(SettingsError, match="--api-server-addresses"):
        load_settings(arguments)
