"""Where manifests come from: files, directories, standard input, URLs; as kubectl's `-f` has it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import httpx
import yaml

from vkube.errors import MalformedManifest, ManifestError

SUFFIXES = (".yaml", ".yml", ".json")
_LONGEST_BYTES = 16 * 1024 * 1024
_URL_SECONDS = 30.0


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date is text, since JSON has no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def documents(names: Sequence[str], stdin: IO[bytes] | None = None) -> Iterator[tuple[str, Any]]:
    """Each document of each source, after where it stands: `web.yaml, document 2`; instead of a List each of
    its items.

    A name is a file, a directory (its files that end in .yaml, .yml or .json; not those below), `-` for
    standard input, or an http(s) URL. Empty documents are left out. Raises ManifestError, also where nothing
    is left: what was to write the manifests may have failed.
    """
    is_any = False
    for name in names:
        for source, content in _contents(name, stdin or sys.stdin.buffer):
            for position, document in enumerate(_parsed(source, content), 1):
                if document is not None:
                    for item in items(document, f"{source}, document {position}"):
                        is_any = True
                        yield item
    if names and not is_any:
        sources = ("standard input" if name == "-" else name for name in names)
        raise ManifestError(f"there is no manifest in {', '.join(sources)}")


def items(document: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The document itself, or the items of a List (`kind: List`, `DeploymentList`), also of Lists in it."""
    kind = document.get("kind") if isinstance(document, dict) else None
    # A custom resource's kind may end so, too; what is no list of objects is not taken for one.
    if kind == "List" or (str(kind).endswith("List") and isinstance(document.get("items"), list)):
        found = document.get("items")
        if not isinstance(found, list | None):
            raise ManifestError(f"{where}: items: input should be a valid list")
        for position, item in enumerate(found or []):
            yield from items(item, f"{where}, items[{position}]")
    else:
        yield where, document


def mapping(document: Any, where: str) -> dict[str, Any]:
    """The document, which must be a mapping. Raises ManifestError."""
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: a manifest is a mapping")
    return document


def _contents(name: str, stdin: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    if name == "-":
        yield "standard input", _bounded("standard input", stdin.read(_LONGEST_BYTES + 1))
    elif name.startswith(("http://", "https://")):
        yield name, _fetched(name)
    elif not name:
        raise ManifestError("-f: expected a file, a directory, a URL or -, got an empty name")
    elif (path := Path(name)).is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and one.is_file())
        if not files:
            raise ManifestError(f"{name} has no file that ends in {', '.join(SUFFIXES)}")
        for file in files:
            yield str(file), _read(file)
    else:
        yield name, _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(str(path), file.read(_LONGEST_BYTES + 1))
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from error


def _fetched(url: str) -> bytes:
    content = bytearray()
    try:
        with httpx.stream("GET", url, timeout=_URL_SECONDS, follow_redirects=True) as response:
            response.raise_for_status()
            for part in response.iter_bytes():
                content += part
                _bounded(url, content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ManifestError(f"cannot fetch {url}: {error or type(error).__name__}") from error
    return bytes(content)


def _bounded(source: str, content: bytes | bytearray) -> bytes:
    if len(content) > _LONGEST_BYTES:
        raise ManifestError(f"{source} is longer than {_LONGEST_BYTES >> 20} MiB, which is no manifest")
    return bytes(content)


def _parsed(source: str, content: bytes) -> list[Any]:
    """The documents. JSON is read as such: it may be indented by tabs, which YAML refuses."""
    try:
        return [json.loads(content)]
    except ValueError:
        pass
    except RecursionError as error:
        raise ManifestError(f"cannot read {source}: it is nested too deeply") from error
    try:
        # SafeLoader's subclass, so safe: it makes plain values only.
        return list(yaml.load_all(content, Loader=_Loader))
    except yaml.YAMLError as error:
        raise MalformedManifest(*_located(source, error)) from error
    except ValueError as error:  # a number or a date that Python has not
        raise MalformedManifest(source, " ".join(str(error).split())) from error
    except RecursionError as error:
        raise ManifestError(f"cannot read {source}: it is nested too deeply") from error


def _located(source: str, error: yaml.YAMLError) -> tuple[str, str]:
    """Where the parser stopped, and why, each in a line; its own text has several."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"{source}, position {error.position + 1}", str(error.reason)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    why = " ".join(str(getattr(error, "problem", None) or getattr(error, "context", None) or error).split())
    if mark is None:
        return source, why
    return f"{source}, line {mark.line + 1}, column {mark.column + 1}", why
