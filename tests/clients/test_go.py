"""The unmodified go-spiffe, with X.509-SVIDs and JWT-SVIDs of our pod agent."""

from __future__ import annotations

from pathlib import Path

from tests.clients.go_client import running_go_client
from tests.cluster_agents import RunningClusterAgent
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory

ROTATIONS = 3
ID = "spiffe://acme/prod/shop/web/web-1"


def test_go_has_each_certificate_a_jwt_svid_and_unimplemented_for_what_is_not_served(
    go_client: Path, renewing_web: RunningPodAgent
) -> None:
    with running_go_client(go_client, renewing_web, ROTATIONS) as written:
        *watched, jwt, unknown = written
    updates = [one for one in watched if one["kind"] == "x509"]
    # A machine too slow to renew in time ends the stream.
    assert updates == watched or "identity expired" in renewing_web.log()
    assert len({one["serial"] for one in updates}) == len(updates) == ROTATIONS + 1
    assert {(one["id"], one["roots"], one["peer"]) for one in updates} == {(ID, 1, ID)}
    assert jwt == {
        "kind": "jwt",
        "id": ID,
        "parsed": ID,
        "validated": ID,
        "audience": ["db"],
        "otherAudience": "InvalidArgument",
    }
    assert unknown == {
        "kind": "unknown",
        "witSvid": "Unimplemented",
        "witBundles": "Unimplemented",
        "never": "Unimplemented",
    }


def test_when_the_pod_agent_is_killed_go_has_the_identity_of_the_next(
    go_client: Path, cluster_agent: RunningClusterAgent
) -> None:
    with short_directory() as directory:
        mount(directory, cluster_agent)
        with running_pod_agent(directory, cluster_agent.url) as agent:
            agent.wait_until_blessed()
            with running_go_client(go_client, agent, rotations=1) as written:
                first = next(written)
                agent.process.kill()
                agent.process.wait()
                with running_pod_agent(directory, cluster_agent.url) as restarted:
                    restarted.wait_until_blessed()
                    second, *more = [one for one in written if one["kind"] != "error"]
    assert first["serial"] != second["serial"]
    assert (second["id"], second["peer"]) == (ID, ID)
    assert [one["kind"] for one in more] == ["jwt", "unknown"]
