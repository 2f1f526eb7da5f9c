"""The attack with a copy of a namespace's Secret: calls the cluster agent with it, as a pod agent would.

    kubectl get secret vanadium-bootstrap -n shop -o jsonpath='{.data.fortune}' | base64 -d > stolen.json
    python examples/stolen_secret.py https://127.0.0.1:8193 < stolen.json

Exits with 0 when the call was refused, and prints the refusal; with 1 when it got a blessing.
"""

from __future__ import annotations

import json
import os
import sys

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Blessing, Principal, Roots
from blessings.tls import client_context


def seek(url: str, credential: dict[str, str], token: str) -> httpx.Response:
    """Calls SeekBlessings with this credential and this token, as an attacker could from anywhere."""
    context = client_context(
        Principal.from_pem(credential["privateKey"].encode()),
        Blessing.from_pem(credential["certificateChain"]),
        Roots.from_pem(credential["clusterAgentRoots"]),
    )
    body = {"csr": Principal.create().csr().public_bytes(Encoding.PEM).decode(), "token": token}
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.post(f"{url}/v1/seek-blessings", json=body)


def refusal(response: httpx.Response) -> str:
    """The cluster agent's answer in one line."""
    error = response.json().get("error", {})
    return f"{response.status_code} {error.get('reason')}: {error.get('message')}"


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    response = seek(sys.argv[1], json.load(sys.stdin), os.environ.get("TOKEN", ""))
    print(refusal(response))
    return 0 if response.is_client_error else 1


if __name__ == "__main__":
    sys.exit(main())
