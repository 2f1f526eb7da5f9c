"""The pod agent's settings."""

from __future__ import annotations

from pod_agent.settings import PREFIX, Settings, ignored, read_settings
from tests.pods import pod
from tests.webhook.applying import injected


def test_every_variable_that_the_webhook_injects_is_a_setting() -> None:
    (agent, *_) = injected(pod())["spec"]["initContainers"]
    variables = {one["name"]: one.get("value", "10.0.0.1") for one in agent["env"]}
    assert {name for name in variables if name.startswith(PREFIX)}
    assert isinstance(read_settings([], variables), Settings)
    assert ignored(variables) == ""


def test_a_variable_of_a_newer_webhook_stops_no_sidecar_and_is_named() -> None:
    """A Pod may ask for an older image of the pod agent than the webhook's."""
    variables = {"VANADIUM_POD_AGENT_TTL": "600"}
    assert read_settings([], variables) == Settings()
    assert "did you mean VANADIUM_POD_AGENT_TTL_SECONDS?" in ignored(variables)


def test_a_service_of_the_namespace_that_is_named_like_the_pod_agent_changes_nothing() -> None:
    """Its author chooses names of Services, and the kubelet makes variables of them."""
    address = "tcp://10.96.0.7:8194"
    of_a_service = {"SERVICE_HOST": "10.96.0.7", "PORT": address, "PORT_8194_TCP": address}
    variables = {f"VANADIUM_POD_AGENT_{name}": value for name, value in of_a_service.items()}
    assert read_settings([], variables) == Settings()
    assert ignored(variables) == ""
