"""What a namespace's annotations give its Pods in local mode, whose webhook watches no namespaces."""

from __future__ import annotations

import pytest

from tests.pods import pod
from vkube.admission.namespace_annotations import stating
from vkube.errors import AdmissionRefused

TTL, SECRETS = "vanadium.io/ttl", "vanadium.io/image-pull-secrets"


def test_a_pod_states_what_it_inherits_and_keeps_what_it_states() -> None:
    of_namespace = {TTL: "30m", "vanadium.io/log-level": "debug", "other": "x", SECRETS: "registry"}
    made = stating(pod(annotations={TTL: "1h"}), of_namespace)
    assert made["metadata"]["annotations"] == {TTL: "1h", "vanadium.io/log-level": "debug"}
    assert stating(plain := pod(), {"other": "x"}) is plain


def test_a_wrong_annotation_of_the_namespace_refuses_also_a_pod_that_states_its_own() -> None:
    with pytest.raises(
        AdmissionRefused, match=f"pod web-1 is refused: the namespace's annotation {TTL}: 'x'"
    ):
        stating(pod(annotations={TTL: "1h"}), {TTL: "x"})
