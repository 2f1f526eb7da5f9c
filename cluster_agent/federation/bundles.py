"""The federated bundles, as a value. Each proves names of its own trust domain, and nothing here: no caller
of the cluster agent is recognised by them, and they are not among the identity roots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from blessings import InvalidBundle, InvalidKey, InvalidName, Name, TrustBundle
from blessings.jwt.keys import key_set
from cluster_agent.errors import BadRequest, NotFound
from cluster_agent.setting_types import CONTROL_PLANE_ROOT
from cluster_agent.signing.room import BOOTSTRAP_ROOT

# Each pod agent holds them all, and hands them out in answers of at most 1 MiB.
MOST_DOMAINS = 32
MOST_BYTES_IN_ALL = 256 * 1024
# The body of a call has 64 KiB.
MOST_BUNDLE_BYTES = 48 * 1024


@dataclass(frozen=True)
class FederatedBundles:
    """The bundles by trust domain, in SPIFFE's format. `version` counts each change, from 0."""

    version: int = 0
    by_domain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def having(self, trust_domain: Name, bundle: Mapping[str, Any]) -> FederatedBundles:
        """With this bundle for the trust domain. Raises BadRequest when there would be too much."""
        bundles = {**self.by_domain, str(trust_domain): bundle}
        changed = FederatedBundles(self.version + 1, dict(sorted(bundles.items())))
        if len(bundles) > MOST_DOMAINS or len(changed.to_json()) > MOST_BYTES_IN_ALL:
            raise BadRequest(
                "TooMuchFederation",
                f"there is room for {MOST_DOMAINS} trust domains and {MOST_BYTES_IN_ALL} bytes in all",
            )
        return changed

    def without(self, trust_domain: Name) -> FederatedBundles:
        """Raises NotFound when there is none for it."""
        if str(trust_domain) not in self.by_domain:
            raise NotFound("UnknownTrustDomain", f"there is no federated bundle of {trust_domain}")
        kept = {domain: one for domain, one in self.by_domain.items() if domain != str(trust_domain)}
        return FederatedBundles(self.version + 1, kept)

    @cached_property
    def answer(self) -> bytes:
        """The answer to those who ask for the bundles; all of them share these bytes."""
        return json.dumps({"version": self.version, "bundles": self.by_domain}).encode()

    def to_json(self) -> str:
        """The document for the store."""
        return json.dumps({"bundles": self.by_domain}, separators=(",", ":"))

    @classmethod
    def from_json(cls, version: int, document: str) -> FederatedBundles:
        """The inverse of `to_json`. Raises KeyError, TypeError, ValueError (InvalidBundle is one)."""
        bundles = json.loads(document)["bundles"]
        for domain, bundle in bundles.items():
            TrustBundle.from_value(bundle, Name.parse(domain))
        return cls(version, bundles)


def trust_domain_of(text: str, own: Name) -> Name:
    """The foreign trust domain with that name. Raises BadRequest for one of ours, and for a name that is
    none."""
    try:
        domain = Name.parse(text.removeprefix("spiffe://"))
    except InvalidName as error:
        raise BadRequest("InvalidTrustDomain", str(error)) from error
    if len(domain.components) != 1:
        raise BadRequest("InvalidTrustDomain", f"a trust domain is one component, got {domain}")
    if domain in (own.root, BOOTSTRAP_ROOT, CONTROL_PLANE_ROOT):
        raise BadRequest(
            "OwnTrustDomain", f"{domain} is a trust domain of this cluster agent, whose roots it keeps itself"
        )
    return domain


def accepted_bundle(value: object, trust_domain: Name) -> dict[str, Any]:
    """The bundle, without what is for other uses. Raises BadRequest for one that is malformed, too long or
    empty."""
    if len(json.dumps(value, separators=(",", ":"))) > MOST_BUNDLE_BYTES:
        raise BadRequest("InvalidBundle", f"a bundle has at most {MOST_BUNDLE_BYTES} bytes")
    try:
        bundle = TrustBundle.from_value(value, trust_domain)
        keys = key_set(bundle.jwt_keys)
    except (InvalidBundle, InvalidKey) as error:
        raise BadRequest("InvalidBundle", str(error)) from error
    if not bundle.certificates and not keys:
        raise BadRequest("InvalidBundle", "the bundle has no key for X.509-SVIDs or JWT-SVIDs")
    return bundle.to_value()
