"""How the settings are spelled, for messages about them, and what is wrong with several together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from service.settings import flag

if TYPE_CHECKING:
    from cluster_agent.settings import Settings

PREFIX = "VANADIUM_CLUSTER_AGENT_"
setting = partial(flag, PREFIX)
"""A setting's flag, with its variable."""


def contradictions(of: Settings) -> Iterator[str]:
    """What is wrong with settings that are right by themselves, with the flags of all that are involved."""
    yield from _of_lives(of)
    if of.attestor == "jwks":
        for field in ("jwks_location", "jwks_issuer"):
            if not getattr(of, field):
                yield f"{setting(field)}: needed by {setting('attestor')} jwks"
    if of.database_url is not None and of.keys_directory is None:
        shared = setting("database_url")
        yield f"{setting('keys_directory')}: needed by {shared}; replicas that share a store share their keys"
    if of.oidc_certificate_directory is not None and not of.oidc_issuer:
        yield f"{setting('oidc_certificate_directory')}: of no use without {setting('oidc_issuer')}"
    yield from _of_roots(of)


def _of_lives(of: Settings) -> Iterator[str]:
    ttl, shortest, longest = map(setting, ("ttl_seconds", "minimum_ttl_seconds", "longest_ttl_seconds"))
    if of.ttl_seconds < of.minimum_ttl_seconds:
        yield f"{ttl}: {of.ttl_seconds} is below {shortest}, {of.minimum_ttl_seconds}"
    if of.longest_ttl_seconds < of.ttl_seconds:
        yield (
            f"{longest}: {of.longest_ttl_seconds} is below {ttl}, {of.ttl_seconds}; no replica's certificate "
            "may live longer than the first"
        )


def _of_roots(of: Settings) -> Iterator[str]:
    claim, issuing = f"{setting('claim')} required", setting("issuing_directory")
    for chosen, by in ((of.claim == "required", claim), (of.issuing_directory is not None, issuing)):
        if chosen and len(of.prefix.components) < 2:
            yield f"{setting('name_prefix')}: {by} needs one below a root, as {of.prefix}:prod"
    if of.claim == "required" and of.claim_code_file is None:
        yield f"{setting('claim_code_file')}: needed by {claim}; without a code, any client could claim"
    if of.claim == "required" and of.issuing_directory is not None:
        yield f"{issuing}: not together with {claim}; an agent has the one or the other root"
