"""`vkube dashboard` in a real browser, from the real cluster agent and API server, with the user's rights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.chromium import Chromium, Page
from tests.endtoend.calls import seek
from tests.endtoend.installation import Installation, flags, labelled_namespace
from tests.pods import pod, restricted_container
from tests.waiting import PATIENCE_SECONDS, wait_for

NAMESPACE = "vkube-dashboard"


@contextmanager
def dashboard(*arguments: object) -> Iterator[str]:
    """The URL that the command prints; Ctrl-C ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vkube", "dashboard", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(2)
        assert process.wait(PATIENCE_SECONDS) == 0
        process.stdout.close()


@pytest.fixture
def namespace(installed: Installation) -> Iterator[str]:
    """A labelled namespace without Pods."""
    with labelled_namespace(installed, NAMESPACE):
        yield NAMESPACE


def start(installed: Installation, name: str) -> None:
    replica = pod(restricted_container(command=["sleep", "3600"]), name=name)
    replica["metadata"]["namespace"] = NAMESPACE
    installed.apply(replica)


def comes(page: Page, installed: Installation, text: str) -> None:
    def shown() -> str:
        return str(page.value("document.body.innerText"))

    wait_for(text, lambda: text in shown(), story=lambda: shown() + installed.logs_end())


def test_the_page_follows_the_cluster_and_is_used_by_keyboard(
    installed: Installation, namespace: str, chromium: Chromium
) -> None:
    start(installed, "web-1")
    application = f"acme:prod:{namespace}:default"
    with dashboard(*flags(installed)) as url:
        page = chromium.page()
        page.open(f"{url}?search={application}")
        # Its line, not only its Pod's name: the API server may have been read before the cluster agent.
        comes(page, installed, "1 replica\n")
        # By keyboard: to the application's line, which Enter closes and opens.
        for _ in range(30):
            page.press("Tab")
            if page.value("document.activeElement.matches('summary')"):
                break
        assert application in page.value("document.activeElement.textContent")
        assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.press("Enter")
        assert not page.value("document.activeElement.parentElement.open")
        # An update arrives, and leaves alone what the reader has focused and closed.
        start(installed, "web-2")
        wait_for("another replica", lambda: "2 replicas" in page.value("document.activeElement.textContent"))
        assert not page.value("document.activeElement.parentElement.open")
        page.press("Enter")
        comes(page, installed, "web-2")
        # A copied credential trips a wire, and is told within seconds.
        seek(installed, installed.credential(namespace, "default"), "")
        comes(page, installed, "Tripwire")
        comes(page, installed, "BootstrapCredentialMisused")
        light, dark = (background(page, scheme) for scheme in ("light", "dark"))
        assert light != dark
        assert {urlsplit(one).netloc for one in page.requested()} == {urlsplit(url).netloc}
        assert page.complaints() == []
    comes(page, installed, "vkube dashboard does not answer: start it again")
    assert "web-2" in page.value("document.body.textContent")


def background(page: Page, scheme: str) -> str:
    page.colours(scheme)
    found: str = page.value("getComputedStyle(document.body).backgroundColor")
    return found


def test_a_cluster_agent_that_is_away_is_shown_with_what_to_do(
    installed: Installation, chromium: Chromium
) -> None:
    away = ["--kubeconfig", installed.control_plane.kubeconfig, "--cluster-agent", "https://127.0.0.1:1"]
    with dashboard(*away) as url:
        page = chromium.page()
        page.open(url)
        comes(page, installed, "The cluster agent could not be read: the cluster agent does not answer")
        comes(page, installed, "Pods without identity")
