"""The webhook configuration's `caBundle`, by which the API server trusts the webhook, on every entry."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from blessings import Roots
from certs.api_server import ApiServerRefusal, BoundedApiClient
from certs.store import VersionConflict

_PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

JSONPatch = list[dict[str, Any]]


class CaBundleMissing(Exception):
    """Another program is to write the bundle, and has not written it to every entry."""


def ca_bundle_patch(bundles: Sequence[str | None], roots: Roots, resource_version: str) -> JSONPatch:
    """The JSON Patch (RFC 6902) that writes `roots` to every entry, given the entries' current bundles.

    It is empty when all are right already. It applies only to the version that was read.
    """
    wanted = base64.b64encode(roots.to_pem().encode()).decode()
    changes = [
        {"op": "add", "path": f"/webhooks/{position}/clientConfig/caBundle", "value": wanted}
        for position, bundle in enumerate(bundles)
        if bundle != wanted
    ]
    if not changes:
        return []
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}, *changes]


def publish_ca_bundle(api: BoundedApiClient, configuration: str, roots: Roots) -> bool:
    """Writes the bundle where it is wrong, and returns whether it wrote.

    Raises VersionConflict when the configuration does not exist yet, or changed meanwhile: try again later.
    """
    with _conflicts(configuration):
        bundles, version = _bundles(api, configuration)
        patch = ca_bundle_patch(bundles, roots, version)
        if patch:
            path = f"{_PATH}/{configuration}"
            api.json("PATCH", path, body=patch, content_type="application/json-patch+json")
    return bool(patch)


def check_ca_bundle(api: BoundedApiClient, configuration: str) -> None:
    """Raises CaBundleMissing where an entry has no bundle, VersionConflict when there is no configuration."""
    with _conflicts(configuration):
        bundles, _ = _bundles(api, configuration)
    if not all(bundles):
        raise CaBundleMissing(
            f"MutatingWebhookConfiguration {configuration} has no caBundle yet; cert-manager writes it where "
            "the configuration has the annotation cert-manager.io/inject-ca-from"
        )


def _bundles(api: BoundedApiClient, configuration: str) -> tuple[list[str | None], str]:
    """The entries' bundles, and the version of the configuration that has them."""
    found = api.json("GET", f"{_PATH}/{configuration}")
    bundles = [webhook["clientConfig"].get("caBundle") for webhook in found.get("webhooks") or []]
    return bundles, str(found["metadata"]["resourceVersion"])


@contextmanager
def _conflicts(configuration: str) -> Iterator[None]:
    try:
        yield
    except ApiServerRefusal as error:
        if error.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise VersionConflict(f"MutatingWebhookConfiguration {configuration}: {error.reason}") from error
        raise
