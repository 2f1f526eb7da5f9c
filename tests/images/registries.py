"""How this machine reaches its package registries, for builds that run in a root file system of their own.

What is found here is mounted into the build's steps or given to it as a file of ours: proxies, index
addresses and their passwords get into no image. They lie in a directory of root's that the build removes, or,
when it was killed, the next one.
"""

from __future__ import annotations

import ast
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_APT_SETTINGS = re.compile(r"^Acquire::(?:https?::|Check-|Retries)", re.IGNORECASE)
# What pip and uv call the same thing differently, and what does not apply within the build.
_LOCAL_TO_THE_MACHINE = frozenset({"cert", "find-links", "cache-dir", "target", "user", "prefix", "python"})


def mounts(directory: Path, environment: Mapping[str, str]) -> dict[Path, str]:
    """Files here, and the paths at which a build's steps see them.

    Those made now are in `directory`, which nobody else may enter: an index's address can have a password.
    """
    found = {
        _written(directory / "pip.conf", pip_configuration(environment)): "/etc/pip.conf",
        _written(directory / "uv.toml", uv_configuration(environment)): "/etc/uv/uv.toml",
    }
    apt = _written(directory / "apt.conf", apt_configuration(environment))
    found[apt] = "/etc/apt/apt.conf.d/99this-machine"
    authorities = environment.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if authorities and Path(authorities).is_file():
        found[Path(authorities)] = _CERTIFICATES
    passwords = Path(environment.get("NETRC") or Path.home() / ".netrc")
    if passwords.is_file():
        found[passwords] = "/root/.netrc"
    return found


def pip_configuration(environment: Mapping[str, str]) -> str:
    """What pip would use here, as one file (https://pip.pypa.io/en/stable/topics/configuration/)."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    settings: dict[str, dict[str, str]] = {"global": {}}
    from_environment: dict[str, str] = {}
    for line in asked.stdout.splitlines():
        if found := re.match(r"^(:env:|[\w-]+)\.([\w-]+)=(.*)$", line):
            section, name, value = found[1], found[2], str(ast.literal_eval(found[3]))
            if name not in _LOCAL_TO_THE_MACHINE:
                (from_environment if section == ":env:" else settings.setdefault(section, {}))[name] = value
    settings["global"] |= {**from_environment, "cert": _CERTIFICATES}
    lines: list[str] = []
    for section, values in settings.items():
        lines.append(f"[{section}]")
        lines += (f"{name} = {' '.join(value.split())}" for name, value in values.items())
    return "\n".join(lines) + "\n"


def uv_configuration(environment: Mapping[str, str]) -> str:
    """What uv would use here, as one file (https://docs.astral.sh/uv/reference/settings/)."""
    lines = ["system-certs = true", 'python-downloads = "never"']
    if index := environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL"):
        lines.append(f"index-url = {_quoted(index)}")
    if extra := environment.get("UV_EXTRA_INDEX_URL"):
        lines.append(f"extra-index-url = [{', '.join(map(_quoted, extra.split()))}]")
    if insecure := environment.get("UV_INSECURE_HOST"):
        lines.append(f"allow-insecure-host = [{', '.join(map(_quoted, insecure.split()))}]")
    return "\n".join(lines) + "\n"


def apt_configuration(environment: Mapping[str, str]) -> str:
    """Proxies and checks of this machine's apt; empty where there is no apt."""
    if not shutil.which("apt-config", path=environment.get("PATH")):
        return ""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if _APT_SETTINGS.match(line))


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
