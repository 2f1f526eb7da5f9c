"""The webhook configuration's `caBundle`, by which the API server trusts the webhook, on every entry."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from blessings import Roots
from certs.api_server import REQUEST_SECONDS
from certs.store import VersionConflict

JSONPatch = list[dict[str, Any]]


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


def publish_ca_bundle(api: client.AdmissionregistrationV1Api, configuration: str, roots: Roots) -> bool:
    """Writes the bundle where it is wrong, and returns whether it wrote.

    Raises VersionConflict when the configuration does not exist yet, or changed meanwhile: try again later.
    """
    try:
        found = api.read_mutating_webhook_configuration(configuration, _request_timeout=REQUEST_SECONDS)
        bundles = [_text(webhook.client_config.ca_bundle) for webhook in found.webhooks or []]
        version = str(found.metadata.resource_version) if found.metadata else ""
        patch = ca_bundle_patch(bundles, roots, version)
        if patch:
            api.patch_mutating_webhook_configuration(configuration, patch, _request_timeout=REQUEST_SECONDS)
    except ApiException as error:
        if error.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise VersionConflict(f"MutatingWebhookConfiguration {configuration}: {error.reason}") from error
        raise
    return bool(patch)


def _text(bundle: bytes | str | None) -> str | None:
    return bundle.decode() if isinstance(bundle, bytes) else bundle
