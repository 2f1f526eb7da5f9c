"""The stages of SeekBlessings, for metrics and traces of their duration."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from blessings import Name
from cluster_agent.model import Application

# What the store knows about the caller; the pod of the token; the signature; the durable record.
Stage = Literal["entitlement", "attestation", "signing", "store"]


class IssuanceWatch(Protocol):
    """Called during each SeekBlessings call; its own time counts towards the call's time."""

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        """A context that is entered when the stage begins, and left when it ends, also with a refusal."""

    def is_for(self, application: Application) -> None:
        """Called with the application whose secret entitles the caller, as soon as it is known."""

    def issued(self, name: Name) -> None: ...


class NobodyWatches:
    """The watch when there is no program around the core."""

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        return nullcontext(stage)

    def is_for(self, application: Application) -> None:
        pass

    def issued(self, name: Name) -> None:
        pass
