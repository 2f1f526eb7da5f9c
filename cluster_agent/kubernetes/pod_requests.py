"""The PodCertificateRequests for our signer, and what vouches for them: namespace, service account, Pod.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#pod-certificate-requests
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi
from cluster_agent.kubernetes.pods import ONE
from cluster_agent.kubernetes.watched import ApiServerAway, Watched
from service.watch_age import WatchAge

_Value = TypeVar("_Value")
SIGNER_NAME = "vanadium.io/replica"
GUARD = "vanadium-pod-certificates"
GROUP = "/apis/certificates.k8s.io/v1"
_JSON = "application/json"
_RECENT_SECONDS = 10.0
_MOST_RECENT = 4096
# etcd stores at most 1.5 MiB for an object; in JSON some characters take six times as much.
_MOST_POD_BYTES = 10 << 20
# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
_ENDED = frozenset({"Succeeded", "Failed"})


class PodRequestApi:
    """The requests at the API server. `age` is that of what is known of them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._watched = Watched(
            api,
            f"{GROUP}/podcertificaterequests",
            "PodCertificateRequests",
            selection={"fieldSelector": f"spec.signerName={SIGNER_NAME}"},
        )

    @property
    def age(self) -> WatchAge:
        return self._watched.age

    def pages(self) -> AsyncIterator[tuple[list[Any], str]]:
        """As `Watched.pages`."""
        return self._watched.pages()

    def events(self, resource_version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """As `Watched.events`."""
        return self._watched.events(resource_version)

    async def guard(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The admission policy and its binding that are named so; None for one that is not there. Raises
        ApiServerAway."""
        path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
        return await self._found(f"{path}ies/{GUARD}"), await self._found(f"{path}ybindings/{GUARD}")

    async def _found(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._api.read(path, {}, _JSON)
        except ApiCallError as error:
            if error.status == 404:
                return None
            raise ApiServerAway(str(error)) from error

    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        """The current request. Raises ApiCallError."""
        return await self._api.read(_path(namespace, name), {}, _JSON, most_bytes=_MOST_POD_BYTES)

    async def set_status(self, metadata: Mapping[str, str], status: Mapping[str, Any]) -> None:
        """Sets the status of the request with these namespace, name, uid and resourceVersion, unless it has
        changed since. Raises ApiCallError."""
        await self._api.replace(
            f"{_path(metadata['namespace'], metadata['name'])}/status",
            {
                "apiVersion": "certificates.k8s.io/v1",
                "kind": "PodCertificateRequest",
                "metadata": dict(metadata),
                "status": dict(status),
            },
        )


@dataclass(frozen=True)
class VouchingPod:
    """What the API server states of a Pod."""

    uid: str
    service_account: str
    node: str
    is_mirror: bool
    signers: frozenset[str]
    created_at: datetime | None = None
    is_new: bool = False
    """Whether none of its containers has started: it has no identity yet."""
    has_ended: bool = False
    """Whether all of its containers have ended, and none starts again."""
    ends_at: datetime | None = None
    """By when its containers end, where it is being deleted."""


class Vouchers:
    """What the API server knows of the objects that a request names. What it states of namespaces and service
    accounts is believed for ten seconds, what it denied never."""

    def __init__(self, api: KubernetesApi, label: tuple[str, str], never: Collection[str]) -> None:
        """`label` is what our namespaces have; in namespaces called as in `never` nobody gets an identity."""
        self._api = api
        self._label = label
        self._never = never
        self._labelled = _Recent[bool]()
        self._accounts = _Recent[str]()

    async def is_labelled(self, namespace: str) -> bool:
        """Whether the namespace has our label, and may have it. Raises Unavailable."""

        async def read() -> bool:
            found = await self._metadata(f"/api/v1/namespaces/{namespace}")
            return found is not None and self._has_label(found)

        if namespace in self._never:
            return False
        return bool(await self._labelled.of(namespace, read))

    async def lacks_label(self, namespace: str) -> bool:
        """Whether there is the namespace now, without our label. Raises Unavailable."""
        found = await self._metadata(f"/api/v1/namespaces/{namespace}")
        return found is not None and not self._has_label(found)

    async def lacks_service_account(self, namespace: str, name: str) -> bool:
        """Whether there is the namespace now, without a service account of that name. Raises Unavailable."""
        if await self._metadata(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}") is not None:
            return False
        # Otherwise a program between that answers 404 to everything would have all certificates revoked. And
        # the Pods of a namespace that is gone are gone too.
        return await self._metadata(f"/api/v1/namespaces/{namespace}") is not None

    async def service_account_uid(self, namespace: str, name: str, asked: str) -> str | None:
        """None when there is none of that name. Another one than `asked` is current: what was read a moment
        ago may be of an account that was deleted and made anew since. Raises Unavailable."""

        async def read() -> str | None:
            found = await self._metadata(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
            return None if found is None else str(found["uid"])

        return await self._accounts.of(f"{namespace}/{name}", read, lambda uid: uid == asked)

    async def pod(self, namespace: str, name: str) -> VouchingPod | None:
        """The Pod of that name, as it is now; None when there is none. Raises Unavailable."""
        found = await self._read(f"/api/v1/namespaces/{namespace}/pods/{name}", _JSON)
        if found is None:
            return None
        try:
            return _pod(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable("PodUnreadable", f"pod {name!r} cannot be read: {error!r:.200}") from error

    def _has_label(self, namespace: Mapping[str, Any]) -> bool:
        key, value = self._label
        return (namespace.get("labels") or {}).get(key) == value

    async def _metadata(self, path: str) -> Mapping[str, Any] | None:
        found = await self._read(path, ONE)
        if found is None:
            return None
        metadata = found.get("metadata")
        # What a program between answers in the API server's place must neither vouch nor take a label away.
        if not isinstance(metadata, dict) or metadata.get("name") != path.rpartition("/")[2]:
            raise Unavailable("ApiServerAway", f"GET {path} was answered with another object")
        return metadata

    async def _read(self, path: str, form: str) -> dict[str, Any] | None:
        try:
            return await self._api.read(path, {}, form, most_bytes=_MOST_POD_BYTES)
        except ApiCallError as error:
            if error.status == 404:
                return None
            raise Unavailable("ApiServerAway", str(error)) from error


class _Recent(Generic[_Value]):
    """Values that were read within the last seconds, as far as there were any."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, _Value]] = {}

    async def of(
        self,
        key: str,
        read: Callable[[], Awaitable[_Value | None]],
        suffices: Callable[[_Value], bool] = lambda _: True,
    ) -> _Value | None:
        known = self._values.get(key)
        if known is not None and time.monotonic() - known[0] < _RECENT_SECONDS and suffices(known[1]):
            return known[1]
        at = time.monotonic()
        value = await read()
        self._values.pop(key, None)
        if value:
            if len(self._values) >= _MOST_RECENT:
                self._values.clear()
            self._values[key] = (at, value)
        return value


def _pod(found: Mapping[str, Any]) -> VouchingPod:
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    ends_at = metadata.get("deletionTimestamp")
    return VouchingPod(
        uid=str(metadata["uid"]),
        service_account=str(spec.get("serviceAccountName") or "default"),
        node=str(spec.get("nodeName") or ""),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        is_new=_is_new(status),
        has_ended=status.get("phase") in _ENDED,
        ends_at=None if ends_at is None else datetime.fromisoformat(ends_at),
        is_mirror="kubernetes.io/config.mirror" in (metadata.get("annotations") or {}),
        signers=frozenset(
            str(source["podCertificate"].get("signerName"))
            for volume in spec.get("volumes") or ()
            for source in (volume.get("projected") or {}).get("sources") or ()
            if source.get("podCertificate")
        ),
    )


def _is_new(status: Mapping[str, Any]) -> bool:
    # Kubelets start containers after all volumes are there.
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    states: list[Mapping[str, Any]] = [one.get("state") or {} for one in containers]
    has_started = any(one.get("restartCount") for one in containers) or any(
        "running" in one or "terminated" in one for one in states
    )
    return status.get("phase") == "Pending" and not has_started


def _path(namespace: str, name: str) -> str:
    return f"{GROUP}/namespaces/{namespace}/podcertificaterequests/{name}"
