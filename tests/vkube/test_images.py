"""`vkube build-images` and `push-images`, with the real buildah and a registry of a few lines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.vkube.command import called, vkube
from vkube.configuration import Configuration
from vkube.errors import ConfigurationError
from vkube.images import PARTS, images

HAS_BUILDAH = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("buildah") is not None


class _Registry(BaseHTTPRequestHandler):
    """What a push needs of the OCI distribution API: blobs in one piece, and manifests by tag."""

    blobs: dict[str, bytes]
    manifests: dict[str, bytes]

    def do_GET(self) -> None:
        self._answer(200)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path.rsplit("/", 1)[-1] in self.blobs else 404)

    def do_POST(self) -> None:
        self._answer(202, Location=f"{self.path}1")

    def do_PATCH(self) -> None:
        content = self._content()
        self.blobs[f"sha256:{hashlib.sha256(content).hexdigest()}"] = content
        self._answer(202, Location=self.path)

    def do_PUT(self) -> None:
        content = self._content()
        if "/manifests/" in self.path:
            self.manifests[self.path.removeprefix("/v2/")] = content
        self._answer(201)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[tuple[str, type[_Registry]]]:
    handler = type("Registry", (_Registry,), {"blobs": {}, "manifests": {}, "protocol_version": "HTTP/1.1"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/team", handler
        server.shutdown()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A checkout whose images are one small file each."""
    source = tmp_path / "source"
    (source / "deploy" / "images").mkdir(parents=True)
    for part in PARTS:
        file = source / "deploy" / "images" / f"{part}.Containerfile"
        file.write_text(f"FROM scratch\nCOPY content /{part}\n")
    (source / "content").write_text("of the image\n")
    return source


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store of buildah's own, and the flags that keep it from this machine's settings."""
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    (tmp_path / "registries.conf").write_text("")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return ["--signature-policy", str(tmp_path / "policy.json")]


@pytest.mark.skipif(not HAS_BUILDAH and "CI" not in os.environ, reason="needs buildah, and root on Linux")
def test_the_images_of_vkube_cfg_are_built_and_pushed(
    registry: tuple[str, type[_Registry]], sources: Path, store: list[str], tmp_path: Path
) -> None:
    where, pushed = registry
    config = ["--config", tmp_path / "vkube.cfg", "--tool", "buildah"]
    vkube("update-config", *config[:2], "--registry", where, "--tag", "7")
    built = vkube("build-images", *config, "--source", sources, "--", "--isolation", "chroot", *store)
    assert built == "".join(f"{where}/{part}:7: built\n" for part in PARTS)
    said = vkube("push-images", *config, "--", "--tls-verify=false", *store)
    assert said == "".join(f"{where}/{part}:7: pushed\n" for part in PARTS)
    assert set(pushed.manifests) == {f"team/{part}/manifests/7" for part in PARTS}
    for manifest in pushed.manifests.values():
        assert {one["digest"] for one in json.loads(manifest)["layers"]} <= set(pushed.blobs)

    (sources / "content").unlink()
    failed = called(
        "build-docker-images", *config, "--source", sources, "--", "--isolation", "chroot", *store
    )
    assert failed.code == 1
    assert "buildah build failed (exit " in failed.stderr


def double(directory: Path, name: str, script: str) -> None:
    """A stand-in for a program that is not on this machine."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_docker_without_its_daemon_is_passed_over(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both programs are stand-ins: they note how they are called."""
    programs, noted = tmp_path / "bin", tmp_path / "noted"
    double(programs, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    double(programs, "podman", f'echo "$@" >> {noted}')
    monkeypatch.setenv("PATH", str(programs))
    vkube("update-config", "--config", tmp_path / "vkube.cfg", "--registry", "r.example", "--tag", "7")
    vkube("build-images", "--config", tmp_path / "vkube.cfg", "--source", sources, "--push")
    assert noted.read_text().splitlines() == [
        *(
            f"build --file {sources}/deploy/images/{part}.Containerfile --tag r.example/{part}:7 {sources}"
            for part in PARTS
        ),
        *(f"push r.example/{part}:7" for part in PARTS),
    ]
    refused = vkube("build-images", "--source", sources, "x", ends=2)
    assert "unexpected argument 'x'" in refused
    refused = vkube("build-images", "--source", sources, "--tool", "docker", ends=1)
    assert "docker does not work here (Cannot connect to the Docker daemon)" in refused


def test_where_nothing_can_build_each_program_is_named(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = vkube("build-images", "--source", sources, ends=1)
    assert "no program here builds images: there is no docker on PATH; there is no podman on PATH" in refused


def test_images_are_pushed_to_a_registry_of_the_users_alone(tmp_path: Path) -> None:
    (tmp_path / "vkube.cfg").write_text("{}")
    refused = vkube("push-images", "--config", tmp_path / "vkube.cfg", ends=2)
    assert "names no registry of yours: vkube update-config --registry REGISTRY" in refused


def test_what_is_named_by_its_digest_is_not_built() -> None:
    given = {"clusterAgent": {"image": "r/cluster-agent@sha256:0"}, "webhook": {"image": "r/webhook:1"}}
    with pytest.raises(ConfigurationError, match="has a digest"):
        images(Configuration.model_validate(given))


def test_a_directory_without_the_sources_is_refused(tmp_path: Path) -> None:
    refused = vkube("build-images", "--source", tmp_path, ends=2)
    assert "is no checkout of Vanadium Cluster" in refused


def test_the_checkout_has_a_container_file_for_each_image() -> None:
    for one in images(Configuration()):
        assert (CHECKOUT / one.container_file).is_file()
