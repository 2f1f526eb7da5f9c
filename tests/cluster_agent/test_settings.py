"""A wrong setting stops the program with its name and what was expected."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from blessings import Name
from cluster_agent.settings import Settings, read_settings
from service.errors import SettingsError
from tests.cluster_agents import free_port, running_cluster_agent


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
        (["--name-prefix", "acme", "--jwks-location", "http://x"], "--jwks-location"),
        (["--name-prefix", "acme", "--ttl-seconds", "90000"], "--ttl-seconds"),
        (["--name-prefix", "acme", "--jwt-ttl-seconds", "3601"], "--jwt-ttl-seconds"),
        (["--name-prefix", "acme", "--oidc-issuer", "http://x"], "--oidc-issuer"),
        (["--name-prefix", "acme", "--oidc-issuer", "https://x/"], "--oidc-issuer"),
        (["--name-prefix", "acme", "--oidc-issuer", "https://x?y"], "--oidc-issuer"),
        (["--name-prefix", "acme", "--oidc-certificate-directory", "x"], "of no use without --oidc-issuer"),
        (["--name-prefix", "acme", "--longest-ttl-seconds", "-1"], "--longest-ttl-seconds"),
        (["--name-prefix", "acme", "--administrators", "a::b"], "--administrators"),
        (["--name-prefix", "acme", "--secret-keepers", "a::b"], "--secret-keepers"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--ttl-seconds", "60"], ["ttl_seconds", "minimum_ttl_seconds"]),
        (["--longest-ttl-seconds", "3599"], ["longest_ttl_seconds", "ttl_seconds"]),
        (["--attestor", "jwks"], ["jwks_location", "jwks_issuer", "attestor"]),
        (["--attestor", "jwks", "--jwks-location", "x"], ["jwks_issuer", "attestor"]),
        (["--claim", "required", "--claim-code-file", "x"], ["name_prefix", "claim"]),
        (["--issuing-directory", "x"], ["name_prefix", "issuing_directory"]),
        (["--name-prefix", "acme:prod", "--claim", "required"], ["claim_code_file", "claim"]),
        (["--database-url", "postgresql://u:secret@h/d"], ["keys_directory", "database_url"]),
        (
            [
                "--name-prefix",
                "a:b",
                "--claim",
                "required",
                "--claim-code-file",
                "x",
                "--issuing-directory",
                "y",
            ],
            ["issuing_directory", "claim"],
        ),
        (
            ["--ttl-seconds", "60", "--issuing-directory", "x"],
            ["ttl_seconds", "minimum_ttl_seconds", "name_prefix", "issuing_directory"],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_all_named(arguments: list[str], settings: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(["--name-prefix", "acme", *arguments])
    found = re.findall(r"--([a-z-]+) \(VANADIUM_CLUSTER_AGENT_([A-Z_]+)\)", str(caught.value))
    assert {flag for flag, _ in found} == {name.replace("_", "-") for name in settings}
    assert {variable for _, variable in found} == {name.upper() for name in settings}
    assert "secret" not in str(caught.value)


NUMBERS = [name for name, one in Settings.model_fields.items() if one.annotation in (int, float)]


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 20, "1e308", "inf", "-inf", "nan", "1e12"])
@pytest.mark.parametrize("name", NUMBERS)
def test_attack_a_number_that_no_duration_or_count_can_be(name: str, value: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(SettingsError) as caught:
        read_settings(["--name-prefix", "acme", f"{flag}={value}"])
    assert flag in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_mistyped_variable_is_refused_with_the_right_name() -> None:
    with pytest.raises(SettingsError, match=r"did you mean VANADIUM_CLUSTER_AGENT_ADMINISTRATORS\?"):
        read_settings(["--name-prefix", "acme"], {"VANADIUM_CLUSTER_AGENT_ADMINISTRATOR": "a:b"})
    of_a_service = {"VANADIUM_CLUSTER_AGENT_SERVICE_HOST": "10.96.0.7"}
    assert read_settings(["--name-prefix", "acme"], of_a_service).administrators == ()


@pytest.mark.parametrize("keys", [None, "", "{}", '{"keys": []}'])
def test_a_key_set_that_is_no_file_or_has_no_key_stops_the_program(tmp_path: Path, keys: str | None) -> None:
    if keys is not None:
        (tmp_path / "mistyped.json").write_text(keys)
    with (
        pytest.raises(AssertionError, match=r"ended with 2:(.|\n)*--jwks-location \(VANADIUM_"),
        running_cluster_agent(tmp_path, jwks_location=tmp_path / "mistyped.json"),
    ):
        pass


def test_an_agent_that_never_read_its_issuers_keys_is_not_ready(tmp_path: Path) -> None:
    """A key set at an address may come later; until then a replica that works must not make room for it."""
    nobody = f"https://127.0.0.1:{free_port()}/jwks"
    with (
        running_cluster_agent(tmp_path, jwks_location=nobody) as agent,
        httpx.Client(base_url=agent.health_url) as client,
    ):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "the background task token-keys has not worked yet"


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
