"""What a namespace's Secret lacks, as a function of values."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from tests.chains import NOW
from webhook.reconciler.agent_secrets import KnownSecret, KnownSecrets
from webhook.reconciler.entries import MOST_BYTES_WITH_NEW_ENTRIES
from webhook.reconciler.plan import GRACE, Plan
from webhook.reconciler.plan import plan as planned

LIFE = timedelta(days=90)


def known(identifier: str, account: str = "web", age: timedelta = timedelta(days=1)) -> KnownSecret:
    return KnownSecret(identifier, "shop", account, NOW - age, NOW - age + LIFE)


def document(identifier: str, roots: str = "roots") -> str:
    return json.dumps({"version": 1, "id": identifier, "privateKey": "…", "clusterAgentRoots": roots})


def plan(
    accounts: set[str] | None, stored: dict[str, str] | None, secrets: list[KnownSecret], now: datetime
) -> Plan:
    data = None if stored is None else {"_roots.pem": "roots", **stored}
    return planned(accounts, data, KnownSecrets(secrets), "roots", now)


def test_every_service_account_of_a_new_namespace_gets_a_credential() -> None:
    assert plan({"web", "default"}, None, [], NOW) == Plan(issue=("default", "web"))


def test_nothing_is_done_when_all_is_there() -> None:
    assert plan({"web"}, {"web": document("a")}, [known("a")], NOW) == Plan()


def test_a_credential_in_the_last_third_of_its_life_is_replaced_and_the_old_one_stays_for_now() -> None:
    old = known("a", age=timedelta(days=61))
    assert plan({"web"}, {"web": document("a")}, [old], NOW) == Plan(issue=("web",))


def test_a_replaced_credential_is_forgotten_when_every_pod_has_its_successor() -> None:
    old = known("a", age=timedelta(days=61))
    just, long = known("b", age=GRACE), known("c", age=GRACE + timedelta(seconds=1))
    assert plan({"web"}, {"web": document("b")}, [old, just], NOW) == Plan()
    assert plan({"web"}, {"web": document("c")}, [old, long], NOW) == Plan(replace=("a",))


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"id": "a"}', '{"id": 7, "privateKey": "…"}'])
def test_a_damaged_entry_is_made_anew(damaged: str) -> None:
    assert plan({"web"}, {"web": damaged}, [], NOW).issue == ("web",)


def test_a_credential_that_the_cluster_agent_does_not_know_is_made_anew() -> None:
    assert plan({"web"}, {"web": document("lost")}, [], NOW).issue == ("web",)


def test_attack_an_entry_copied_under_another_service_account_is_replaced() -> None:
    todo = plan({"web", "admin"}, {"web": document("a"), "admin": document("a")}, [known("a")], NOW)
    assert todo.issue == ("admin",)


def test_a_deleted_secret_is_made_anew_and_the_old_credential_forgotten_after_the_grace() -> None:
    old = known("leaked")
    assert plan({"web"}, None, [old], NOW) == Plan(issue=("web",))
    fresh = known("b", age=GRACE + timedelta(seconds=1))
    assert plan({"web"}, {"web": document("b")}, [old, fresh], NOW).replace == ("leaked",)


def test_a_deleted_service_account_loses_its_entry_and_its_secret() -> None:
    todo = plan({"web"}, {"web": document("a"), "gone": document("b")}, [known("a"), known("b", "gone")], NOW)
    assert todo == Plan(remove=("gone",), forget=("b",))


def test_a_namespace_that_lost_its_label_loses_all() -> None:
    assert plan(None, {"web": document("a")}, [known("a")], NOW) == Plan(forget=("a",), delete=True)


def test_a_namespace_that_is_gone_has_its_secrets_forgotten() -> None:
    assert plan(None, None, [known("a")], NOW) == Plan(forget=("a",))


def test_a_namespace_that_never_was_ours_is_left_alone() -> None:
    assert plan(None, None, [], NOW) == Plan()


def test_an_entry_gets_the_roots_of_now_without_a_new_credential() -> None:
    stored = {"web": document("a", "yesterday's roots"), "gone": document("b", "yesterday's roots")}
    assert plan({"web"}, stored, [known("a"), known("b", "gone")], NOW) == Plan(
        trust=True, remove=("gone",), forget=("b",)
    )


def test_a_credential_made_by_a_clock_that_was_ahead_is_replaced_once() -> None:
    early = known("a", age=timedelta(hours=-2))
    assert plan({"web"}, {"web": document("a")}, [early], NOW).issue == ("web",)
    successor = known("b", age=timedelta(0))
    assert plan({"web"}, {"web": document("b")}, [early, successor], NOW) == Plan()
    # It is our clock that is behind: another one would seem early too, and so would each further one.
    also_early = known("b", age=timedelta(hours=-2))
    assert plan({"web"}, {"web": document("b")}, [early, also_early], NOW) == Plan()


def test_missing_credentials_come_before_those_that_are_due() -> None:
    due = known("a", age=timedelta(days=61))
    assert plan({"b", "web"}, {"web": document("a")}, [due], NOW).issue == ("b", "web")


def test_attack_ten_thousand_accounts_with_the_longest_names_get_what_fits_and_the_existing_stay() -> None:
    names = {f"{number:05}-{'n' * 247}" for number in range(10_000)}
    last = max(names)
    todo = plan(names, {last: document("a")}, [known("a", last)], NOW)
    assert last not in todo.issue + todo.excess
    assert len(todo.issue) > 500
    assert todo.issue + todo.excess == tuple(sorted(names - {last}))


def test_an_entry_that_cannot_be_used_makes_room_for_its_successor() -> None:
    full = {"web": "x" * MOST_BYTES_WITH_NEW_ENTRIES}
    assert plan({"other", "web"}, full, [], NOW) == Plan(issue=("web",), excess=("other",))


def test_leaks_are_forgotten_after_the_grace_and_without_revoking() -> None:
    current, young, old = known("a"), known("b", age=GRACE), known("c", age=GRACE + timedelta(seconds=1))
    assert plan({"web"}, {"web": document("a")}, [current, young, old], NOW) == Plan(replace=("c",))


def test_of_an_account_that_waits_for_its_credential_the_oldest_stays_because_pods_may_have_it() -> None:
    secrets = [known("b", age=timedelta(hours=2)), known("a", age=timedelta(hours=3))]
    assert plan({"web"}, None, secrets, NOW) == Plan(issue=("web",), replace=("b",))


def test_an_account_for_which_there_is_no_room_leaves_nothing_behind() -> None:
    full = {"web": document("a") + " " * MOST_BYTES_WITH_NEW_ENTRIES}
    todo = plan({"other", "web"}, full, [known("a"), known("b", "other")], NOW)
    assert todo == Plan(replace=("b",), excess=("other",))


def test_what_a_cut_list_does_not_contain_counts_as_good() -> None:
    leaks = [known("b"), known("c"), known("d", "gone")]
    stored = {"web": document("a"), "_roots.pem": "roots"}
    todo = planned({"web", "new"}, stored, KnownSecrets(leaks, complete=False), "roots", NOW)
    assert todo == Plan(issue=("new",), forget=("d",))
