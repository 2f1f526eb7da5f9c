"""Tokens of many Pods for `tests.bench.issuing`, and the settings of a cluster agent that attests them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import RSAKey

from tests.cluster_agents import AUDIENCE, ISSUER, pod_token
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from vkube.local.token_issuer import TokenIssuer

# Each asks for a first blessing and a renewal as often; sixteen certificates are the most of a full life.
_USES_OF_A_POD = 8
_NAMESPACE = "/api/v1/namespaces/shop"


@contextmanager
def pod_tokens(attestor: str, count: int, directory: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """`count` tokens of Pods of shop/web, and the settings of a cluster agent with that attestor."""
    if attestor == "jwks":
        yield _signed_here(count, directory)
        return
    found = programs(lambda line: print(line, file=sys.stderr, flush=True))
    with ControlPlane(found) as control_plane:
        token_file = directory / "api.token"
        token_file.write_text(control_plane.admin_token)
        settings = {
            "attestor": attestor,
            "kubernetes_api_url": control_plane.url,
            "kubernetes_ca_file": control_plane.ca_certificate,
            "kubernetes_token_file": token_file,
        }
        yield settings, _of_the_cluster(control_plane, count)


def _signed_here(count: int, directory: Path) -> tuple[dict[str, Any], list[str]]:
    # Clusters of kubeadm, kind, k3s and the large providers have an RSA key.
    tokens = TokenIssuer(ISSUER, lambda: datetime.now(UTC), RSAKey.generate_key(2048))
    file = directory / "issuer.json"
    file.write_text(tokens.jwks())
    return {"jwks_location": file}, [pod_token(tokens, f"web-{number}") for number in range(count)]


def _of_the_cluster(control_plane: ControlPlane, count: int) -> list[str]:
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", "shop")
    kubectl("create", "serviceaccount", "web", "-n", "shop")
    headers = {"Authorization": f"Bearer {control_plane.admin_token}"}
    with (
        httpx.Client(
            base_url=control_plane.url, verify=str(control_plane.ca_certificate), headers=headers, timeout=60
        ) as api,
        ThreadPoolExecutor(8) as threads,
    ):
        pods = range(-(-count // _USES_OF_A_POD))
        tokens = list(threads.map(lambda number: _token_of_a_new_pod(api, f"web-{number}"), pods))
    return [tokens[number % len(tokens)] for number in range(count)]


def _token_of_a_new_pod(api: httpx.Client, name: str) -> str:
    pod = {
        "metadata": {"name": name},
        "spec": {"serviceAccountName": "web", "containers": [{"name": "app", "image": "none"}]},
    }
    api.post(f"{_NAMESPACE}/pods", json=pod).raise_for_status()
    bound = {"audiences": [AUDIENCE], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name}}
    answer = api.post(f"{_NAMESPACE}/serviceaccounts/web/token", json={"spec": bound})
    answer.raise_for_status()
    token: str = answer.json()["status"]["token"]
    return token
