"""The documents name every setting there is."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from cluster_agent.settings import Settings as ClusterAgentSettings
from pod_agent.settings import Settings as PodAgentSettings
from webhook.annotations import KNOWN
from webhook.settings import Settings as WebhookSettings

DOCUMENT = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()


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
