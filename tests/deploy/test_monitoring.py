"""The alerts of deploy/monitoring ask for what the programs show: a misspelt metric would never alert. Each
has its section in the runbooks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from webhook.reasons import AdmissionReason

RULES = Path("deploy/monitoring/prometheus-rules.yaml")
RUNBOOKS = Path("docs/runbooks.md")
# Served, or left as it is on purpose.
NOT_ALERTED = frozenset(
    {
        AdmissionReason.INJECTED,
        AdmissionReason.SOCKET_ADDED,
        AdmissionReason.ALREADY_INJECTED,
        AdmissionReason.VOLUME_INJECTED,
        AdmissionReason.VOLUME_MOUNTED,
        AdmissionReason.NOT_A_CREATE,
        AdmissionReason.NOT_A_POD,
        AdmissionReason.SUBRESOURCE,
        AdmissionReason.EXCLUDED_NAMESPACE,
        AdmissionReason.MIRROR_POD,
        AdmissionReason.DISABLED_BY_LABEL,
        AdmissionReason.WINDOWS_POD,
        AdmissionReason.HOST_NETWORK,
    }
)
SELECTOR = re.compile(r"\b(vanadium_\w+)(?:\{([^}]*)\})?")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    assert (document["apiVersion"], document["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_series_of_an_alert_is_one_that_the_program_shows(
    rule: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    selectors = SELECTOR.findall(rule["expr"])
    assert selectors
    for name, matchers in selectors:
        assert name in shown, name
        asked = set(re.findall(r"(\w+)\s*=", matchers))
        # What has no samples yet has no labels to compare with: the fleet is counted once a minute.
        assert asked <= shown[name] or not shown[name], (name, asked, shown[name])


@pytest.mark.parametrize("program", ["cluster_agent", "webhook", "pod_agent"])
def test_a_task_that_fails_or_hangs_alerts_in_every_program(program: str, shown: dict[str, set[str]]) -> None:
    asked = {name for rule in rules() for name, _ in SELECTOR.findall(rule["expr"])}
    for series in (f"vanadium_{program}_task_failures_total", f"vanadium_{program}_task_overdue_seconds"):
        assert series in asked
        assert shown[series] == {"task"}


def test_it_alerts_when_nobody_scrapes_the_agents_or_the_webhook(scraped: str, others: str) -> None:
    """No other alert would: a condition on series that are not there is never met. What it misses has a
    sample from the start, on every replica, without anything to happen."""
    absent = [re.findall(r"^absent\((\w+)\)$", rule["expr"].strip()) for rule in rules()]
    names = {name for found in absent for name in found}
    families = [*text_string_to_metric_families(scraped), *text_string_to_metric_families(others)]
    always = {one.name for family in families for one in family.samples if not one.labels}
    assert names == {"vanadium_cluster_agent_connections", "vanadium_webhook_admission_seconds_count"}
    assert names <= always


def test_it_alerts_on_what_waits_for_an_identity_without_a_pod_agent_of_its_own() -> None:
    """No series of a pod agent tells of it: a Pod that stays bare has none, nor has one with a volume."""
    asked = {name for rule in rules() for name, _ in SELECTOR.findall(rule["expr"])}
    assert {"vanadium_webhook_healer_pods", "vanadium_cluster_agent_pod_requests_oldest_seconds"} <= asked


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_grave_it_is_and_what_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Vanadium")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    annotations = rule["annotations"]
    assert annotations["summary"]
    assert annotations["runbook_url"] == f"{RUNBOOKS}#{rule['alert'].lower()}"


def test_every_alert_has_its_section_of_the_runbooks_and_no_other_has_one() -> None:
    """Each with the severity, and what it means, how to confirm it, and what to do."""
    text = RUNBOOKS.read_text()
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    sections = dict(re.findall(r"^### (Vanadium\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == {rule["alert"] for rule in rules()}
    for rule in rules():
        section = sections[rule["alert"]]
        parts = re.findall(r"^\*([A-Z][\w ]+)\.\*", section, re.MULTILINE)
        assert parts == ["Means", "Confirm", "Do"], rule["alert"]
        assert section.strip().startswith(f"{rule['labels']['severity']}."), rule["alert"]
        assert "\n    " in section, f"{rule['alert']} has no command"


def test_the_runbooks_ask_for_series_that_the_programs_show(shown: dict[str, set[str]]) -> None:
    for name, matchers in SELECTOR.findall(RUNBOOKS.read_text()):
        assert name in shown, name
        asked = set(re.findall(r"(\w+)\s*=", matchers))
        assert asked <= shown[name] or not shown[name], (name, asked)


def test_the_runbooks_look_for_lines_that_the_programs_log() -> None:
    programs = {"cluster-agent": "cluster_agent", "webhook": "webhook", "agents": "pod_agent"}
    text = RUNBOOKS.read_text()
    asked = [*re.findall(r"logs (cluster-agent|webhook) '([^'\"]+)'", text)]
    asked += [("agents", line) for line in re.findall(r"agents NAMESPACE \| grep -F '([^'\"]+)'", text)]
    assert len(asked) > 15
    for program, line in asked:
        sources = [*Path(programs[program]).rglob("*.py"), *Path("service").rglob("*.py")]
        assert any(line in path.read_text() for path in sources), (program, line)


@pytest.mark.parametrize("reason", AdmissionReason)
def test_every_reason_of_an_admission_is_served_left_alone_or_alerted_on(reason: AdmissionReason) -> None:
    alerted = [
        re.fullmatch(pattern, reason)
        for rule in rules()
        for pattern in re.findall(r'admissions_total\{[^}]*reason=~"([^"]*)"', rule["expr"])
    ]
    assert sum(map(bool, alerted)) == (reason not in NOT_ALERTED)


def test_promtool_accepts_the_rules(promtool: Path, tmp_path: Path) -> None:
    groups = yaml.safe_load(RULES.read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    checked = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout
