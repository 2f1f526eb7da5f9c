"""One installation for the end-to-end tests; each uses namespaces of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.installation import Installation, installation


@pytest.fixture(scope="package")
def installed(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with installation(control_plane, tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vkube finds in a test is what the test gives it."""
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)
