"""What a namespace's annotations give its Pods in local mode, whose webhook watches no namespaces."""

from __future__ import annotations

import pytest

from tests.pods import pod
from vkube.admission.deployed import Rules
from vkube.admission.namespace_annotations import stating, without_effect
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


def test_what_has_no_effect_on_a_namespace_is_told() -> None:
    written = {
        "vanadium.io/inject": "enabled",
        "vanadium.io/log-levl": "debug",
        "vanadium.io/files": "web",
        TTL: "1h",
    }
    labels = {
        "vanadium.io/inject": "enabled",
        "vanadium.io/enforce": "Deny",
        "vanadium.io/injct": "x",
        "app": "y",
    }
    assert without_effect({"metadata": {"annotations": written, "labels": labels}}) == [
        "the namespace's annotation vanadium.io/files has no effect: state it on the Pod template",
        "the namespace's annotation vanadium.io/inject has no effect: make it a label",
        "the namespace's annotation vanadium.io/log-levl has no effect: no such annotation is known; did you "
        "mean vanadium.io/log-level?",
        "the namespace's label vanadium.io/enforce has no effect: 'Deny': expected warn or deny",
        "the namespace's label vanadium.io/injct has no effect: no such label is known; did you mean "
        "vanadium.io/inject?",
    ]
    assert without_effect(None) == []


def test_of_many_names_on_a_namespace_a_few_are_told() -> None:
    """Each workload's report contains them, and to compare one takes longer than an admission."""
    names = {f"vanadium.io/log-leve{number:04}": "x" for number in range(3000)}
    told = without_effect({"metadata": {"annotations": names, "labels": names}})
    assert [("annotation" in one, "log-leve0007" in one) for one in (told[7], told[15])] == [
        (True, True),
        (False, True),
    ]
    assert len(told) == 16


def test_a_label_or_annotation_of_a_namespace_that_should_be_the_other_is_recognized_when_mistyped() -> None:
    written = {"annotations": {"vanadium.io/INJECT": "enabled"}, "labels": {"vanadium.io/TTL": "1h"}}
    annotation, label = without_effect({"metadata": written})
    assert annotation.endswith("no such annotation is known; did you mean vanadium.io/inject?")
    assert label.endswith("no such label is known; did you mean vanadium.io/ttl?")


def test_a_namespace_with_another_value_of_the_label_is_told_which() -> None:
    entry = {"namespaceSelector": {"matchLabels": {"vanadium.io/inject": "enabled"}}}
    for labels, stated in (
        ({}, "is not labelled"),
        ({"vanadium.io/inject": "true"}, "has vanadium.io/inject=true, not"),
    ):
        why = Rules(entry).why_not_called({"metadata": {"name": "shop", "labels": labels}}, pod())
        assert why is not None
        assert f"the namespace shop {stated} vanadium.io/inject=enabled: kubectl label namespace shop" in why
