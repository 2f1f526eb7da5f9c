"""What a pod author can do about each outcome of an admission."""

from __future__ import annotations

from webhook.annotations import METRICS_PORT
from webhook.layout import DELIVERY_ANNOTATION, DISABLED, ENABLED, INJECT_LABEL
from webhook.reasons import AdmissionReason

_RENAME = "rename it in your manifest: these names belong to the pod agent (docs/settings.md)"
_ADVICE = {
    AdmissionReason.INJECTED: "nothing: it gets an identity when it is created",
    AdmissionReason.SOCKET_ADDED: "nothing: containers that another webhook added get the sockets too",
    AdmissionReason.ALREADY_INJECTED: "nothing: it has the pod agent, or the volume, already",
    AdmissionReason.VOLUME_INJECTED: "nothing: the kubelet gives it an identity when it is created",
    AdmissionReason.VOLUME_MOUNTED: "nothing: containers that another webhook added get the volume too",
    AdmissionReason.VOLUME_NOT_POSSIBLE: f"annotate the Pod template {DELIVERY_ANNOTATION}: auto, or sidecar",
    AdmissionReason.EXCLUDED_NAMESPACE: "run it in another namespace: this one is left alone "
    "(--excluded-namespaces of the webhook)",
    AdmissionReason.MIRROR_POD: "make it a Pod of the API server: the kubelet made this one from a file",
    AdmissionReason.DISABLED_BY_LABEL: f"remove the label {INJECT_LABEL}={DISABLED} from the Pod template",
    AdmissionReason.WINDOWS_POD: "there is no pod agent for Windows",
    AdmissionReason.HOST_NETWORK: f"label the Pod template {INJECT_LABEL}={ENABLED}, unless the cluster "
    "needs it to start",
    AdmissionReason.INVALID_LABEL: f"set the label {INJECT_LABEL} to {ENABLED} or {DISABLED}, or remove it",
    AdmissionReason.INVALID_ANNOTATION: "correct the annotation (docs/settings.md, In your manifests)",
    AdmissionReason.CONTAINER_CLASH: _RENAME,
    AdmissionReason.VOLUME_CLASH: _RENAME,
    AdmissionReason.MOUNT_PATH_CLASH: "mount it elsewhere: the sockets are at /run/vanadium",
    AdmissionReason.VARIABLE_CLASH: "remove the variable: the webhook sets it",
    AdmissionReason.PORT_CLASH: f"state another port in the annotation {METRICS_PORT}: the containers of a "
    "Pod share their ports",
    AdmissionReason.USER_CLASH: "run it as another user: this one is the pod agent's",
    AdmissionReason.SERVICE_ACCOUNT_CHANGED: "create the Pod with its final serviceAccountName",
    AdmissionReason.MALFORMED_POD: "correct the manifest: kubectl apply --dry-run=server checks it",
    AdmissionReason.TOO_MANY_CONTAINERS: "divide the Pod, or leave it without an identity",
}


def advice(reason: AdmissionReason) -> str:
    """What to do, in a sentence without its first capital."""
    return _ADVICE.get(reason, "see the message")
