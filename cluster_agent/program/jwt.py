"""JWT-SVIDs as the settings choose them: the keeper of their keys, and OIDC discovery; and federation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cluster_agent.federation.federation import Federation
from cluster_agent.jwt.discovery import Discovery
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from cluster_agent.program.steady_clock import SteadyClock
from cluster_agent.program.tasks import essential, every, led
from cluster_agent.settings import Settings
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store import Store
from service.supervisor import Task


def jwt_key_keeper(
    settings: Settings, room: SigningRoom, store: Store, now: Callable[[], datetime]
) -> JwtKeyKeeper:
    roots = settings.root_schedule
    schedule = settings.jwt_schedule(roots.longest_ttl, roots.margin)
    return JwtKeyKeeper(store.jwt_keys, room.issuing, schedule, now)


def discovery(settings: Settings, keeper: JwtKeyKeeper) -> Discovery | None:
    """None unless it is asked for. Raises DataDirectoryError."""
    if not settings.oidc_issuer:
        return None
    return Discovery(settings.oidc_issuer, keeper, settings.oidc_certificate_directory)


def jwt_tasks(
    settings: Settings,
    store: Store,
    keeper: JwtKeyKeeper,
    federation: Federation,
    public: Discovery | None,
    clock: SteadyClock,
) -> list[Task]:
    """Follows the federated bundles and the JWT keys in every replica of the agent; takes the steps of these
    in the one that leads, unless its clock has just jumped; and reads the certificate of OIDC discovery again
    when its files changed."""

    async def keep() -> None:
        await keeper.look()
        if clock.is_steady():
            await led(store, keeper.lead)()

    async def read() -> None:
        if public is not None:
            public.refresh()

    follow = every(10, "federation", federation.look, "federated bundles not read")
    keeping = essential(settings.root_margin_seconds / 12, "jwt-keys", keep, "JWT keys not kept")
    reading = every(10, "oidc-certificate", read, "certificate of OIDC discovery not read")
    return [keeping, follow] if settings.oidc_certificate_directory is None else [keeping, follow, reading]
