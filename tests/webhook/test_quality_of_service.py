"""A Pod with resources of its own, whose class Kubernetes decides after the webhooks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected
from webhook.errors import RefusalError

JSONObject = dict[str, Any]
_WHOLE = {"cpu": "1", "memory": "1Gi"}
_HALF = {"cpu": "500m", "memory": "512Mi"}


@pytest.mark.parametrize(
    "subject",
    [
        pod(container(resources={"requests": _WHOLE}), resources={"limits": _WHOLE}),
        pod(container(resources={"limits": _WHOLE}), resources={"limits": _WHOLE}),
        pod(
            container(resources={"requests": _HALF}),
            init=[container("sidecar", restartPolicy="Always", resources={"requests": _HALF})],
            resources={"limits": _WHOLE},
        ),
        pod(
            container(resources={"requests": _HALF}),
            init=[container("first", resources={"requests": _WHOLE})],
            resources={"limits": _WHOLE},
        ),
        pod(
            container(resources={"requests": {"memory": "1Gi"}}),
            resources={"requests": {"cpu": "1000m"}, "limits": _WHOLE},
        ),
    ],
)
def test_a_pod_whose_containers_request_its_limits_stays_guaranteed(subject: JSONObject) -> None:
    """From Kubernetes 1.37 the API server writes the containers' requests as the Pod's after the webhooks."""
    for configuration in (CONFIGURATION, replace(CONFIGURATION, native_sidecar=False)):
        resources = injected(subject, configuration)["spec"]["resources"]
        both = {"cpu": "1500m", "memory": str((1024 + 96) * 1024**2)}
        assert resources == {"requests": both, "limits": both}


@pytest.mark.parametrize("requests", [{"cpu": "999m", "memory": "1Gi"}, {"cpu": "1", "memory": "2Mi"}])
def test_a_pod_whose_containers_request_less_than_its_limits_is_not_guaranteed(requests: JSONObject) -> None:
    subject = pod(container(resources={"requests": requests}), resources={"limits": _WHOLE})
    spec = injected(subject)["spec"]
    assert spec["initContainers"][0]["resources"]["requests"]["cpu"] == "10m"
    # A core more, the pod agent's limit, would be reserved for nothing.
    assert "requests" not in spec["resources"]


def test_a_container_with_what_is_no_quantity_is_refused_with_its_field() -> None:
    subject = pod(container(resources={"requests": {"cpu": "x"}}), resources={"limits": _WHOLE})
    with pytest.raises(
        RefusalError, match=r"spec\.containers\[0\]\.resources\.requests\.cpu: expected a Kub"
    ):
        injected(subject)
