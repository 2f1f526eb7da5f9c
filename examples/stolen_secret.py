"""The attack with a copy of a namespace's Secret: calls the cluster agent with it, as a pod agent would.

    kubectl get secret vanadium-bootstrap -n shop -o json > stolen.json
    python examples/stolen_secret.py https://127.0.0.1:8193 fortune < stolen.json

Exits with 0 when the call was refused, and prints the refusal; with 1 when it got a blessing.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Principal
from blessings.tls import client_context
from pod_agent.credential import Credential, parse_credential


def stolen(data: Mapping[str, str], service_account: str) -> Credential:
    """The service account's credential in the Secret's decoded data."""
    return parse_credential(data[service_account], lambda: data["_roots.pem"])


def seek(url: str, credential: Credential, token: str) -> httpx.Response:
    """Calls SeekBlessings with this credential and this token, as an attacker could from anywhere."""
    context = client_context(credential.principal, credential.blessing, credential.cluster_agent_roots)
    body = {"csr": Principal.create().csr().public_bytes(Encoding.PEM).decode(), "token": token}
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.post(f"{url}/v1/seek-blessings", json=body)


def refusal(response: httpx.Response) -> str:
    """The cluster agent's answer in one line."""
    error = response.json().get("error", {})
    return f"{response.status_code} {error.get('reason')}: {error.get('message')}"


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    data = {key: base64.b64decode(value).decode() for key, value in json.load(sys.stdin)["data"].items()}
    response = seek(sys.argv[1], stolen(data, sys.argv[2]), os.environ.get("TOKEN", ""))
    print(refusal(response))
    return 0 if response.is_client_error else 1


if __name__ == "__main__":
    sys.exit(main())
