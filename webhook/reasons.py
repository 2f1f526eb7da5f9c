"""The reasons of admission answers, one for every outcome: in the answer, the log and the metric."""

from __future__ import annotations

from enum import StrEnum


class AdmissionReason(StrEnum):
    """A reason as a CamelCase word, like the reasons in a Kubernetes Status or condition."""

    # Served: a patch, or none needed.
    INJECTED = "Injected"
    SOCKET_ADDED = "SocketAdded"  # our container was there already; containers added later got the socket
    ALREADY_INJECTED = "AlreadyInjected"
    VOLUME_INJECTED = "VolumeInjected"
    VOLUME_MOUNTED = "VolumeMounted"  # our volume was there already; containers added later got it

    # Left as it is, on purpose.
    NOT_A_CREATE = "NotACreate"
    NOT_A_POD = "NotAPod"
    SUBRESOURCE = "Subresource"
    EXCLUDED_NAMESPACE = "ExcludedNamespace"
    MIRROR_POD = "MirrorPod"
    DISABLED_BY_LABEL = "DisabledByLabel"
    WINDOWS_POD = "WindowsPod"
    HOST_NETWORK = "HostNetwork"

    # Refused: the pod author has to change the Pod.
    INVALID_LABEL = "InvalidLabel"
    INVALID_ANNOTATION = "InvalidAnnotation"
    CONTAINER_CLASH = "ContainerClash"
    VOLUME_CLASH = "VolumeClash"
    MOUNT_PATH_CLASH = "MountPathClash"
    VARIABLE_CLASH = "VariableClash"
    PORT_CLASH = "PortClash"
    USER_CLASH = "UserClash"
    SERVICE_ACCOUNT_CHANGED = "ServiceAccountChanged"
    MALFORMED_POD = "MalformedPod"
    TOO_MANY_CONTAINERS = "TooManyContainers"
    VOLUME_NOT_POSSIBLE = "VolumeNotPossible"
    UNSUPPORTED_REVIEW_VERSION = "UnsupportedReviewVersion"

    # Not a review at all: answered 4xx.
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    BODY_TOO_LARGE = "BodyTooLarge"
    BODY_TOO_SLOW = "BodyTooSlow"
    BODY_TRUNCATED = "BodyTruncated"
    INVALID_JSON = "InvalidJSON"
    TOO_DEEPLY_NESTED = "TooDeeplyNested"
    TOO_MANY_VALUES = "TooManyValues"
    INVALID_HTTP = "InvalidHTTP"
    HEAD_TOO_LARGE = "HeadTooLarge"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    NO_ROOM = "NoRoom"
    MALFORMED_REVIEW = "MalformedReview"


INJECTIONS = frozenset({AdmissionReason.INJECTED, AdmissionReason.VOLUME_INJECTED})
"""New Pods that get an identity."""
SKIPS = frozenset(
    {
        AdmissionReason.EXCLUDED_NAMESPACE,
        AdmissionReason.DISABLED_BY_LABEL,
        AdmissionReason.WINDOWS_POD,
        AdmissionReason.HOST_NETWORK,
    }
)
"""New Pods that are left as they are. A mirror Pod is none of them: its owner is a Node."""
REFUSALS = frozenset(
    {
        AdmissionReason.INVALID_LABEL,
        AdmissionReason.INVALID_ANNOTATION,
        AdmissionReason.CONTAINER_CLASH,
        AdmissionReason.VOLUME_CLASH,
        AdmissionReason.MOUNT_PATH_CLASH,
        AdmissionReason.VARIABLE_CLASH,
        AdmissionReason.PORT_CLASH,
        AdmissionReason.USER_CLASH,
        AdmissionReason.SERVICE_ACCOUNT_CHANGED,
        AdmissionReason.MALFORMED_POD,
        AdmissionReason.TOO_MANY_CONTAINERS,
        AdmissionReason.VOLUME_NOT_POSSIBLE,
    }
)
"""Pods that their author has to change."""
