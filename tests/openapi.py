"""Writes docs/cluster-agent-openapi.json: what the program itself says of its routes.

python -m tests.openapi
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.cluster_agents import RunningClusterAgent, running_cluster_agent

PUBLISHED = Path(__file__).parent.parent / "docs" / "cluster-agent-openapi.json"


def served_by(agent: RunningClusterAgent) -> dict[str, Any]:
    """The document that the running program answers with, to anybody."""
    with agent.client(None, None) as client:
        document: dict[str, Any] = client.get("/openapi.json").raise_for_status().json()
    return document


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, running_cluster_agent(Path(directory)) as agent:
        document = served_by(agent)
    PUBLISHED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {PUBLISHED}")


if __name__ == "__main__":
    main()
