"""The way to the API server of the cluster around a Pod: its variables, its token, its authority."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import SettingsError
from tests.checkout import CHECKOUT
from tests.webhook.serving import certificate, replace
from webhook.kubernetes_clients import around, connect

HERE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_bytes(certificate()[0])
    (tmp_path / "token").write_text("first\n")
    return tmp_path


def test_the_token_is_read_anew_for_each_call(files: Path) -> None:
    access = around(HERE, files)
    assert (access.url, access.authorization()) == ("https://10.96.0.1:443", "Bearer first")
    replace(files / "token", b"second")
    assert access.authorization() == "Bearer second"
    assert access.context is not None
    assert access.context.check_hostname


def test_an_address_of_ipv6_is_one_of_a_url(files: Path) -> None:
    assert around({**HERE, "KUBERNETES_SERVICE_HOST": "fd00::1"}, files).url == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["ca.crt", "token"])
def test_a_pod_without_its_files_is_told_which(files: Path, missing: str) -> None:
    (files / missing).unlink()
    with pytest.raises(FileNotFoundError):
        around(HERE, files)


def test_without_a_cluster_the_message_states_what_to_give(tmp_path: Path) -> None:
    nothing = tmp_path / "kubeconfig"
    for given in (None, nothing):
        with pytest.raises(SettingsError, match="kubeconfig"):
            connect(given)


def test_in_a_cluster_the_program_does_not_load_the_kubernetes_package() -> None:
    """It takes a seventh of the memory."""
    code = "import sys, webhook.__main__; print([one for one in sys.modules if one.startswith('kubernetes')])"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert ran.stdout.strip() == "[]"
