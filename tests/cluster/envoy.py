"""examples/envoy as it is, on a real node with the real Envoy: `python -m tests.cluster.envoy`.

There is no registry, so the images that the example names are made here: Envoy's of PyPI's package of it, and
Python's of Debian's packages. Prints the answers, and exits with 1 when one is not as the example says.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.clients.envoy_program import find_envoy
from tests.cluster.cluster import CONTEXT_VARIABLE, Parts, cluster_parts, running_cluster
from tests.cluster.installation import execute, install, rolled_out, wait_until_injecting
from tests.cluster.workloads import make_namespace
from tests.controlplane.programs import cache_directory, locked
from tests.images import base_image, buildah

EXAMPLE = CHECKOUT / "examples" / "envoy"
# Not of the existing cluster that it may name: images can be put on a node of ours only.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != CONTEXT_VARIABLE}
_ENVOY = """
FROM python:3.11-slim
COPY envoy /usr/local/bin/envoy
ENTRYPOINT ["/usr/local/bin/envoy"]
"""
_REQUEST = 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:9000/").status)'
_PLAIN = """
import http.client
connection = http.client.HTTPConnection("back", 8443, timeout=5)
try:
    connection.request("GET", "/")
    print("answered", connection.getresponse().status)
except OSError as error:
    print("refused:", type(error).__name__)
"""


def main() -> None:
    parts = cluster_parts(say, _ENVIRONMENT)
    assert isinstance(parts, Parts)
    with tempfile.TemporaryDirectory() as directory:
        images = {**parts.images, **example_images(Path(directory))}
        with running_cluster(Parts(parts.control_plane, parts.node, images)) as running:
            kubectl = running.kubectl
            install(kubectl)
            make_namespace(kubectl, "shop")
            wait_until_injecting(kubectl, "shop")
            began = time.monotonic()
            # The example's namespace has no Pod Security level: nothing of it is changed but that.
            kubectl("label", "namespace", "shop", "pod-security.kubernetes.io/enforce-")
            kubectl("apply", "-k", str(EXAMPLE))
            for deployment in ("back", "front"):
                rolled_out(kubectl, "shop", deployment)
            print(f"two Deployments ready after {time.monotonic() - began:.1f} s")
            answers = [
                execute(kubectl, "shop", "deploy/front", "front", "python", "-c", code)
                for code in (_REQUEST, _PLAIN)
            ]
            print("front → its Envoy → mutual TLS → back's Envoy → back:", *answers[0])
            print("without TLS to back's Envoy:", *answers[1])
    if answers != [(0, "200\n"), (0, "refused: RemoteDisconnected\n")]:
        sys.exit("not as the example says")


def example_images(directory: Path) -> dict[str, Path]:
    """The images that the example names, by reference, as archives in `directory`."""
    manifest = (EXAMPLE / "deployment.yaml").read_text()
    references = {f"docker.io/{name}" for name in re.findall(r"image: (envoyproxy/\S+)", manifest)}
    (envoy,) = references
    cache = cache_directory(_ENVIRONMENT) / "images"
    shutil.copy(find_envoy(say), directory / "envoy")
    (directory / "Containerfile").write_text(_ENVOY)
    archives = {envoy: directory / "envoy.tar", base_image.REFERENCE: directory / "python.tar"}
    with (
        locked(cache / "lock", say),
        buildah.Store(cache / "store", cache / "store.log", _ENVIRONMENT) as store,
    ):
        base_image.ensure(store, cache, say, _ENVIRONMENT)
        store.build(envoy, directory / "Containerfile", directory)
        for reference, archive in archives.items():
            store.save(reference, archive)
    return archives


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
