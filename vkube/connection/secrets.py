"""The files in a Secret of the control plane's namespace."""

from __future__ import annotations

import base64

from vkube.connection.cluster import Cluster, Object
from vkube.errors import CredentialsError, ForbiddenError, NotFoundError


def secret_files(cluster: Cluster, name: str, why: str) -> dict[str, str]:
    """The content of the Secret, by key. `why` completes the message when it is not there, or not for us.

    Raises CredentialsError, ClusterError, UnreachableError.
    """
    try:
        secret = cluster.get(f"/api/v1/namespaces/{cluster.system}/secrets/{name}")
    except ForbiddenError as error:
        raise CredentialsError(
            f"you may not read Secret {cluster.system}/{name}, which is needed {why}"
        ) from error
    except NotFoundError as error:
        raise CredentialsError(
            f"there is no Secret {cluster.system}/{name} in context {cluster.context}, which is needed "
            f"{why}. Is the product installed there? The webhook makes that Secret"
        ) from error
    return decoded(secret)


def decoded(secret: Object) -> dict[str, str]:
    """The content of a Secret, by key."""
    data = secret.get("data") or {}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}
