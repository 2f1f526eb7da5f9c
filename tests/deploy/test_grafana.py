"""The dashboard of deploy/monitoring asks for what the programs show, in queries that Prometheus can read."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane.control_plane import ControlPlane

DASHBOARD = Path("deploy/monitoring/grafana-dashboard.json")
SERIES = re.compile(r"\b(vanadium_\w+)(?:\{([^}]*)\})?")
# Prometheus adds these to what it scrapes.
OF_TARGETS = {"namespace", "pod", "le"}


def board() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def panels() -> list[dict[str, Any]]:
    return [one for one in board()["panels"] if one["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Each query, and how its series are called."""
    for panel in panels():
        yield from ((target["expr"], target.get("legendFormat", "")) for target in panel["targets"])


@pytest.mark.parametrize("panel", panels(), ids=lambda one: one["title"])
def test_every_series_and_label_of_a_panel_is_one_that_a_program_shows(
    panel: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    for target in panel["targets"]:
        found = SERIES.findall(target["expr"])
        assert found
        known, all_have_samples = set(OF_TARGETS), all(shown.get(name) for name, _ in found)
        for name, matchers in found:
            assert name in shown, name
            # What has no samples yet has no labels to compare with: the fleet is counted once a minute.
            has = shown[name] | OF_TARGETS
            asked = set(re.findall(r"(\w+)\s*[=!]", matchers))
            assert asked <= has or not shown[name], (name, asked)
            known |= shown[name]
        used = {
            one.strip() for some in re.findall(r"by \(([^)]*)\)", target["expr"]) for one in some.split(",")
        }
        used |= set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        assert used <= known or not all_have_samples, (target["expr"], used - known)


def test_what_the_namespace_is_chosen_from_is_shown(shown: dict[str, set[str]]) -> None:
    (chosen,) = [one for one in board()["templating"]["list"] if one["type"] == "query"]
    (name,) = re.findall(r"label_values\((\w+), namespace\)", chosen["query"]["query"])
    assert name in shown


def test_every_panel_explains_itself_and_none_covers_another() -> None:
    every = board()["panels"]
    assert len({one["id"] for one in every}) == len(every)
    for panel in panels():
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    for one, other in combinations([panel["gridPos"] for panel in every], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
        assert one["x"] + one["w"] <= 24


def test_promtool_can_read_every_query(promtool: Path, tmp_path: Path) -> None:
    expressions = [
        re.sub(r"\$__\w+", "5m", expression).replace("$namespace", ".*") for expression, _ in queries()
    ]
    recorded = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    checked = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(expressions)} rules found" in checked.stdout


def test_it_is_applied_with_the_rules_where_a_grafana_collects_it(control_plane: ControlPlane) -> None:
    made = list(yaml.safe_load_all(control_plane.kubectl("kustomize", "deploy/monitoring").stdout))
    by_kind = {one["kind"]: one for one in made}
    assert set(by_kind) == {"ConfigMap", "PrometheusRule"}
    held = by_kind["ConfigMap"]
    assert held["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(held["data"]["vanadium-cluster.json"]) == board()
    control_plane.kubectl("create", "namespace", "monitoring-dashboard")
    held["metadata"]["namespace"] = "monitoring-dashboard"
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(held))
    # Another test of this control plane looks for all that has our name.
    control_plane.kubectl("delete", "configmap", held["metadata"]["name"], "-n", "monitoring-dashboard")
