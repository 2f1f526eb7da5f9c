"""Every route that the cluster agent serves: what is not here is not served."""

from __future__ import annotations

from fastapi import APIRouter

from cluster_agent.api.applications import registry_routes
from cluster_agent.api.audit import Searched, audit_routes
from cluster_agent.api.blessings import blessing_routes
from cluster_agent.api.claim import claim_routes
from cluster_agent.api.federation import federation_routes
from cluster_agent.api.identity_roots import root_routes
from cluster_agent.api.inventory import Shown, inventory_routes
from cluster_agent.api.jwt import jwt_routes
from cluster_agent.api.public import public_routes
from cluster_agent.api.revocation import revocation_routes
from cluster_agent.api.secrets import secret_routes
from cluster_agent.api.shared_answer import shared_readers
from cluster_agent.api.upstream import upstream_routes
from cluster_agent.api.watch import watch_routes
from cluster_agent.callers import Administrators
from cluster_agent.claims.claim_keeper import ClaimKeeper
from cluster_agent.federation.federation import Federation
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.jwt.svid_issuer import JwtSvidIssuer
from cluster_agent.kubernetes.beginnings import BeginningEvents
from cluster_agent.monitoring.jwt_metrics import JwtMetrics
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.publications import Publications
from cluster_agent.registry.registrar import Registrar
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.secrets.bootstrap_secrets import BootstrapSecrets
from cluster_agent.server.certificate import Serving


def routers(
    *,
    administrators: Administrators,
    secrets: BootstrapSecrets,
    issuer: ReplicaIssuer,
    jwt: JwtSvidIssuer,
    jwt_metrics: JwtMetrics,
    federation: Federation,
    claims: ClaimKeeper,
    registrar: Registrar,
    revoker: Revoker,
    publications: Publications,
    beginnings: BeginningEvents | None,
    keeper: RootKeeper | None,
    serving: Serving,
    metrics: Metrics,
    shown: Shown,
    searched: Searched,
) -> list[APIRouter]:
    """`keeper` is None when the agent did not make the root itself, `beginnings` without an API server."""
    readers = shared_readers()
    served = [
        public_routes(issuer.room, issuer.attestor),
        secret_routes(secrets, revoker, registrar.registry, serving),
        blessing_routes(issuer, metrics),
        jwt_routes(jwt, administrators, jwt_metrics),
        federation_routes(federation, readers),
        claim_routes(claims),
        registry_routes(registrar),
        watch_routes(issuer, publications, administrators, beginnings),
        revocation_routes(revoker, readers),
        upstream_routes(claims),
        inventory_routes(shown),
        audit_routes(searched),
    ]
    return served if keeper is None else [*served, root_routes(keeper, administrators)]
