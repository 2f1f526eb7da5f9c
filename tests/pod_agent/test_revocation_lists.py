"""Which revocation lists a pod agent holds, and whose."""

from __future__ import annotations

import pytest

from pod_agent.errors import Unreachable, Untrustworthy
from pod_agent.revocation_lists import (
    MOST_APPLICATIONS,
    MOST_NAME_BYTES,
    ApplicationLists,
    HeldLists,
    Index,
)
from tests.chains import realm
from tests.pod_agent.published_lists import APPLICATION, OTHER, Source, described, identity, signed


async def held(source: Source, application: str = APPLICATION) -> tuple[HeldLists, ApplicationLists | None]:
    lists = HeldLists(source)
    return lists, await lists.of(identity(), application)


async def test_a_list_is_fetched_when_it_is_asked_for_and_again_when_it_changed() -> None:
    source = Source()
    source.publish(4, signed(4))
    lists, first = await held(source)
    assert first is not None
    assert await lists.of(identity(), APPLICATION) == first
    assert len(source.fetched) == 1
    newer = source.publish(6, signed(6))
    lists.take(Index(6, (newer,)), lists.applications)
    version = await lists.version_of(identity(), APPLICATION)
    assert len(source.fetched) == 1, "only what is asked for is fetched"
    second = await lists.of(identity(), APPLICATION)
    assert second is not None
    assert second.version == version != first.version
    assert len(source.fetched) == 2


async def test_nothing_is_un_revoked_by_a_cluster_agent_that_is_behind() -> None:
    source = Source()
    source.publish(6, signed(6))
    lists, newest = await held(source)
    lists.take(Index(4, (described(4),)), [APPLICATION])
    assert await lists.of(identity(), APPLICATION) == newest
    assert lists.version == 4, "it asks again"
    lists.take(Index(9, (described(9),)), [APPLICATION])
    with pytest.raises(Unreachable, match="older than announced"):
        await lists.of(identity(), APPLICATION)


async def test_without_the_cluster_agent_the_lists_at_hand_are_served() -> None:
    source = Source()
    source.publish(4, signed(4))
    lists, first = await held(source)
    source.away = True
    assert await lists.of(identity(), APPLICATION) == first
    with pytest.raises(Unreachable):
        await lists.of(identity(), OTHER)


async def test_an_application_without_a_list_has_none_and_gets_the_first_by_the_watch() -> None:
    source = Source()
    lists, nothing = await held(source)
    assert nothing is None
    lists.take(Index(4, (source.publish(4, signed(4)),)), [APPLICATION])
    assert await lists.of(identity(), APPLICATION) is not None


async def test_a_list_of_another_issuer_is_not_handed_on() -> None:
    source = Source()
    source.publish(4, signed(4), OTHER)
    with pytest.raises(Untrustworthy, match="another issuer's"):
        await held(source, OTHER)


async def test_attack_asking_about_ever_more_applications_forgets_others_and_never_the_own() -> None:
    source = Source()
    source.publish(4, signed(4))
    lists = HeldLists(source)
    lists.set_own(APPLICATION)
    for number in range(3 * MOST_APPLICATIONS):
        assert await lists.of(identity(), f"acme:{number}") is None
    assert len(lists.applications) == MOST_APPLICATIONS
    assert APPLICATION in lists.applications
    for number in range(MOST_APPLICATIONS):
        await lists.of(identity(), f"acme:{number}:{'x' * 250}:{'y' * 250}:{'z' * 250}:{'a' * 250}")
    assert sum(map(len, lists.applications)) <= MOST_NAME_BYTES


async def test_the_lists_kept_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pod_agent.revocation_lists.MOST_KEPT_BYTES", 2000)
    source = Source()
    authorities = [realm(application=f"prod:shop:app-{number}").application for number in range(5)]
    lists = HeldLists(source)
    for one in authorities:
        source.publish(4, signed(4, *range(1, 21), of=one), str(one.name))
        await lists.of(identity(), str(one.name))
    assert sum(len(one.der) for one in lists._kept.values()) <= 2000
    assert (str(authorities[-1].name), "ab:cd") in lists._kept
