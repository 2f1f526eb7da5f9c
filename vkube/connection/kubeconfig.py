"""The way to an API server: by a kubeconfig, or as a Pod of the cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vkube.errors import ConfigurationError, cause

if TYPE_CHECKING:
    from kubernetes import client

_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connected(kubeconfig: Path | None, context: str | None) -> tuple[client.ApiClient, str, str]:
    """A client, the context's name, and its namespace. Raises ConfigurationError."""
    import logging

    import yaml
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    # It warns of each new try, in the middle of our own output.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    file = _file(kubeconfig)
    settings = client.Configuration()
    settings.retries = False
    try:
        if kubeconfig is None and context is None and not _exists(file) and _IN_CLUSTER in os.environ:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            return client.ApiClient(settings), "in-cluster", _OWN_NAMESPACE.read_text().strip()
        if not _exists(file):
            raise FileNotFoundError("there is no such file")
        contexts, current = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
        with _complaints() as problems:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                file, context=context, client_configuration=settings
            )
        (chosen,) = [one for one in contexts if one["name"] == context] if context else [current]
        _check_credentials(file, chosen["context"]["user"], problems)
    # The library checks neither that a file is YAML nor that it has the form of a kubeconfig.
    except (ConfigException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        wanted = "" if context is None else f", context {context}"
        raise ConfigurationError(
            f"no way to the API server by {file}{wanted}: {_unusable(error)}. Look at --kubeconfig and "
            "--context (kubectl config get-contexts)"
        ) from error
    namespace = (chosen.get("context") or {}).get("namespace") or "default"
    return client.ApiClient(settings), str(chosen["name"]), str(namespace)


def context_namespace(options: argparse.Namespace) -> str:
    """The namespace of the chosen context; "default" where there is no kubeconfig. Raises
    ConfigurationError."""
    from vkube.configuration import load

    context = options.context or load(options.config).kubeconfig_context
    if options.kubeconfig is None and context is None and not _exists(_file(None)):
        return "default"
    return connected(options.kubeconfig, context)[2]


def _file(named: Path | None) -> str:
    """Several files, as kubectl has them, if $KUBECONFIG names several."""
    return str(named or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _exists(kubeconfig: str) -> bool:
    return any(Path(one).exists() for one in kubeconfig.split(os.pathsep))


def _unusable(error: BaseException) -> str:
    """Why a kubeconfig cannot be used."""
    if isinstance(error, (TypeError, AttributeError)):
        return "it has not the form of a kubeconfig"
    return cause(error).rstrip(".")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the library logs instead of raising it; it goes on without credentials then."""
    import logging

    found: list[str] = []

    def take(record: logging.LogRecord) -> bool:
        found.append(" ".join(record.getMessage().split()))
        return False

    root = logging.getLogger()
    root.addFilter(take)
    try:
        yield found
    finally:
        root.removeFilter(take)


def _check_credentials(file: str, user: str, problems: list[str]) -> None:
    """Raises ConfigException, with what to do, when there were problems with the user's credentials."""
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger

    if not problems:
        return
    found = KubeConfigMerger(file).config["users"].get_with_name(user).value  # type: ignore[no-untyped-call]
    program = (found.get("user") or {}).get("exec") or {}
    named = f"its program for credentials, {program.get('command')},"
    # https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
    hint = " ".join(str(program.get("installHint") or "").split())
    problem = problems[0].removeprefix("exec: ")
    if program and problem.startswith("[Errno 2]"):
        missing = f"{named} is not installed, or not on PATH: install it"
        raise ConfigException(f"{missing} ({hint})" if hint else missing)
    raise ConfigException(f"{named} failed ({problem}): log in again" if program else problem)
