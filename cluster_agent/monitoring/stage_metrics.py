"""What Prometheus sees of the stages of SeekBlessings."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import get_args

from prometheus_client import CollectorRegistry, Histogram

from blessings import Name
from cluster_agent.issuing.stages import Stage
from cluster_agent.model import Application

# A signature takes part of a millisecond, a token's review 5 s at most; a pod agent waits 10 s for all of it.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class StageMetrics:
    """How long each stage took, whether it ended well or with a refusal."""

    def __init__(self, registry: CollectorRegistry) -> None:
        seconds = Histogram(
            "vanadium_cluster_agent_stage_seconds",
            "Time that a stage of SeekBlessings took, refused calls included: entitlement (what the store "
            "knows of the caller), attestation, signing, store (the durable record).",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._by_stage = {stage: seconds.labels(stage) for stage in get_args(Stage)}

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        return self._by_stage[stage].time()

    def is_for(self, application: Application) -> None:
        """Not counted: applications come and go, and each would be a series of its own."""

    def issued(self, name: Name) -> None:
        """Counted with the answer."""
