"""The bootstrap credential in the mounted Secret."""

from __future__ import annotations

import json
from dataclasses import dataclass

from blessings import Blessing, BlessingsError, Name, Principal, Roots, fingerprint
from pod_agent.errors import NotMounted

_VERSION = 1


@dataclass(frozen=True)
class Credential:
    """A client certificate for the first call, its application, and the roots to trust for that call."""

    application: Name
    principal: Principal
    blessing: Blessing
    cluster_agent_roots: Roots


def parse_credential(text: str) -> Credential:
    """The credential in a JSON document. Raises NotMounted, whose message never repeats the content."""
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise NotMounted(
                "BadCredential", f"the credential has version {document['version']!r}, not {_VERSION}"
            )
        credential = Credential(
            application=Name.parse(document["application"]),
            principal=Principal.from_pem(document["privateKey"].encode()),
            blessing=Blessing.from_pem(document["certificateChain"]),
            cluster_agent_roots=Roots.from_pem(document["clusterAgentRoots"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BlessingsError) as error:
        raise NotMounted("BadCredential", f"the credential cannot be used: {type(error).__name__}") from error
    if fingerprint(credential.principal.public_key) != fingerprint(credential.blessing.public_key):
        raise NotMounted("BadCredential", "the credential's key and certificate do not belong together")
    return credential
