"""Renewal of the control plane's certificates: makes what is missing, broken or due, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blessings import BlessingsError, Roots, VerificationError, verify_blessing
from certs.issue import CLUSTER_AGENT, NAMESPACE, WEBHOOK, ControlPlaneServer, Material, serving_material
from certs.roots import ControlPlaneRoots
from certs.schedule import is_due
from certs.store import Store, VersionConflict

ROOT_SECRET = "vanadium-control-plane-ca"  # noqa: S105 - the name of a Secret
_TRIES = 5


@dataclass(frozen=True)
class ControlPlaneCertificates:
    """The certificates in force: the two serving certificates, and the roots that clients must trust."""

    webhook: Material
    cluster_agent: Material
    roots: Roots


def ensure(store: Store, *, now: datetime, namespace: str = NAMESPACE) -> ControlPlaneCertificates:
    """Reads the stored certificates, renews those that are due, and returns those in force.

    Several processes may call this at once: the one that loses a race reads what the winner wrote. Raises
    VersionConflict after five lost races. Raises BlessingsError when the root's Secret is unusable.
    An administrator must look at that: a new root over it would cut off every client that trusts the first.
    """
    for _ in range(_TRIES - 1):
        try:
            return _ensure_once(store, now, namespace)
        except VersionConflict:
            continue
    return _ensure_once(store, now, namespace)


def _ensure_once(store: Store, now: datetime, namespace: str) -> ControlPlaneCertificates:
    succession = _root(store, now)
    return ControlPlaneCertificates(
        webhook=_serving(store, WEBHOOK, succession, now, namespace),
        cluster_agent=_serving(store, CLUSTER_AGENT, succession, now, namespace),
        roots=succession.roots,
    )


def _root(store: Store, now: datetime) -> ControlPlaneRoots:
    stored = store.read(ROOT_SECRET)
    if stored is None:
        succession = ControlPlaneRoots.begin(now)
        store.write(ROOT_SECRET, succession.files(), None)
        return succession
    try:
        succession = ControlPlaneRoots.from_files(stored.files)
    except KeyError as error:
        raise BlessingsError(
            f"Secret {ROOT_SECRET} lacks {error}; restore it, or delete it to start with a new root"
        ) from error
    except BlessingsError as error:
        raise BlessingsError(
            f"Secret {ROOT_SECRET} has no root that can be used ({error}); restore it, or delete it to start "
            "with a new root"
        ) from error
    advanced = succession.advance(now)
    if advanced != succession:
        store.write(ROOT_SECRET, advanced.files(), stored)
    return advanced


def _serving(
    store: Store, server: ControlPlaneServer, succession: ControlPlaneRoots, now: datetime, namespace: str
) -> Material:
    stored = store.read(server.secret)
    if stored is not None:
        try:
            material = Material.from_files(stored.files)
        except (BlessingsError, KeyError):
            material = None
        if material is not None and _is_good(material, server, succession, now):
            if material.roots == succession.roots:
                return material
            material = Material(material.principal, material.blessing, succession.roots)
            store.write(server.secret, material.files(), stored)
            return material
    material = serving_material(succession.signing, server, succession.roots, now, namespace)
    store.write(server.secret, material.files(), stored)
    return material


def _is_good(
    material: Material, server: ControlPlaneServer, succession: ControlPlaneRoots, now: datetime
) -> bool:
    leaf = material.blessing.leaf
    if is_due(leaf.not_valid_before_utc, leaf.not_valid_after_utc, now):
        return False
    try:
        return verify_blessing(material.blessing, succession.roots, now=now) == server.name
    except VerificationError:
        return False
