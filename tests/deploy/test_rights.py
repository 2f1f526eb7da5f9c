"""docs/rights.md states every right that the manifests of deploy/ give, and none besides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from tests.checkout import CHECKOUT

DOCUMENT = CHECKOUT / "docs" / "rights.md"
HEADER = "| where | group | resource | names | verbs | why |"
CLUSTER = "cluster"


class Right(NamedTuple):
    """One verb that a service account may use."""

    account: str
    where: str
    group: str
    resource: str
    names: tuple[str, ...]
    verb: str


def manifests() -> list[dict[str, Any]]:
    """Every object of deploy/, also those of components that are off by default."""
    files = sorted((CHECKOUT / "deploy").rglob("*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]


def granted() -> Iterator[Right]:
    objects = manifests()
    rules = {(one["kind"], one["metadata"]["name"]): one["rules"] for one in objects if "rules" in one}
    for binding in objects:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        # Those of deploy/base have their namespace from kustomize.
        place = binding["metadata"].get("namespace", "vanadium-system")
        where = CLUSTER if binding["kind"] == "ClusterRoleBinding" else place
        role = rules[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", "vanadium-system"), subject
            for rule in role:
                assert "nonResourceURLs" not in rule, rule
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        for verb in rule["verbs"]:
                            names = tuple(sorted(rule.get("resourceNames", ())))
                            yield Right(subject["name"], where, group or "core", resource, names, verb)


def documented() -> Iterator[tuple[Right, str]]:
    """Each right of the tables, and its reason."""
    for section in DOCUMENT.read_text().split("\n## ")[1:]:
        account = section.split("Service account `")[1].split("`")[0]
        _, table = section.split(f"{HEADER}\n|---|---|---|---|---|---|\n")
        for line in table.strip().split("\n"):
            where, group, resource, names, verbs, why = (cell.strip() for cell in line.strip("|").split("|"))
            for verb in verbs.split(", "):
                sorted_names = tuple(sorted(name for name in names.split(", ") if name))
                yield Right(account, where, group, resource, sorted_names, verb), why


def test_the_table_has_each_right_that_the_manifests_give_and_no_other() -> None:
    in_manifests, in_table = list(granted()), [right for right, _ in documented()]
    assert sorted(set(in_manifests) - set(in_table)) == [], "docs/rights.md lacks these"
    assert sorted(set(in_table) - set(in_manifests)) == [], "no manifest gives these"
    assert len(in_table) == len(set(in_table))


def test_each_right_has_a_reason() -> None:
    assert [right for right, why in documented() if len(why) < 20] == []


def test_no_right_is_for_everything() -> None:
    assert [right for right in granted() if "*" in (right.group, right.resource, right.verb)] == []


def test_no_secret_can_be_read_but_by_its_name() -> None:
    reading = {"get", "list", "watch"}
    assert [
        right
        for right in granted()
        if right.resource == "secrets" and right.verb in reading and not right.names
    ] == []


def test_all_that_is_written_to_admission_is_our_own_configuration() -> None:
    rights = [right for right in granted() if right.group == "admissionregistration.k8s.io"]
    written = [right for right in rights if right.verb not in ("get", "list", "watch")]
    assert {(right.account, right.names) for right in written} == {("webhook", ("vanadium-webhook",))}


def test_each_role_is_bound() -> None:
    roles = {(one["kind"], one["metadata"]["name"]) for one in manifests() if one["kind"].endswith("Role")}
    bound = {
        (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in manifests()
        if one["kind"].endswith("RoleBinding")
    }
    assert bound == roles
