"""The layout of an injected Pod: its names, paths and ports.

They are in one module, because the reconciler, the pod agent's settings and the documentation use them too.
"""

from __future__ import annotations

from typing import Final

# What a user writes.
PREFIX: Final = "vanadium.io/"
INJECT_LABEL: Final = "vanadium.io/inject"
ENABLED: Final = "enabled"
DISABLED: Final = "disabled"
DELIVERY_ANNOTATION: Final = "vanadium.io/delivery"

# What is added to the Pod.
CONTAINER: Final = "vanadium-pod-agent"
SOCKET_VOLUME: Final = "vanadium-socket"
BOOTSTRAP_VOLUME: Final = "vanadium-bootstrap"
TOKEN_VOLUME: Final = "vanadium-token"  # noqa: S105  the name of a volume
NO_API_ACCESS_VOLUME: Final = "vanadium-no-api-access"
# Only where files are asked for.
FILES_VOLUME: Final = "vanadium-files"
# Only where the kubelet keeps the identity. There is no container then, and no other volume.
IDENTITY_VOLUME: Final = "vanadium-identity"
VOLUMES: Final = (
    SOCKET_VOLUME,
    BOOTSTRAP_VOLUME,
    TOKEN_VOLUME,
    NO_API_ACCESS_VOLUME,
    FILES_VOLUME,
    IDENTITY_VOLUME,
)

# The signer of the cluster agent, and the ClusterTrustBundles that it keeps: the identity roots, and those of
# each federated trust domain, whose name follows.
SIGNER: Final = "vanadium.io/replica"
TRUST_BUNDLE: Final = "vanadium.io:replica:roots"
FEDERATED_BUNDLE: Final = "vanadium.io:replica:federated-"

# One Secret of this name per labelled namespace. Its data keys are service account names, and one that can be
# no such name: what all of the namespace's credentials share.
BOOTSTRAP_SECRET: Final = "vanadium-bootstrap"  # noqa: S105  the name of a Secret
ROOTS_KEY: Final = "_roots.pem"

SOCKET_DIRECTORY: Final = "/run/vanadium"
AGENT_SOCKET: Final = f"{SOCKET_DIRECTORY}/agent.sock"
WORKLOAD_SOCKET: Final = f"{SOCKET_DIRECTORY}/workload.sock"
# The pod agent and the kubelet write files of the same names there: a program's configuration fits both.
FILES_DIRECTORY: Final = "/run/vanadium-files"
CREDENTIAL_BUNDLE: Final = "tls.pem"
KEY: Final = "tls.key"
CHAIN: Final = "tls.crt"
ROOTS: Final = "ca.crt"
# The kubelet alone writes these: `<trust domain>.crt`.
FEDERATED: Final = "federated"
BOOTSTRAP_DIRECTORY: Final = "/var/run/secrets/vanadium.io/bootstrap"
CREDENTIAL_FILE: Final = "credential.json"
ROOTS_FILE: Final = "roots.pem"
TOKEN_DIRECTORY: Final = "/var/run/secrets/vanadium.io/token"  # noqa: S105  a path
TOKEN_FILE: Final = "token"  # noqa: S105  a file name
# The pod agent's own program, in the PATH of its image, that a kubelet executes.
PROBE: Final = "pod-agent-probe"

# What an application finds in its environment.
AGENT_VARIABLE: Final = "V23_AGENT_PATH"
WORKLOAD_VARIABLE: Final = "SPIFFE_ENDPOINT_SOCKET"
APPLICATION_VARIABLES: Final = {
    AGENT_VARIABLE: AGENT_SOCKET,
    WORKLOAD_VARIABLE: f"unix://{WORKLOAD_SOCKET}",
}
# The same for one whose identity the kubelet keeps in files.
FILE_VARIABLES: Final = {
    "VANADIUM_CREDENTIAL_FILE": f"{FILES_DIRECTORY}/{CREDENTIAL_BUNDLE}",
    "VANADIUM_KEY_FILE": f"{FILES_DIRECTORY}/{KEY}",
    "VANADIUM_CHAIN_FILE": f"{FILES_DIRECTORY}/{CHAIN}",
    "VANADIUM_ROOTS_FILE": f"{FILES_DIRECTORY}/{ROOTS}",
    "VANADIUM_FEDERATED_DIRECTORY": f"{FILES_DIRECTORY}/{FEDERATED}",
}

# Kubernetes mounts the default service account token here into every container that mounts nothing here.
API_TOKEN_DIRECTORY: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a path
