"""The applications' TTLs, which the webhook reads beside the admissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from certs.api_server import BoundedApiClient
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError, CallRefused, CallUnanswered, UnusableAnswer
from webhook.application_ttls import MOST_PAGES, PAGE, UNKNOWN, ApplicationTtls, read
from webhook.kubelets import Kubelets
from webhook.reconciler.worker import AgentNotReady
from webhook.volume_support import VolumeSupport


def page(*names: str, default: int = 3600, ttl: int = 600, following: str | None = None) -> dict[str, Any]:
    registered = [{"namespace": "shop", "serviceAccount": one, "ttlSeconds": ttl} for one in names]
    rule = {"defaultTtlSeconds": default, "shortestTtlSeconds": 3540}
    return {**rule, "registered": registered, "following": following}


class Agent:
    """Answers the pages one after the other, the last again and again; or fails."""

    def __init__(self, *answers: dict[str, Any] | CallError) -> None:
        self.answers = list(answers)
        self.paths: list[str] = []

    def call(self, _method: str, path: str) -> dict[str, Any]:
        self.paths.append(path)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CallError):
            raise answer
        return answer

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_the_pages_are_one_list() -> None:
    agent = Agent(page("a", "b", following="shop/b"), page("c"))
    assert read(agent.call) == ApplicationTtls(3600, 3540, {"shop/a": 600, "shop/b": 600, "shop/c": 600})
    assert agent.paths == ["/v1/volume-ttls?limit=1000", "/v1/volume-ttls?limit=1000&after=shop%2Fb"]


def test_of_a_cluster_agent_that_does_not_know_the_call_nothing_is_known_and_nothing_hindered() -> None:
    found = read(Agent(CallRefused("NotServed", "GET /v1/volume-ttls: Not Found")).call)
    assert found == UNKNOWN
    assert found.objection("shop", "web") is None
    with pytest.raises(CallRefused):
        read(Agent(CallRefused("NotAnAdministrator", "no")).call)


def test_what_is_kept_is_bounded_and_an_application_that_is_left_out_is_refused_nothing() -> None:
    agent = Agent(page("a", following="shop/a"))
    found = read(agent.call)
    assert len(agent.paths) == MOST_PAGES
    assert (found.are_all, found.objection("shop", "left-out")) == (False, None)
    assert found.objection("shop", "a") is not None
    # Here those that are left out would be the ones that can have a volume.
    assert read(Agent(page("a", default=600, ttl=3600, following="shop/a")).call) == UNKNOWN


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**page(), "defaultTtlSeconds": "long"},
        {**page(), "registered": [{}]},
        {**page(), "registered": 7},
        {**page(), "defaultTtlSeconds": float("inf")},
        page(*(f"a-{number}" for number in range(PAGE + 1))),
    ],
)
def test_an_answer_of_another_form_is_unusable(answer: dict[str, Any]) -> None:
    with pytest.raises(UnusableAnswer):
        read(Agent(answer).call)


def test_pages_of_cluster_agents_with_different_settings_are_not_mixed() -> None:
    agent = Agent(page("a", following="shop/a"), page("b", default=600))
    with pytest.raises(UnusableAnswer, match="different settings"):
        read(agent.call)


def connecting(agent: Agent) -> Callable[[], ClusterAgentClient]:
    return lambda: cast(ClusterAgentClient, agent)


async def test_what_was_read_last_holds_while_the_cluster_agent_is_away() -> None:
    kubelets = Kubelets(VolumeSupport(None))
    agent = Agent(page("web"), CallUnanswered("Unreachable", "away"))
    task = kubelets.ttls_task(connecting(agent))
    with capture_logs() as lines:
        await task.run()
        assert kubelets.support == VolumeSupport(None, ttls=ApplicationTtls(3600, 3540, {"shop/web": 600}))
        with pytest.raises(task.expected):
            await task.run()
    assert kubelets.support.ttls.objection("shop", "web") is not None
    assert [one["registered"] for one in lines] == [1]


async def test_a_look_at_the_kubelets_leaves_what_is_known_of_applications() -> None:
    class Api:
        def json(self, _method: str, _path: str, **_: object) -> dict[str, Any]:
            return {
                "resources": [],
                "metadata": {},
                "columnDefinitions": [{"name": "Name"}, {"name": "Version"}],
                "rows": [],
            }

    ttls = ApplicationTtls(3600, 3540, {"shop/web": 600})
    kubelets = Kubelets(VolumeSupport(None, ttls=ttls))
    await kubelets.task(cast(BoundedApiClient, Api())).run()
    assert kubelets.support.impossible is not None
    assert kubelets.support.ttls == ttls


async def test_before_there_is_an_answer_volumes_are_as_the_kubelets_decide() -> None:
    kubelets = Kubelets(VolumeSupport(None))

    def connect() -> ClusterAgentClient:
        raise AgentNotReady("no certificates yet")

    task = kubelets.ttls_task(connect)
    with pytest.raises(task.expected):
        await task.run()
    assert kubelets.support == VolumeSupport(None)
