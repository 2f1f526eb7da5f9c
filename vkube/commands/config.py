"""`vkube update-config`."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

from service.version import VERSION
from vkube.command_line.commands import Run
from vkube.configuration import FILE, Configuration, load
from vkube.configuration_text import changed
from vkube.errors import ConfigurationError
from vkube.output.lines import note, result

# Registry and path, the last component, and a tag or digest.
_REFERENCE = re.compile(r"^(?P<path>(?:\S*/)?)(?P<name>[^/:@\s]+)(?P<rest>[:@]\S*)?$")


def update_config(parser: argparse.ArgumentParser) -> Run:
    """Write images into vkube.cfg, which is made if it is not there; all else in it stays. By default they
    get the tag of this version of vkube. Then vkube update-cluster-agent brings them into the cluster."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="vkube.cfg; by default the one in this directory"
    )
    parser.add_argument("--tag", help=f"tag of all three images; by default {VERSION}")
    parser.add_argument("--registry", help="where all three are: registry.example/team")
    parser.add_argument("--cluster-agent-image", metavar="IMAGE", help="the cluster agent's, as it is given")
    parser.add_argument("--pod-agent-image", metavar="IMAGE", help="the pod agent's, as it is given")
    parser.add_argument("--webhook-image", metavar="IMAGE", help="the webhook's, as it is given")
    return _update


def _update(options: argparse.Namespace) -> None:
    file = options.config or Path(FILE)
    text = _read(file)
    current = load(file) if text is not None else Configuration()
    images = {
        ("clusterAgent", "image"): (current.cluster_agent.image, options.cluster_agent_image),
        ("podAgent", "image"): (current.pod_agent.image, options.pod_agent_image),
    }
    if current.webhook.image is not None or options.webhook_image:
        images["webhook", "image"] = (current.webhook.image or "", options.webhook_image)
    values = {
        key: given or _moved(image, options.registry, options.tag or VERSION)
        for key, (image, given) in images.items()
    }
    try:
        written = changed(text or "", values)
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    _write(file, written)
    for (section, key), value in values.items():
        before = images[section, key][0]
        result(f"{section}.{key}: {value}" + (f" (was {before})" if before not in ("", value) else ""))
    if current.webhook.image is None and not options.webhook_image:
        note(f"the webhook's image is the one beside it: {load(file).webhook_image}")


def _moved(image: str, registry: str | None, tag: str) -> str:
    found = _REFERENCE.match(image)
    if found is None:
        raise ConfigurationError(f"{image} is no name of an image")
    path = found["path"] if registry is None else f"{registry.rstrip('/')}/"
    return f"{path}{found['name']}:{tag}"


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from error


def _write(file: Path, text: str) -> None:
    """Replaces the file in one step, when the new content is a vkube.cfg."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{file.name}.", delete=False) as new:
            new.write(text)
        written = Path(new.name)
        try:
            load(written)
            written.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
            os.replace(written, file)
        finally:
            written.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
