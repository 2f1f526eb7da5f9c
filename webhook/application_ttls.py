"""How long certificates of applications live, as far as that decides whether a kubelet can keep them. Pure.

The cluster agent names the applications that are registered with too short a TTL; where its own default is
too short, all that are registered with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from service.errors import CallRefused, UnusableAnswer

ROUTE: Final = "/v1/volume-ttls"
PAGE: Final = 1000
# The webhook keeps at most so many applications: some three megabytes.
MOST_PAGES: Final = 10
# Kubernetes has no longer names; what a review states was not checked yet.
_LONGEST_NAME = 253
_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class ApplicationTtls(NamedTuple):
    """Seconds. Without a `default`, nothing is known, and nothing stands in the way of a volume."""

    default: int | None = None
    """Of an application without a TTL of its own."""
    shortest: int = 0
    """What the cluster agent signs for a kubelet."""
    registered: Mapping[str, int] = _NONE
    """By namespace/service account: those below `shortest`; all where `default` is below it."""
    are_all: bool = True

    def objection(self, namespace: str, service_account: str) -> str | None:
        """Why no kubelet gets a certificate of that application; None where nothing is known against it."""
        if self.default is None:
            return None
        application = f"{namespace[:_LONGEST_NAME]}/{service_account[:_LONGEST_NAME]}"
        own = self.registered.get(application)
        ttl = self.default if own is None else own
        if ttl >= self.shortest:
            return None
        whose = "the cluster agent's TTL" if own is None else "the TTL it is registered with"
        return (
            f"certificates of the application {application} live {ttl} s, {whose}, and Kubernetes accepts "
            "none for less than 3600 s (vkube register --ttl changes that)"
        )


UNKNOWN: Final = ApplicationTtls()


def read(call: Callable[[str, str], Mapping[str, Any]]) -> ApplicationTtls:
    """What the cluster agent knows, by `call` with a method and a path; UNKNOWN where an older one does not
    answer that. Raises what `call` raises, and UnusableAnswer."""
    try:
        return _read(call)
    except CallRefused as refusal:
        if refusal.reason != "NotServed":
            raise
        return UNKNOWN
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise UnusableAnswer("AnswerMalformed", f"GET {ROUTE}: {error!r}"[:200]) from error


def _read(call: Callable[[str, str], Mapping[str, Any]]) -> ApplicationTtls:
    registered: dict[str, int] = {}
    rule: tuple[int, int] | None = None
    after: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = call("GET", f"{ROUTE}?{urlencode({'limit': PAGE, **after})}")
        stated = int(page["defaultTtlSeconds"]), int(page["shortestTtlSeconds"])
        if rule is not None and rule != stated:  # the pages would not be of one list
            raise UnusableAnswer(
                "AnswersDiffer", f"GET {ROUTE}: cluster agents with different settings answer"
            )
        rule = stated
        if len(page["registered"]) > PAGE:
            raise ValueError(f"more than {PAGE} applications in a page")
        for one in page["registered"]:
            registered[f"{one['namespace']}/{one['serviceAccount']}"] = int(one["ttlSeconds"])
        if page.get("following") is None:
            return ApplicationTtls(*rule, registered)
        after = {"after": str(page["following"])}
    default, shortest = rule or (0, 0)
    # An application that is left out counts as one without a TTL of its own: that must refuse nothing.
    return ApplicationTtls(default, shortest, registered, are_all=False) if default >= shortest else UNKNOWN
