"""Hostile tenants at the reconciler, with a real API server. The normal one labels a namespace, and waits for
its Secret."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.bench.tenants.measure import Call, Hostility, Outcome, compare
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.installation import installation
from vkube.runner.api_client import TypedApiClient
from webhook.layout import BOOTSTRAP_SECRET, ENABLED, INJECT_LABEL

_PATIENCE_SECONDS = 30.0
_NAMESPACES, _ACCOUNTS = 50, 1200


def failing_namespaces(directory: Path, seconds: float) -> Outcome:
    """In fifty labelled namespaces a foreign Secret has our name, and something changes all the time."""
    with _cluster(directory) as (api, hostile):
        hostility = Hostility()
        for number in range(_NAMESPACES):
            name = f"hostile-{number}"
            hostility.repeat(lambda name=name: _foreign_secret(hostile, name), pause=1.0)  # type: ignore[misc]
        return compare("A.2 failing namespaces", _namespaces(api), hostility, seconds, begun=15)


def many_accounts(directory: Path, seconds: float) -> Outcome:
    """A labelled namespace gets twelve hundred service accounts."""
    with _cluster(directory) as (api, hostile):
        hostility, numbers = Hostility(), itertools.count()
        _namespace(api, "hostile")

        def add() -> None:
            number = next(numbers)
            if number >= _ACCOUNTS:
                hostility.ended.wait(1)
                return
            account = client.V1ServiceAccount(metadata=client.V1ObjectMeta(name=f"app-{number}"))
            hostile.create_namespaced_service_account("hostile", account)

        for _ in range(4):
            hostility.repeat(add)
        return compare("A.3 many service accounts", _namespaces(api), hostility, seconds, begun=10)


@contextmanager
def _cluster(directory: Path) -> Iterator[tuple[client.CoreV1Api, client.CoreV1Api]]:
    """Two clients of it: the hostile tenant's process must not share connections with this one."""
    found = programs(lambda line: print(line, file=sys.stderr, flush=True))
    logs = directory / "logs"
    logs.mkdir()
    with ControlPlane(found) as control_plane, installation(control_plane, logs):
        configuration = client.Configuration()
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(control_plane.kubeconfig), client_configuration=configuration
        )
        yield (
            client.CoreV1Api(TypedApiClient(configuration)),
            client.CoreV1Api(TypedApiClient(configuration)),
        )


def _namespaces(api: client.CoreV1Api) -> Call:
    """New labelled namespaces of the normal tenant, one after the other."""

    def add(number: int) -> None:
        name, until = f"normal-{number + 1}", time.monotonic() + _PATIENCE_SECONDS
        _namespace(api, name)
        while not _has_credential(api, name):
            if time.monotonic() > until:
                raise TimeoutError(f"no Secret in {name} after {_PATIENCE_SECONDS:g} s")
            time.sleep(0.02)

    return add


def _namespace(api: client.CoreV1Api, name: str) -> None:
    labels = {INJECT_LABEL: ENABLED}
    api.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=labels)))


def _has_credential(api: client.CoreV1Api, namespace: str) -> bool:
    try:
        secret: Any = api.read_namespaced_secret(BOOTSTRAP_SECRET, namespace)
    except ApiException as error:
        if error.status == 404:
            return False
        raise
    return "default" in (secret.data or {})


def _foreign_secret(api: client.CoreV1Api, namespace: str) -> None:
    """Makes the namespace and the Secret, and later another service account each time."""
    try:
        metadata = client.V1ObjectMeta(name=namespace)
        api.create_namespace(client.V1Namespace(metadata=metadata))
    except ApiException as error:
        if error.status != 409:
            raise
        account = client.V1ServiceAccount(metadata=client.V1ObjectMeta(generate_name="app-"))
        api.create_namespaced_service_account(namespace, account)
        return
    secret = client.V1Secret(
        metadata=client.V1ObjectMeta(name=BOOTSTRAP_SECRET), type="Opaque", string_data={"x": "not ours"}
    )
    api.create_namespaced_secret(namespace, secret)
    api.patch_namespace(namespace, {"metadata": {"labels": {INJECT_LABEL: ENABLED}}})
