"""Who is in the list of those who keep secrets, and in that of the administrators, does not administer; the
log says whom that may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from blessings import AccessList, Pattern
from cluster_agent.callers import warn_of_overlap
from tests.cluster_agent.claims.test_claim import Claimable
from tests.cluster_agents import running_cluster_agent


def list_of(*patterns: str) -> AccessList:
    return AccessList(tuple(Pattern.parse(one) for one in patterns))


@pytest.mark.parametrize(
    ("administrators", "keepers", "overlap"),
    [
        ("acme:ops", "acme:ops", True),
        ("acme:ops:chief", "acme:ops", True),
        ("acme:ops", "acme:ops:keeper", True),
        ("acme:ops", "...", True),
        ("...", "acme:ops:$", True),
        ("acme:ops:$", "acme", True),
        ("acme:ops:$", "acme:$", False),
        ("acme:ops", "acme:$", False),
        ("acme:ops", "acme:opsy", False),
        ("acme:ops", "acme:keepers", False),
    ],
)
def test_a_pattern_that_may_match_a_name_of_the_other_list_is_warned_of(
    administrators: str, keepers: str, overlap: bool
) -> None:
    with capture_logs() as logged:
        warn_of_overlap(list_of(administrators), list_of(keepers))
    warned = [(one["log_level"], one["administrators"], one["secretKeepers"]) for one in logged]
    assert warned == ([("warning", administrators, keepers)] if overlap else [])


async def test_a_claim_whose_administrators_are_in_the_keepers_list_is_warned_of(
    tmp_path: Path, store_url: str
) -> None:
    unclaimed = Claimable(tmp_path, store_url)
    try:
        await unclaimed.claiming.start()
        unclaimed.administrators.secret_keepers = list_of("acme:ops")
        with capture_logs() as logged:
            await unclaimed.claim(administrators={"in": ["acme:ops:chief", "acme:zeta"]})
        warned = [one for one in logged if "secretKeepers" in one]
        assert [(one["administrators"], one["secretKeepers"]) for one in warned] == [
            ("acme:ops:chief", "acme:ops")
        ]
    finally:
        await unclaimed.store.close()


def test_a_keepers_list_that_is_too_wide_is_warned_of_at_the_start(tmp_path: Path) -> None:
    administrators = "vanadium-control-plane:administrator,vanadium-control-plane:chief"
    keepers = "vanadium-control-plane"
    with running_cluster_agent(tmp_path, administrators=administrators, secret_keepers=keepers) as agent:
        for name in administrators.split(","):
            assert f'"administrators": "{name}", "secretKeepers": "vanadium-control-plane"' in agent.log()
