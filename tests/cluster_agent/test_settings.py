"""A wrong setting stops the program with its name and what was expected."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blessings import Name
from cluster_agent.settings import read_settings
from service.errors import SettingsError


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VANADIUM_CLUSTER_AGENT_NAME_PREFIX", "acme:prod")
    monkeypatch.setenv("VANADIUM_CLUSTER_AGENT_ADMINISTRATORS", "a:b, c:d:$")
    settings = read_settings(["--name-prefix", "acme:test", "--ttl-seconds", "600"])
    assert str(settings.prefix) == "acme:test"
    assert [str(pattern) for pattern in settings.access_list.allowed] == ["a:b", "c:d:$"]
    assert [str(pattern) for pattern in settings.secret_keepers_list.allowed] == [
        "vanadium-control-plane:webhook"
    ]
    assert settings.ttl.default.total_seconds() == 600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--name-prefix (VANADIUM_CLUSTER_AGENT_NAME_PREFIX): Field required"),
        (["--name-prefix", "Acme"], "--name-prefix (VANADIUM_CLUSTER_AGENT_NAME_PREFIX): the root"),
        (["--name-prefix", "vanadium-bootstrap:x"], "taken by the control plane"),
        (["--name-prefix", "acme", "--port", "70000"], "--port (VANADIUM_CLUSTER_AGENT_PORT): "),
        (["--name-prefix", "acme", "--attestor", "trust-me"], "--attestor (VANADIUM_CLUSTER_AGENT_ATTESTOR)"),
        (["--name-prefix", "acme", "--attestor", "jwks"], "needs jwks_location and jwks_issuer"),
        (["--name-prefix", "acme", "--ttl-seconds", "60"], "below minimum_ttl_seconds"),
        (["--name-prefix", "acme", "--ttl-seconds", "90000"], "--ttl-seconds"),
        (["--name-prefix", "acme", "--longest-ttl-seconds", "-1"], "--longest-ttl-seconds"),
        (["--name-prefix", "acme", "--longest-ttl-seconds", "3599"], "is below --ttl-seconds (3600)"),
        (["--name-prefix", "acme", "--administrators", "a::b"], "--administrators"),
        (["--name-prefix", "acme", "--secret-keepers", "a::b"], "--secret-keepers"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(arguments)
    assert said in str(caught.value)


def test_by_default_nobody_administers() -> None:
    for arguments in ([], ["--administrators", ""]):
        settings = read_settings(["--name-prefix", "acme", *arguments])
        assert settings.access_list.allowed == ()


def test_who_may_not_administer_may_not_keep_secrets_either() -> None:
    webhook = [Name.parse("vanadium-control-plane:webhook")]
    settings = read_settings(["--name-prefix", "acme"])
    assert settings.secret_keepers_list.allows(webhook)
    assert not settings.access_list.allows(webhook)
    settings = read_settings(["--name-prefix", "acme", "--not-administrators", "vanadium-control-plane"])
    assert not settings.secret_keepers_list.allows(webhook)


def test_the_program_stops_with_2_and_the_reason() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cluster_agent", "--name-prefix", "a b"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "--name-prefix (VANADIUM_CLUSTER_AGENT_NAME_PREFIX): blessing name component 'a b'" in ended.stderr
