"""The pod agent's settings."""

from __future__ import annotations

import pytest

from pod_agent.settings import PREFIX, Settings, read_settings
from service.errors import SettingsError
from tests.pods import pod
from tests.webhook.applying import injected


def test_every_variable_that_the_webhook_injects_is_a_setting() -> None:
    (agent, *_) = injected(pod())["spec"]["initContainers"]
    variables = {one["name"]: one.get("value", "10.0.0.1") for one in agent["env"]}
    assert {name for name in variables if name.startswith(PREFIX)}
    assert isinstance(read_settings([], variables), Settings)


def test_a_mistyped_variable_is_refused_with_the_right_name() -> None:
    with pytest.raises(SettingsError, match=r"did you mean VANADIUM_POD_AGENT_TTL_SECONDS\?"):
        read_settings([], {"VANADIUM_POD_AGENT_TTL": "600"})


@pytest.mark.parametrize("name", ["HEALTH_PORT", "TTL_SECONDS"])
def test_attack_a_number_of_thousands_of_digits(name: str) -> None:
    with pytest.raises(SettingsError, match="expected a whole number from") as caught:
        read_settings([], {f"{PREFIX}{name}": "9" * 5000})
    assert len(str(caught.value)) < 300


def test_a_service_of_the_namespace_that_is_named_like_the_pod_agent_changes_nothing() -> None:
    """Its author chooses names of Services, and the kubelet makes variables of them."""
    address = "tcp://10.96.0.7:8194"
    of_a_service = {"SERVICE_HOST": "10.96.0.7", "PORT": address, "PORT_8194_TCP": address}
    variables = {f"VANADIUM_POD_AGENT_{name}": value for name, value in of_a_service.items()}
    assert read_settings([], variables) == Settings()
