"""What a pod agent tells of its way to the first identity."""

from __future__ import annotations

from pod_agent.beginning import Beginning
from service.beginning import STEPS, read


def test_the_cluster_agent_is_told_of_all_steps_until_it_has_answered() -> None:
    beginning = Beginning(0.2)
    for step in STEPS[:-1]:
        beginning.done(step)
        assert beginning.untold() is None, "not yet served"
    beginning.done(STEPS[-1])
    untold = beginning.untold()
    assert untold is not None
    times = read(untold)
    assert times is not None
    assert times["started"] >= 200, "since the start of the process"
    assert beginning.untold() == untold, "as long as no answer came"
    beginning.told()
    assert beginning.untold() is None
