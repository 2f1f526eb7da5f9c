"""What Prometheus sees of publications."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from cluster_agent.publications import Publications


def watch_publications(registry: CollectorRegistry, publications: Publications) -> None:
    """Adds the gauges, which follow `publications`."""
    ratio = Gauge(
        "vanadium_cluster_agent_acknowledged_ratio",
        "Share of the live replicas that have what they should have of a publication, 0 to 1.",
        ["kind"],
        registry=registry,
    )
    version = Gauge(
        "vanadium_cluster_agent_published_version",
        "The current version of a publication.",
        ["kind"],
        registry=registry,
    )
    for kind, one in publications.by_kind.items():
        ratio.labels(kind).set_function(partial(_ratio, publications, kind))
        version.labels(kind).set_function(partial(getattr, one, "version"))


def _ratio(publications: Publications, kind: str) -> float:
    return publications.shares[kind].ratio
