"""Who can read the page: only the holder of its URL, and no site that is open in the holder's browser."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.vkube.dashboard.sample import TOKEN, now, sample, served
from vkube.commands import dashboard
from vkube.dashboard.gate import HEADERS


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    moment = now()
    with served(lambda: sample(moment)) as running:
        yield running


def answer(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_holder_of_the_url_reads_the_page(url: str) -> None:
    shown = answer(url)
    assert shown.status_code == 200
    assert "acme:prod:shop:web" in shown.text
    assert TOKEN not in shown.text
    for name in ("style.css", "script.js"):
        assert (
            answer(f"{url}{name}", sec_fetch_site="same-origin", sec_fetch_dest="script").status_code == 200
        )
    by_name = url.replace("127.0.0.1", "localhost")
    assert answer(url, host=urlsplit(by_name).netloc, origin=by_name.removesuffix(f"/{TOKEN}/")).is_success


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "/style.css", f"//{TOKEN}/", "/%ff/"]
)
def test_attack_another_user_of_the_machine_without_the_token_learns_nothing(url: str, path: str) -> None:
    refused = httpx.get(f"http://{urlsplit(url).netloc}{path}")
    assert refused.status_code == 404
    assert refused.text == "there is nothing here: open the URL that vkube dashboard printed\n"


def test_attack_a_site_that_rebinds_its_name_to_loopback_is_not_answered(url: str) -> None:
    port = urlsplit(url).port
    for host in (f"evil.example:{port}", "evil.example", f"127.0.0.1:{port}.evil.example", "127.0.0.1", ""):
        assert answer(url, host=host).status_code == 421, host


def test_attack_a_second_host_header_does_not_hide_the_first(url: str) -> None:
    place = urlsplit(url)
    lines = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nHost: evil.example\r\n\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
        connection.sendall(lines.encode())
        assert connection.recv(1000).split(b" ")[1] in (b"400", b"421")


def test_attack_a_site_calls_frames_or_embeds_the_page(url: str) -> None:
    """As if it had guessed the token. `same-site` is a server of another user at another port."""
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", f"{url.split('/' + TOKEN)[0]}0"):
        assert answer(url, origin=origin).status_code == 403, origin
    for site in ("cross-site", "same-site"):
        for destination in ("empty", "iframe", "script", "image"):
            refused = answer(url, sec_fetch_site=site, sec_fetch_dest=destination)
            assert refused.status_code == 403, (site, destination)
    assert answer(
        url, sec_fetch_site="cross-site", sec_fetch_dest="document"
    ).is_success  # a link that is opened


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_page_only_shows(url: str, method: str) -> None:
    assert httpx.request(method, url).status_code == 405


@pytest.mark.parametrize("path", ["", "style.css", "nothing", "../"])
def test_every_answer_forbids_what_a_browser_would_otherwise_allow(url: str, path: str) -> None:
    given = answer(f"{url}{path}").headers
    for name, value in HEADERS.items():
        assert given.get_list(name) == [value], name
    policy = given["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "server" not in given


def test_attack_connections_that_are_only_held_do_not_keep_the_reader_out(url: str) -> None:
    place = urlsplit(url)
    held = [socket.create_connection((place.hostname or "", place.port or 0)) for _ in range(200)]
    assert answer(url).is_success
    for one in held:
        one.close()


def test_attack_the_arguments_of_the_browser_do_not_contain_the_url() -> None:
    """Every user of the machine can read them."""
    with dashboard.opener("http://127.0.0.1:1/token/") as file:
        assert file.read_text() == '<meta http-equiv="refresh" content="0; url=http://127.0.0.1:1/token/">\n'
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert "token" not in str(file)
    assert not file.exists()


def test_a_wrong_port_or_context_ends_the_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "vkube", "dashboard", "--kubeconfig", tmp_path / "none"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no way to the API server by" in ended.stderr
