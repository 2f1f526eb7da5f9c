"""The documents name every setting there is, and their links and paths lead somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cluster_agent.settings import Settings as ClusterAgentSettings
from pod_agent.settings import Settings as PodAgentSettings
from tests.checkout import CHECKOUT
from webhook.annotations import KNOWN
from webhook.settings import Settings as WebhookSettings

DOCUMENT = (CHECKOUT / "docs" / "settings.md").read_text()
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("## Webhook", list(WebhookSettings.model_fields)),
        ("## Cluster agent", list(ClusterAgentSettings.model_fields)),
        ("## Pod agent", [field.name for field in fields(PodAgentSettings)]),
    ],
)
def test_every_flag_is_documented_under_its_program(program: str, names: list[str]) -> None:
    section = DOCUMENT.split(program)[1].split("\n## ")[0]
    assert [name for name in names if f"`--{name.replace('_', '-')}`" not in section] == []


def test_every_annotation_is_documented() -> None:
    assert [annotation for annotation in KNOWN if f"`{annotation}`" not in DOCUMENT] == []


def anchors(document: Path) -> set[str]:
    """What may stand after `#` in a link to it, as forges make it of each heading."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_heading_that_are_there(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if path.startswith("https://"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_file_and_folder_of_ours_that_is_named_is_there(document: Path) -> None:
    ours = "|".join(path.name for path in CHECKOUT.iterdir() if path.is_dir() and path.name[0] != ".")
    named = re.findall(rf"`((?:{ours})/[\w./-]*)`", document.read_text())
    assert [name for name in named if not (CHECKOUT / name).exists()] == []
