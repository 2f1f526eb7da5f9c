"""A wrong setting stops the program, with its name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service.errors import SettingsError
from webhook.resources import Resources
from webhook.settings import load_settings

IMAGE = ["--pod-agent-image", "registry.example/pod-agent:1"]


@pytest.fixture(autouse=True)
def _only_the_environment_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VANADIUM_"):
            monkeypatch.delenv(name)


def test_flags_win_over_the_environment_and_the_environment_over_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VANADIUM_WEBHOOK_PORT", "9000")
    monkeypatch.setenv("VANADIUM_WEBHOOK_TOKEN_AUDIENCE", "mine")
    settings = load_settings([*IMAGE, "--port", "9001"])
    assert (settings.port, settings.token_audience, settings.namespace) == (9001, "mine", "vanadium-system")


def test_the_settings_say_what_is_injected() -> None:
    settings = load_settings([*IMAGE, "--native-sidecar", "false", "--pod-agent-memory-limit", "24Mi"])
    configuration = settings.injection()
    assert configuration.image == "registry.example/pod-agent:1"
    assert configuration.native_sidecar is False
    assert configuration.cluster_agent_url == "https://cluster-agent.vanadium-system.svc:8193"
    assert configuration.resources == Resources(memory_request="24Mi", memory_limit="24Mi")


def test_the_namespaces_left_alone_are_the_clusters_our_own_and_further_ones() -> None:
    settings = load_settings([*IMAGE, "--namespace", "identity", "--excluded-namespaces", "a, b,"])
    assert settings.left_alone() == {"kube-system", "kube-public", "kube-node-lease", "identity", "a", "b"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "--pod-agent-image (VANADIUM_WEBHOOK_POD_AGENT_IMAGE): Field required"),
        ([*IMAGE, "--port", "x"], "--port (VANADIUM_WEBHOOK_PORT): "),
        ([*IMAGE, "--port", "65536"], "--port (VANADIUM_WEBHOOK_PORT): "),
        ([*IMAGE, "--native-sidecar", "perhaps"], "--native-sidecar (VANADIUM_WEBHOOK_NATIVE_SIDECAR): "),
        ([*IMAGE, "--log-level", "loud"], "--log-level (VANADIUM_WEBHOOK_LOG_LEVEL): "),
        ([*IMAGE, "--namespace", "No Name"], "--namespace (VANADIUM_WEBHOOK_NAMESPACE): "),
        (
            [*IMAGE, "--tls-key-file", "k"],
            "--tls-certificate-file (VANADIUM_WEBHOOK_TLS_CERTIFICATE_FILE) and --tls-key-file "
            "(VANADIUM_WEBHOOK_TLS_KEY_FILE): expected both or neither",
        ),
        (
            [*IMAGE, "--cluster-agent-url", "http://x"],
            "--cluster-agent-url (VANADIUM_WEBHOOK_CLUSTER_AGENT_URL): expected https://<host>:<port> (got 'http://x')",
        ),
        (
            [*IMAGE, "--pod-agent-cpu-limit", "much"],
            "--pod-agent-cpu-limit (VANADIUM_WEBHOOK_POD_AGENT_CPU_LIMIT): expected a Kubernetes quantity",
        ),
        (
            [*IMAGE, "--pod-agent-memory-limit", "1Ki"],
            "--pod-agent-memory-limit (VANADIUM_WEBHOOK_POD_AGENT_MEMORY_LIMIT): is less than 24Mi",
        ),
    ],
)
def test_a_wrong_setting_is_named_by_flag_and_variable(arguments: list[str], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(arguments)
    assert name in str(caught.value)


def test_a_mistyped_variable_is_refused_with_the_right_name() -> None:
    with pytest.raises(SettingsError, match=r"did you mean VANADIUM_WEBHOOK_EXCLUDED_NAMESPACES\?"):
        load_settings(IMAGE, {"VANADIUM_WEBHOOK_EXCLUDE_NAMESPACES": "kube-system"})
    assert load_settings(IMAGE, {"VANADIUM_WEBHOOK_PORT_443_TCP": "tcp://10.96.0.7:443"}).port == 8443


def test_the_program_ends_with_status_2_and_the_settings_name() -> None:
    ended = subprocess.run([sys.executable, "-m", "webhook"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("vanadium-webhook: --pod-agent-image (VANADIUM_WEBHOOK_POD_AGENT_IMAGE)")
