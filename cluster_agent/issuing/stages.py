"""The stages of SeekBlessings, for whoever watches how long they take and for whom they are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from blessings import Name
from cluster_agent.model import Application

# What the store knows of the caller; whose token it is; the signature; the durable record.
Stage = Literal["entitlement", "attestation", "signing", "store"]


class IssuanceWatch(Protocol):
    """Told on the way of each call for a blessing; what it does counts towards the call's time."""

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        """Entered when the stage begins, left when it ends, well or with a refusal."""

    def is_for(self, application: Application) -> None:
        """The application whose secret entitles the caller, as soon as it is known."""

    def issued(self, name: Name) -> None: ...


class NobodyWatches:
    """The watch of a core without a program around it."""

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        return nullcontext(stage)

    def is_for(self, application: Application) -> None:
        pass

    def issued(self, name: Name) -> None:
        pass
