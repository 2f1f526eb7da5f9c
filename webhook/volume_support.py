"""Whether a cluster's kubelets can keep identities in a volume, and run native sidecars. Pure: no API calls.

Kubernetes 1.37 has what is needed by default. In 1.35 and 1.36 it was behind feature gates, and with another
version of the API, so those count as unable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from webhook.application_ttls import UNKNOWN, ApplicationTtls
from webhook.layout import FEDERATED_BUNDLE, SIGNER, TRUST_BUNDLE

GROUP_VERSION: Final = "certificates.k8s.io/v1"
RESOURCES: Final = frozenset({"podcertificaterequests", "clustertrustbundles"})
FIRST_VERSION: Final = (1, 37)
# Older kubelets let no Pod with a native sidecar start.
# https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
FIRST_WITH_NATIVE_SIDECARS: Final = (1, 29)
# As many as a cluster agent accepts.
MOST_FEDERATED: Final = 32
_VERSION = re.compile(r"v(\d{1,4})\.(\d{1,4})[.+-]")
_LONGEST_SHOWN = 63


class Kubelet(NamedTuple):
    """A node's name, and the version that its kubelet states."""

    node: str
    version: str


class VolumeSupport(NamedTuple):
    """What stands in the way of a volume; None where nothing does."""

    impossible: str | None
    """Why no Pod can have one."""
    incomplete: str | None = None
    """Why a Pod cannot have one on each node."""
    without_native_sidecars: str | None = None
    """Why a native sidecar does not run on each node."""
    federated: tuple[str, ...] = ()
    """The federated trust domains whose roots kubelets can put into files."""
    ttls: ApplicationTtls = UNKNOWN
    """What of an application stands in the way of a volume."""
    is_known: bool = True
    """False where the above is a guess, because somebody may not look."""

    @property
    def objection(self) -> str | None:
        """Why not each Pod can have one, wherever it is scheduled."""
        return self.impossible or self.incomplete


NOT_LOOKED: Final = VolumeSupport("the webhook has not been able to look at the cluster's nodes yet")
NO_CLUSTER: Final = VolumeSupport("no nodes are known here whose kubelets could keep it")


def support(served: Iterable[str], kubelets: Sequence[Kubelet], bundles: Iterable[str]) -> VolumeSupport:
    """What the cluster's state means.

    Args:
        served: the resources of `GROUP_VERSION` that the API server serves.
        kubelets: those of all nodes but Windows', where no Pod gets an identity.
        bundles: the names of our signer's ClusterTrustBundles. A cluster agent that signs for kubelets makes
            the one with the roots, and a Pod does not start without it.
    """
    names = sorted(bundles)
    federated = [one.removeprefix(FEDERATED_BUNDLE) for one in names if one.startswith(FEDERATED_BUNDLE)]
    # A version that says nothing is not older: all that are supported run native sidecars.
    known = [one for one in kubelets if _VERSION.match(one.version)]
    older = _older(known, FIRST_WITH_NATIVE_SIDECARS)
    return _volumes(served, kubelets, has_trust_bundle=TRUST_BUNDLE in names)._replace(
        without_native_sidecars=older, federated=tuple(federated[:MOST_FEDERATED])
    )


def _volumes(served: Iterable[str], kubelets: Sequence[Kubelet], *, has_trust_bundle: bool) -> VolumeSupport:
    if missing := sorted(RESOURCES.difference(served)):
        return VolumeSupport(f"the API server does not serve {' and '.join(missing)} of {GROUP_VERSION}")
    if not has_trust_bundle:
        return VolumeSupport(
            f"there is no ClusterTrustBundle {TRUST_BUNDLE}: the cluster agent does not sign for {SIGNER}"
        )
    why = _older(kubelets, FIRST_VERSION)
    is_anywhere = any(is_able(one.version, FIRST_VERSION) for one in kubelets)
    return VolumeSupport(None, why) if is_anywhere or not kubelets else VolumeSupport(why)


def _older(kubelets: Sequence[Kubelet], needed: tuple[int, int]) -> str | None:
    """The kubelets that are older than `needed`, in a line; None when there are none."""
    older = sorted(one for one in kubelets if not is_able(one.version, needed))
    if not older:
        return None
    node, version = [_shown(text) for text in older[0]]
    return (
        f"{len(older)} of {len(kubelets)} nodes have a kubelet older than {'.'.join(map(str, needed))}, "
        f"for example {node} ({version})"
    )


def _shown(text: str) -> str:
    # A kubelet writes the version itself, and it reaches the terminals of the authors of Pods.
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST_SHOWN])


def is_able(version: str, needed: tuple[int, int]) -> bool:
    """Whether a kubelet's version states that it is `needed` or newer."""
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) >= needed
