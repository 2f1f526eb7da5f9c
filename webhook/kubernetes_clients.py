"""The client of the API server, from a kubeconfig file or from the Pod that this program runs in."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from certs.api_server import Access, ApiServerRefusal, BoundedApiClient
from service.errors import SettingsError
from service.settings import flag
from service.supervisor import described
from webhook.settings import PREFIX

# https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def connect(kubeconfig: Path | None) -> BoundedApiClient:
    """A client for the cluster of `kubeconfig`, or, without it, for the cluster around us. Raises
    SettingsError."""
    try:
        return BoundedApiClient(around() if kubeconfig is None else _of_file(kubeconfig))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{flag(PREFIX, 'kubeconfig')}: no way to the API server: {error}. Outside of a cluster, give a "
            f"kubeconfig, or {flag(PREFIX, 'reconcile')} false with certificate files"
        ) from error


def around(environment: Mapping[str, str] = os.environ, files: Path = _SERVICE_ACCOUNT) -> Access:
    """The API server of the cluster whose Pod this program runs in. Raises ValueError and OSError."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
    if not host or not port:
        raise ValueError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    token = files / "token"

    def authorization() -> str:
        return f"Bearer {token.read_text().strip()}"

    authorization()  # to know at once whether there is one
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files / "ca.crt")
    name = f"[{host}]" if ":" in host else host
    return Access(f"https://{name}:{port}", context, authorization)


def _of_file(kubeconfig: Path) -> Access:
    # Here, because only a webhook outside of a cluster has the time and the memory for this package.
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    read = client.Configuration()
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]  # it has no types
            str(kubeconfig), client_configuration=read
        )
    except ConfigException as error:
        raise ValueError(str(error)) from error
    context = ssl.create_default_context(cafile=read.ssl_ca_cert)
    if not read.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if read.cert_file:
        context.load_cert_chain(read.cert_file, read.key_file)

    def authorization() -> str | None:
        value: str | None = read.get_api_key_with_prefix("BearerToken")
        return value

    return Access(read.host, context, authorization, read.tls_server_name, read.proxy)


def description(error: Exception) -> str:
    """The error in a line."""
    return str(error) if isinstance(error, ApiServerRefusal) else described(error)
