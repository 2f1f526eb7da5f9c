"""The list of all routers besides `api.app`: a route that is not here is not served."""

from __future__ import annotations

from fastapi import APIRouter

from cluster_agent.api.applications import registry_routes
from cluster_agent.api.claim import claim_routes
from cluster_agent.api.identity_roots import root_routes
from cluster_agent.api.revocation import revocation_routes
from cluster_agent.api.upstream import upstream_routes
from cluster_agent.api.watch import watch_routes
from cluster_agent.claims.claims import Claiming
from cluster_agent.publications import Publications
from cluster_agent.registry.registrar import Registering
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.roots.root_keeper import RootKeeper


def routers(
    claiming: Claiming, lists: CurrentLists, publications: Publications, keeper: RootKeeper | None
) -> list[APIRouter]:
    """`keeper` is None when the agent did not make the root itself."""
    agent = claiming.agent
    served = [
        claim_routes(claiming),
        registry_routes(Registering(agent)),
        watch_routes(agent, publications),
        revocation_routes(Revoker(agent, lists), lists),
        upstream_routes(claiming),
    ]
    return served if keeper is None else [*served, root_routes(agent, keeper)]
