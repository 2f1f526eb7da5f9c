"""The page's lines for Go, Node.js and Java, each a server and its client in one process, while a kubelet
replaces the files: both present the new certificate, and no connection fails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from blessings import Principal
from tests.chains import Realm, realm
from tests.clients.document import block
from tests.waiting import PATIENCE_SECONDS, wait_for

ROTATIONS = 3
# Each writes, for one connection after the other, the serial numbers of the client's and of the server's
# certificate as the other side saw them, or `failed`.
GO = """
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

BLOCK

func main() {
	files := os.Args[1]
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server(files, "spiffe://acme/prod/shop/web/"))
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(answer, "%x", request.TLS.PeerCertificates[0].SerialNumber)
	}))
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for ; ; time.Sleep(20 * time.Millisecond) {
		caller := client(files, "spiffe://acme/prod/shop/web/")
		answer, err := caller.Get("https://localhost:" + port)
		if err != nil {
			fmt.Println("failed", err)
			continue
		}
		seen, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Printf("%s %x\\n", seen, answer.TLS.PeerCertificates[0].SerialNumber)
		caller.CloseIdleConnections()
		stranger := client(files, "spiffe://acme/prod/bank/")
		if _, err := stranger.Get("https://localhost:" + port); err == nil {
			fmt.Println("failed: a stranger is accepted")
		}
	}
}
"""
NODE = """
BLOCK

const files = process.argv[2];
const serial = (socket) => socket.getPeerCertificate().serialNumber;
const server = serve(files, (request, answer) => answer.end(serial(request.socket)));
server.listen(0, "127.0.0.1", () => {
  const call = () => {
    const options = { ...identity(files), port: server.address().port, host: "localhost", agent: false };
    const request = https.request(options, (answer) => {
      const servers = serial(answer.socket);
      answer.on("data", (seen) => console.log(`${seen} ${servers}`));
      answer.on("end", () => setTimeout(call, 20));
    });
    request.on("error", (error) => { console.log("failed", error); setTimeout(call, 20); });
    request.end();
  };
  call();
});
"""
JAVA = """
import java.net.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.cert.Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.*;

class Both {
    static String serial(SSLSocket socket) throws Exception {
        var peer = (X509Certificate) socket.getSession().getPeerCertificates()[0];
        return peer.getSerialNumber().toString(16);
    }

    static SSLSocket tls(Socket plain, Path files) throws Exception {
        var sockets = current(files).getSocketFactory();
        return (SSLSocket) sockets.createSocket(plain, "localhost", plain.getPort(), true);
    }

    public static void main(String[] arguments) throws Exception {
        var files = Path.of(arguments[0]);
        var listener = new ServerSocket(0, 10, InetAddress.getLoopbackAddress());
        new Thread(() -> {
            while (true) {
                try (var plain = listener.accept(); var socket = tls(plain, files)) {
                    socket.setUseClientMode(false);
                    socket.setNeedClientAuth(true);
                    socket.getOutputStream().write(serial(socket).getBytes());
                } catch (Exception error) {
                    System.out.println("failed " + error);
                }
            }
        }).start();
        for (; ; Thread.sleep(20)) {
            var plain = new Socket(listener.getInetAddress(), listener.getLocalPort());
            try (var socket = tls(plain, files)) {
                var parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                System.out.println(new String(socket.getInputStream().readAllBytes()) + " " + serial(socket));
            } catch (Exception error) {
                System.out.println("failed " + error);
            }
        }
    }

BLOCK
}
"""


class Kubelet:
    """Keeps the documented files, and removes a version when it has replaced it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.versions = directory, 0
        self.acme: Realm = realm()
        directory.mkdir()

    def rotate(self) -> str:
        """The new certificate's serial number."""
        now, key = datetime.now(UTC), Principal.create()
        blessing = self.acme.application.bless(
            key.public_key, "web-1", now=now, lifetime=timedelta(hours=1), dns_names=("localhost",)
        )
        pem, chain = key.to_pem().decode(), blessing.to_pem()
        contents = {
            "tls.pem": pem + chain,
            "tls.key": pem,
            "tls.crt": chain,
            "ca.crt": self.acme.roots.to_pem(),
        }
        last = self.directory / f"..{self.versions}"
        self.versions += 1
        version = self.directory / f"..{self.versions}"
        version.mkdir()
        for name, content in contents.items():
            (version / name).write_text(content)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        beside = self.directory / "..data_tmp"
        beside.symlink_to(version.name)
        beside.rename(self.directory / "..data")
        shutil.rmtree(last, ignore_errors=True)
        return f"{blessing.leaf.serial_number:x}"


@contextmanager
def written_by(command: list[str | Path], log: Path) -> Iterator[Path]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as running:
        try:
            yield log
        finally:
            running.kill()


def program(language: str, directory: Path) -> list[str | Path]:
    """The command of the program with the page's lines."""
    if language == "go":
        needs, source, text = "go", directory / "both.go", GO.replace("BLOCK", block("Go", "go"))
    elif language == "node":
        needs, source, text = "node", directory / "both.js", NODE.replace("BLOCK", block("Node.js", "js"))
    else:
        needs, source, text = "javac", directory / "Both.java", JAVA.replace("BLOCK", block("Java", "java"))
    if shutil.which(needs) is None:
        pytest.skip(f"there is no {needs}")
    source.write_text(text)
    if language != "go":
        return [language, source]
    made = directory / "both"
    subprocess.run(["go", "build", "-o", made, source], check=True, timeout=PATIENCE_SECONDS, cwd=directory)
    return [made]


@pytest.mark.parametrize("language", ["go", "node", "java"])
def test_a_server_and_its_client_present_each_new_certificate_and_no_connection_fails(
    language: str, tmp_path: Path
) -> None:
    kubelet = Kubelet(tmp_path / "identity")
    serial = kubelet.rotate()
    with written_by([*program(language, tmp_path), kubelet.directory], tmp_path / "log") as log:
        for _ in range(ROTATIONS):
            wait_for(f"{serial} of both", partial(has_line, log, f"{serial} {serial}"), story=log.read_text)
            serial = kubelet.rotate()
        assert [line for line in lines(log) if line.startswith("failed")] == []


def has_line(log: Path, line: str) -> bool:
    return line in lines(log)


def lines(log: Path) -> list[str]:
    return [
        " ".join(one.lstrip("0") for one in line.split()) for line in log.read_text().lower().splitlines()
    ]
