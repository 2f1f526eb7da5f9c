"""The client of the API server, from a kubeconfig file or from the Pod that this program runs in."""

from __future__ import annotations

from pathlib import Path

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from certs.api_server import BoundedApiClient
from service.errors import SettingsError
from service.settings import flag
from service.supervisor import described
from webhook.settings import PREFIX

# What a call raises when the API server refuses, or cannot be reached.
API_SERVER_ERRORS = (ApiException, urllib3.exceptions.HTTPError, OSError)


def connect(kubeconfig: Path | None) -> BoundedApiClient:
    """A client for the cluster of `kubeconfig`, or, without it, for the cluster around us. Raises
    SettingsError."""
    configuration = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # it has no types
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration
            )
    except (ConfigException, OSError) as error:
        raise SettingsError(
            f"{flag(PREFIX, 'kubeconfig')}: no way to the API server: {error}. Outside of a cluster, give a "
            f"kubeconfig, or {flag(PREFIX, 'reconcile')} false with certificate files"
        ) from error
    return BoundedApiClient(configuration)


def description(error: Exception) -> str:
    """The error in a line: an ApiException's text has the answer's headers and body."""
    return f"{error.status} {error.reason}" if isinstance(error, ApiException) else described(error)
