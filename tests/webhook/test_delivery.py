"""`vanadium.io/delivery`: the pod agent in a sidecar, or a volume that the kubelet keeps."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given

from tests.pods import container, pod, restricted_container, review
from tests.webhook.applying import CONFIGURATION, apply, injected, named, patch_of
from tests.webhook.pod_security import restricted
from tests.webhook.strategies import pods
from webhook.admission import admit
from webhook.application_ttls import ApplicationTtls
from webhook.errors import RefusalError
from webhook.injection import Injection, inject, inject_pod
from webhook.layout import CONTAINER, FILE_VARIABLES
from webhook.namespace_defaults import defaults
from webhook.pod import Pod
from webhook.reasons import AdmissionReason
from webhook.volume_support import VolumeSupport

JSONObject = dict[str, Any]
ABLE = VolumeSupport(None)
UNABLE = VolumeSupport("the API server does not serve it")
IN_PART = VolumeSupport(None, "1 of 2 nodes have a kubelet older than 1.37, for example old (v1.36.1)")
MOUNT = {"name": "vanadium-identity", "mountPath": "/run/vanadium-files", "readOnly": True}
VARIABLES = [{"name": name, "value": value} for name, value in FILE_VARIABLES.items()]
VOLUME = {
    "name": "vanadium-identity",
    "projected": {
        "sources": [
            {
                "podCertificate": {
                    "signerName": "vanadium.io/replica",
                    "keyType": "ECDSAP256",
                    "credentialBundlePath": "tls.pem",
                    "keyPath": "tls.key",
                    "certificateChainPath": "tls.crt",
                }
            },
            {"clusterTrustBundle": {"name": "vanadium.io:replica:roots", "path": "ca.crt"}},
        ]
    },
}


def asking(delivery: str, *containers: JSONObject, **fields: Any) -> JSONObject:
    annotations = {"vanadium.io/delivery": delivery, **fields.pop("annotations", {})}
    return pod(*containers, annotations=annotations, **fields)


def with_volume(subject: JSONObject) -> JSONObject:
    return apply(subject, inject(subject, CONFIGURATION, ABLE))


def refusal(subject: JSONObject, support: VolumeSupport = ABLE) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        inject(subject, CONFIGURATION, support)
    return caught.value


def test_a_volume_is_one_volume_its_mount_and_variables_in_every_container_and_nothing_else() -> None:
    before = asking("volume", container("web"), init=[container("migrate")])
    after = with_volume(before)
    expected = copy.deepcopy(before)
    expected["spec"]["volumes"] = [VOLUME]
    for each in (expected["spec"]["containers"][0], expected["spec"]["initContainers"][0]):
        each |= {"volumeMounts": [MOUNT], "env": VARIABLES}
    assert after == expected


def test_the_variables_name_the_files_of_the_volume() -> None:
    sources = VOLUME["projected"]["sources"]  # type: ignore[index]
    files = [sources[0]["podCertificate"][key] for key in ("credentialBundlePath", "keyPath")]
    files += [sources[0]["podCertificate"]["certificateChainPath"], sources[1]["clusterTrustBundle"]["path"]]
    assert list(FILE_VARIABLES.values()) == [f"{MOUNT['mountPath']}/{file}" for file in [*files, "federated"]]


FEDERATED = ABLE._replace(federated=("a.example", "partner"))


def roots_of(domain: str) -> JSONObject:
    name = f"vanadium.io:replica:federated-{domain}"
    return {"clusterTrustBundle": {"name": name, "path": f"federated/{domain}.crt", "optional": True}}


@pytest.mark.parametrize("delivery", ["volume", "auto"])
def test_the_volume_has_a_file_for_each_federated_trust_domain_and_stays_when_there_are_others(
    delivery: str,
) -> None:
    subject = asking(delivery)
    after = apply(subject, inject(subject, CONFIGURATION, FEDERATED))
    (made,) = after["spec"]["volumes"]
    assert made["projected"]["sources"] == [
        *VOLUME["projected"]["sources"],  # type: ignore[index]
        roots_of("a.example"),
        roots_of("partner"),
    ]
    assert inject(after, CONFIGURATION, ABLE).reason is AdmissionReason.ALREADY_INJECTED


@pytest.mark.parametrize(
    "source",
    [
        {"secret": {"name": "own"}},
        {"clusterTrustBundle": {"name": "own", "path": "federated/partner.crt", "optional": True}},
        {"clusterTrustBundle": {**roots_of("partner")["clusterTrustBundle"], "path": "federated/other.crt"}},
        {"clusterTrustBundle": {**roots_of("partner")["clusterTrustBundle"], "optional": False}},
        {"clusterTrustBundle": {**roots_of("partner")["clusterTrustBundle"], "name": 7}},
        "none",
    ],
)
def test_attack_a_volume_with_roots_that_are_no_federated_trust_domains_is_not_ours(source: object) -> None:
    foreign = copy.deepcopy(VOLUME)
    foreign["projected"]["sources"].append(source)  # type: ignore[index]
    assert refusal(asking("volume", volumes=[foreign])).reason is AdmissionReason.VOLUME_CLASH


def test_the_containers_annotation_chooses_who_gets_the_volume() -> None:
    subject = asking(
        "volume", container("web"), container("log"), annotations={"vanadium.io/containers": "web"}
    )
    after = with_volume(subject)["spec"]["containers"]
    assert named(after, "web")["volumeMounts"] == [MOUNT]
    assert named(after, "log") == container("log")


@given(pods())
def test_a_second_injection_changes_nothing_and_what_the_user_wrote_stays_in_its_order(
    subject: JSONObject,
) -> None:
    subject["metadata"]["annotations"] = {"vanadium.io/delivery": "volume"}
    after = with_volume(subject)
    again = inject(after, CONFIGURATION, ABLE)
    assert (again.operations, again.reason) == ([], AdmissionReason.ALREADY_INJECTED)
    for place in ("initContainers", "containers"):
        pairs = zip(after["spec"].get(place) or [], subject["spec"].get(place) or [], strict=True)
        for mine, theirs in pairs:
            before = theirs.get("volumeMounts") or []
            assert mine["volumeMounts"][: len(before)] == before
            before = theirs.get("env") or []
            assert mine["env"][len(mine["env"]) - len(before) :] == before
    for operation in inject(subject, CONFIGURATION, ABLE).operations:
        assert operation["op"] == "add"


def test_a_container_that_a_later_webhook_adds_gets_the_volume_too() -> None:
    subject = with_volume(asking("volume"))
    subject["spec"]["containers"].insert(0, container("proxy"))
    second = inject(subject, CONFIGURATION, ABLE)
    assert second.reason is AdmissionReason.VOLUME_MOUNTED
    assert named(apply(subject, second)["spec"]["containers"], "proxy")["volumeMounts"] == [MOUNT]


def test_what_is_in_the_pod_stays_when_the_annotation_changes_meanwhile() -> None:
    sidecar, volume = injected(asking("sidecar")), with_volume(asking("volume"))
    sidecar["metadata"]["annotations"]["vanadium.io/delivery"] = "volume"
    volume["metadata"]["annotations"]["vanadium.io/delivery"] = "sidecar"
    for subject in (sidecar, volume):
        assert inject(subject, CONFIGURATION, ABLE).operations == []


def test_what_an_api_server_fills_in_by_default_is_still_our_volume() -> None:
    subject = with_volume(asking("volume"))
    (volume,) = subject["spec"]["volumes"]
    volume["projected"]["defaultMode"] = 420
    volume["projected"]["sources"][0]["podCertificate"]["maxExpirationSeconds"] = 86400
    assert inject(subject, CONFIGURATION, ABLE).reason is AdmissionReason.ALREADY_INJECTED


def changed(**certificate: Any) -> JSONObject:
    volume = copy.deepcopy(VOLUME)
    volume["projected"]["sources"][0]["podCertificate"] |= certificate  # type: ignore[index]
    return volume


@pytest.mark.parametrize(
    "volume",
    [
        {"name": "vanadium-identity", "emptyDir": {}},
        changed(signerName="example.com/other"),
        changed(userAnnotations={"vanadium.io/name": "acme:prod:bank"}),
        changed(keyType="RSA4096"),
    ],
)
@pytest.mark.parametrize("delivery", ["volume", "sidecar"])
def test_another_volume_of_our_name_is_refused(volume: JSONObject, delivery: str) -> None:
    assert refusal(asking(delivery, volumes=[volume])).reason is AdmissionReason.VOLUME_CLASH


@pytest.mark.parametrize("path", ["/run/vanadium-files", "/var/run/vanadium-files/", "/run/vanadium-files/x"])
def test_a_mount_where_the_identity_goes_is_refused(path: str) -> None:
    theirs = container(volumeMounts=[{"name": "data", "mountPath": path}])
    error = refusal(asking("volume", theirs, volumes=[{"name": "data", "emptyDir": {}}]))
    assert error.reason is AdmissionReason.MOUNT_PATH_CLASH
    assert "vanadium.io/containers" in str(error)


def test_a_variable_of_ours_with_another_value_is_refused() -> None:
    theirs = container(env=[{"name": "VANADIUM_KEY_FILE", "value": "/elsewhere"}])
    error = refusal(asking("volume", theirs))
    assert error.reason is AdmissionReason.VARIABLE_CLASH
    assert "/elsewhere" not in str(error)


def test_attack_a_container_that_is_not_chosen_cannot_mount_the_identity() -> None:
    subject = with_volume(asking("volume", annotations={"vanadium.io/containers": "web"}))
    spy = container("spy", volumeMounts=[{**MOUNT, "mountPath": "/keys"}])
    subject["spec"]["containers"].append(spy)
    assert refusal(subject).reason is AdmissionReason.MOUNT_PATH_CLASH


@pytest.mark.parametrize("ttl", ["1h", "24h"])
def test_a_ttl_is_the_longest_life_that_the_kubelet_asks_for(ttl: str) -> None:
    (volume,) = with_volume(asking("volume", annotations={"vanadium.io/ttl": ttl}))["spec"]["volumes"]
    certificate = volume["projected"]["sources"][0]["podCertificate"]
    assert certificate["maxExpirationSeconds"] == {"1h": 3600, "24h": 86400}[ttl]


def test_a_ttl_that_kubernetes_does_not_sign_is_refused_and_auto_takes_the_sidecar() -> None:
    short = {"vanadium.io/ttl": "30m"}
    assert refusal(asking("volume", annotations=short)).reason is AdmissionReason.INVALID_ANNOTATION
    injection = inject(asking("auto", annotations=short), CONFIGURATION, ABLE)
    assert injection.reason is AdmissionReason.INJECTED
    assert (
        injection.delivery == "sidecar: vanadium.io/delivery is auto, and vanadium.io/ttl is shorter than 1 h"
    )


SHORT = ABLE._replace(ttls=ApplicationTtls(3600, 3540, {"shop/web": 600}))
SHORT_DEFAULT = ABLE._replace(ttls=ApplicationTtls(600, 3540, {"shop/web": 3600}))


def of_application(delivery: str, service_account: str = "web", **fields: Any) -> JSONObject:
    subject = asking(delivery, serviceAccountName=service_account, **fields)
    subject["metadata"]["namespace"] = "shop"
    return subject


def test_an_application_whose_certificates_live_less_than_an_hour_gets_no_volume_and_is_told_at_once() -> (
    None
):
    why = (
        "certificates of the application shop/web live 600 s, the TTL it is registered with, and Kubernetes "
        "accepts none for less than 3600 s (vkube register --ttl changes that)"
    )
    injection = inject(of_application("auto"), CONFIGURATION, SHORT)
    assert outcome(injection) == (
        AdmissionReason.INJECTED,
        f"sidecar: vanadium.io/delivery is auto, and {why}",
    )
    error = refusal(of_application("volume"), SHORT)
    assert error.reason is AdmissionReason.VOLUME_NOT_POSSIBLE
    assert str(error) == (
        f"vanadium.io/delivery is volume, and {why}: use vanadium.io/delivery: auto or sidecar"
    )
    assert inject(of_application("sidecar"), CONFIGURATION, SHORT).reason is AdmissionReason.INJECTED


@pytest.mark.parametrize("delivery", ["volume", "auto"])
def test_the_ttl_of_one_application_is_no_other_s(delivery: str) -> None:
    other = of_application(delivery)
    other["metadata"]["namespace"] = "bank"
    for subject in (of_application(delivery, "api"), other):
        assert inject(subject, CONFIGURATION, SHORT).reason is AdmissionReason.VOLUME_INJECTED
    # The default service account, which a manifest need not name.
    unnamed = asking(delivery)
    unnamed["metadata"]["namespace"] = "shop"
    support = ABLE._replace(ttls=ApplicationTtls(3600, 3540, {"shop/default": 600}))
    if delivery == "volume":
        assert "the application shop/default" in str(refusal(unnamed, support))
    else:
        assert inject(unnamed, CONFIGURATION, support).reason is AdmissionReason.INJECTED


def test_where_the_cluster_agents_own_ttl_is_short_an_application_with_a_longer_one_gets_the_volume() -> None:
    error = refusal(of_application("volume", "api"), SHORT_DEFAULT)
    assert "the application shop/api live 600 s, the cluster agent's TTL, and" in str(error)
    assert inject(of_application("auto", "api"), CONFIGURATION, SHORT_DEFAULT).delivery.startswith("sidecar")
    injection = inject(of_application("volume"), CONFIGURATION, SHORT_DEFAULT)
    assert injection.reason is AdmissionReason.VOLUME_INJECTED


def test_a_pod_that_brings_the_volume_of_such_an_application_is_refused_at_once() -> None:
    brought = with_volume(of_application("volume"))
    for delivery in ("volume", "auto"):
        brought["metadata"]["annotations"]["vanadium.io/delivery"] = delivery
        assert refusal(brought, SHORT).reason is AdmissionReason.VOLUME_NOT_POSSIBLE
    assert inject(brought, CONFIGURATION, SHORT_DEFAULT).reason is AdmissionReason.ALREADY_INJECTED


def test_attack_a_long_service_account_fills_no_decision() -> None:
    injection = inject(of_application("auto", "a" * 100_000), CONFIGURATION, SHORT_DEFAULT)
    assert len(injection.delivery) < 600


def test_annotations_of_the_pod_agent_are_warned_of_where_there_is_none() -> None:
    annotations = {"vanadium.io/log-level": "debug", "vanadium.io/files": "web"}
    injection = inject(asking("volume", annotations=annotations), CONFIGURATION, ABLE)
    assert injection.warnings == (
        f"without effect, because the Pod has a volume and no {CONTAINER}: vanadium.io/log-level, "
        "vanadium.io/files",
    )


def test_an_unknown_delivery_is_refused() -> None:
    error = refusal(asking("volumes"))
    assert error.reason is AdmissionReason.INVALID_ANNOTATION
    assert "expected one of sidecar, volume, auto" in str(error)


def outcome(injection: Injection) -> tuple[AdmissionReason, str]:
    return injection.reason, injection.delivery


def test_auto_takes_the_volume_where_the_kubelet_of_each_node_can_else_the_sidecar_and_says_why() -> None:
    subject = asking("auto")
    assert outcome(inject(subject, CONFIGURATION, ABLE)) == (
        AdmissionReason.VOLUME_INJECTED,
        "volume: vanadium.io/delivery is auto, and the kubelet of each node can",
    )
    for support in (UNABLE, IN_PART):
        assert outcome(inject(subject, CONFIGURATION, support)) == (
            AdmissionReason.INJECTED,
            f"sidecar: vanadium.io/delivery is auto, and {support.objection}",
        )


def test_a_volume_that_no_node_can_keep_is_refused_at_once_with_the_reason() -> None:
    error = refusal(asking("volume"), UNABLE)
    assert error.reason is AdmissionReason.VOLUME_NOT_POSSIBLE
    assert "vanadium.io/delivery is volume, and the API server does not serve it" in str(error)
    assert refusal(with_volume(asking("volume")), UNABLE).reason is AdmissionReason.VOLUME_NOT_POSSIBLE


def test_a_volume_that_some_nodes_cannot_keep_is_admitted_with_a_warning() -> None:
    injection = inject(asking("volume"), CONFIGURATION, IN_PART)
    assert injection.reason is AdmissionReason.VOLUME_INJECTED
    assert injection.warnings == (f"on such a node the Pod would not start: {IN_PART.incomplete}",)


def of_namespace(subject: JSONObject, **annotations: str) -> Injection:
    own = defaults({f"vanadium.io/{name}": value for name, value in annotations.items()}, CONFIGURATION)
    return inject_pod(Pod(subject, own.annotations), own.configuration, ABLE)


def test_a_namespace_states_the_delivery_of_its_pods_and_each_may_state_another() -> None:
    assert of_namespace(pod(), delivery="volume").reason is AdmissionReason.VOLUME_INJECTED
    assert of_namespace(asking("sidecar"), delivery="volume").reason is AdmissionReason.INJECTED
    assert of_namespace(asking("volume"), delivery="sidecar").reason is AdmissionReason.VOLUME_INJECTED


def test_what_a_namespace_states_for_pod_agents_is_no_warning_for_a_pod_without_one() -> None:
    injection = of_namespace(pod(), **{"delivery": "volume", "log-level": "debug", "cpu-limit": "1"})
    assert (injection.reason, injection.warnings) == (AdmissionReason.VOLUME_INJECTED, ())


def test_without_the_annotation_nothing_changes() -> None:
    assert inject(pod(), CONFIGURATION, ABLE) == inject(pod(), CONFIGURATION, UNABLE)
    assert outcome(inject(pod(), CONFIGURATION, ABLE)) == (AdmissionReason.INJECTED, "")


def test_a_restricted_pod_is_still_restricted() -> None:
    assert restricted(with_volume(asking("volume", restricted_container()))) == []


def test_the_answer_states_the_decision_in_the_audit_log_and_in_the_webhook_s_own() -> None:
    admission = admit(review(asking("auto")), CONFIGURATION, support=ABLE)
    decision = "volume: vanadium.io/delivery is auto, and the kubelet of each node can"
    assert admission.message == decision
    response = json.loads(admission.body)["response"]
    assert response["auditAnnotations"] == {"reason": "VolumeInjected", "delivery": decision}
    assert jsonpatch.apply_patch(asking("auto"), patch_of(admission.answer))["spec"]["volumes"] == [VOLUME]
