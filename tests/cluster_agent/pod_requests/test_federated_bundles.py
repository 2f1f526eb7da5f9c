"""ClusterTrustBundles of federated trust domains, where the API server refuses one. The rest is tested with a
real one, in tests/endtoend/test_federated_volumes.py."""

from __future__ import annotations

from typing import Any

import pytest

from blessings import Name, Principal, TrustBundle
from cluster_agent.errors import Unavailable
from cluster_agent.federation.bundles import FederatedBundles
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.pod_requests.federated_bundles import PREFIX, FederatedBundlesKeeper
from tests.blessings.test_bundles import foreign_root


class ApiServer:
    """The bundles, and the status with which it refuses what would be written to some."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, int] = {}

    async def all(self) -> dict[str, dict[str, Any]]:
        return dict(self.kept)

    async def keep(self, wanted: dict[str, Any]) -> bool:
        name = wanted["metadata"]["name"]
        if self.kept.get(name, {}).get("spec") == wanted["spec"]:
            return False
        if name in self.refused:
            raise ApiCallError("refused", self.refused[name])
        self.kept[name] = wanted
        return True

    async def replace(self, found: dict[str, Any], wanted: dict[str, Any]) -> bool:
        return await self.keep(wanted)

    async def delete(self, name: str) -> None:
        del self.kept[name]


class Federation:
    """The state, as it was read from the store."""

    def __init__(self) -> None:
        self.state = FederatedBundles()

    async def look(self) -> None:
        pass

    def accept(self, domain: str) -> None:
        name = Name.parse(domain)
        value = TrustBundle(name, (foreign_root(Principal.create()),)).to_value()
        self.state = self.state.having(name, value)


@pytest.mark.parametrize(("status", "stays"), [(422, False), (400, False), (500, True), (409, True)])
async def test_attack_roots_that_were_replaced_are_not_kept_where_the_new_ones_are_refused(
    status: int, stays: bool
) -> None:
    server, federation = ApiServer(), Federation()
    keeper = FederatedBundlesKeeper(server, federation)  # type: ignore[arg-type]
    for domain in ("odd", "other"):
        federation.accept(domain)
    await keeper.keep()
    before = dict(server.kept)
    assert set(before) == {f"{PREFIX}odd", f"{PREFIX}other"}

    # The API server reads certificates more strictly, or is away.
    server.refused[f"{PREFIX}odd"] = status
    for domain in ("odd", "other"):
        federation.accept(domain)
    for _ in range(2):
        with pytest.raises(Unavailable, match="refused"):
            await keeper.keep()
        assert server.kept[f"{PREFIX}other"] != before[f"{PREFIX}other"]
        assert server.kept.get(f"{PREFIX}odd") == (before[f"{PREFIX}odd"] if stays else None)
