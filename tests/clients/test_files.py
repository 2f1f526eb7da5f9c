"""curl, openssl and nginx by files: mutual TLS by DNS name, while the files change."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from tests.clients.conftest import HOST
from tests.clients.document import block, replaced
from tests.cluster_agents import free_port
from tests.pod_agent.running import RunningPodAgent
from tests.waiting import PATIENCE_SECONDS, wait_for

MOUNTED = "/run/vanadium-files"
ADDRESS = f"{HOST}:8443"
ROTATIONS = 3
# Its directories for temporary files: those that are compiled in are there only where it was installed.
NGINX = """
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/bodies;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    {tls}
    return 200 "$ssl_client_serial\\n";
  }}
}}
"""


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, all of whose processes end with it."""
    with log.open("ab") as written:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=written, stderr=written, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
        if process.stdin is not None:
            process.stdin.close()


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def curl(files: Path, port: int, host: str = HOST) -> subprocess.CompletedProcess[str]:
    """The page's lines, with another address of the host."""
    changes = {
        MOUNTED: str(files),
        ADDRESS: f"{host}:{port}",
        "curl ": f"curl --silent --show-error --resolve {host}:{port}:127.0.0.1 ",
    }
    return shell(replaced(block("curl", "sh"), changes))


def presented(port: int) -> x509.Certificate:
    """The server's certificate, which nobody verifies."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    return x509.load_pem_x509_certificate(pem.encode())


def answered(files: Path, port: int) -> int:
    """The serial number of the client's certificate, as the server saw it; 0 without an answer."""
    said = curl(files, port)
    return int(said.stdout, 16) if said.returncode == 0 else 0


@contextmanager
def running_nginx(nginx: Path, files: Path, tmp_path: Path) -> Iterator[int]:
    """The port of nginx, with the page's configuration and its command."""
    port = free_port()
    tls = replaced(block("nginx", "nginx"), {MOUNTED: str(files)})
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(directory=tmp_path, port=port, tls=tls))
    with_configuration = f"{nginx} -e stderr -c {configuration} -p {tmp_path} "
    script = replaced(block("nginx", "sh"), {MOUNTED: str(files), "nginx -": f"{with_configuration}-"})
    with running(["sh", "-c", script], tmp_path / "nginx.log"):
        wait_for("nginx", lambda: answered(files, port), story=(tmp_path / "nginx.log").read_text)
        yield port


def test_a_reload_that_failed_is_tried_again(tmp_path: Path) -> None:
    """As one does while nginx starts, or while the files are replaced once more."""
    reloads, stub = tmp_path / "reloads", tmp_path / "nginx"
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = -s ] || exec sleep 600\necho >>{reloads}\n[ $(wc -l <{reloads}) -gt 1 ]\n'
    )
    stub.chmod(0o755)
    reloads.touch()
    (tmp_path / "..data").symlink_to("..1")
    script = replaced(
        block("nginx", "sh"), {MOUNTED: str(tmp_path), "nginx -": f"{stub} -", "sleep 1": "sleep 0.2"}
    )
    with running(["sh", "-c", script], tmp_path / "log"):
        time.sleep(0.5)
        (tmp_path / "next").symlink_to("..2")
        (tmp_path / "next").rename(tmp_path / "..data")
        wait_for("the second reload", lambda: len(reloads.read_text()) == 2)


@pytest.fixture
def nginx_port(nginx: Path, files: Path, tmp_path: Path) -> Iterator[int]:
    with running_nginx(nginx, files, tmp_path) as port:
        yield port


def test_nginx_and_curl_know_each_other_through_rotations(
    nginx: Path, renewing_web: RunningPodAgent, tmp_path: Path
) -> None:
    """nginx shows which certificate it serves by a plain TLS client, and which one curl has by its answer."""
    client, server, ends = set[int](), set[int](), list[datetime]()
    files = renewing_web.directory / "files"

    def both_rotated() -> bool:
        version = (files / "..data").resolve()
        # A worker of nginx from before its reload may take the next connection.
        ends.append(presented(port).not_valid_after_utc)
        ours = x509.load_pem_x509_certificate((version / "tls.crt").read_bytes()).not_valid_after_utc
        seen = answered(files, port), served(files, port)
        # A machine that is too slow may use certificates to their end, and files until they are removed.
        if datetime.now(UTC) < min(ours, *ends[-2:]) and version.exists():
            assert 0 not in seen
        client.add(seen[0])
        server.add(seen[1])
        return min(len(client - {0}), len(server - {0})) > ROTATIONS

    with running_nginx(nginx, files, tmp_path) as port:
        wait_for("rotations", both_rotated, story=renewing_web.log, not_yet=(FileNotFoundError,))


JAVA = """
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.cert.Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.*;

class Client {
    public static void main(String[] arguments) throws Exception {
        var sockets = context(Path.of(arguments[0])).getSocketFactory();
        int port = Integer.parseInt(arguments[1]);
        var plain = new java.net.Socket("127.0.0.1", port);
        var socket = (SSLSocket) sockets.createSocket(plain, arguments[2], port, true);
        var parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS"); // verifies the host name
        socket.setSSLParameters(parameters);
        socket.getOutputStream().write("GET / HTTP/1.0\\r\\n\\r\\n".getBytes());
        System.out.print(new String(socket.getInputStream().readAllBytes()));
    }

METHOD
}
"""


def test_java_and_nginx_know_each_other(files: Path, nginx_port: int, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("there is no JDK")
    program = tmp_path / "Client.java"
    program.write_text(JAVA.replace("METHOD", block("Java", "java")))

    def said(host: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = ["java", program, files, str(nginx_port), host]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    assert "200 OK" in said(HOST).stdout
    assert "No subject alternative DNS name matching api.shop.svc found" in said("api.shop.svc").stderr


def served(files: Path, port: int) -> int:
    """The serial number of the server's certificate, which openssl verified by name; 0 where it did not."""
    changes = {MOUNTED: str(files), f"-connect {ADDRESS}": f"-connect 127.0.0.1:{port}"}
    said = shell(replaced(block("openssl", "sh"), changes))
    if "Verification: OK" not in said.stdout:
        return 0
    return x509.load_pem_x509_certificates(said.stdout.encode())[0].serial_number


def test_a_name_that_nobody_registered_is_refused_by_curl(files: Path, nginx_port: int) -> None:
    said = curl(files, nginx_port, "api.shop.svc")
    assert said.returncode == 60
    assert "api.shop.svc" in said.stderr


def test_a_client_without_a_certificate_is_refused_by_nginx(files: Path, nginx_port: int) -> None:
    url = f"https://{HOST}:{nginx_port}/"
    call = f"curl --silent --resolve {HOST}:{nginx_port}:127.0.0.1 --cacert {files}/ca.crt {url}"
    assert "400 No required SSL certificate was sent" in shell(call).stdout
