"""The cluster agent, reached with whatever is at hand: a URL or a forwarded port, the administrator's
directory or the cluster's own right.

with administering(options) as agent:
    agent.call("GET", "/v1/applications")
"""

from __future__ import annotations

import argparse
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from blessings import Authority, Blessing, BlessingsError, Name, Principal, Roots, fingerprint
from blessings.directory import DirectoryPrincipal
from blessings.profile.fields import public_key_of
from certs.issue import CLUSTER_AGENT, ROOTS
from certs.roots import ControlPlaneRoots
from certs.rotation import ROOT_SECRET
from service.cluster_agent_calls import ClusterAgentAddress, mutual_tls, server_only_tls
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError, CallRefused, CallUnanswered
from vkube import credentials
from vkube.connection.cluster import Cluster
from vkube.connection.port_forward import forwarded
from vkube.connection.secrets import secret_files
from vkube.errors import AdministrationError, CredentialsError, NotFoundError, UnreachableError, UsageError

PORT = 8193
_ONE_COMMAND = timedelta(minutes=10)
_LONGEST_WAIT_SECONDS = 30.0
_TRIES = 5
_SETTING = "VANADIUM_CLUSTER_AGENT_ADMINISTRATORS"


@dataclass
class ClusterAgent:
    """A connected cluster agent. `directory` is the administrator's, if the credentials are from one; `name`
    is the name that is presented, None for nobody's."""

    client: ClusterAgentClient
    anonymous: ClusterAgentClient
    identity: tuple[Principal, Blessing] | None
    directory: DirectoryPrincipal | None
    system: str
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str | None:
        return None if self.identity is None else str(self.identity[1].presented)

    def root_of(self, name: Name) -> Authority:
        """The administrator's authority, for a name that the agent itself may not grant. Raises
        CredentialsError."""
        if self.directory is None:
            raise CredentialsError(
                f"{name} is not below the cluster agent's prefix, so only the holder of the root can "
                "grant it: name --credentials"
            )
        return credentials.authority_of(self.directory)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """The answer. Waits a little where the agent asks to.

        Raises AdministrationError, UnreachableError.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            path = f"{path}?{urlencode(given)}"
        for tries in range(1, _TRIES + 1):
            try:
                return self.client.call(method, path, body)
            except CallUnanswered as error:
                wait = error.retry_after_seconds
                if wait is None or wait > _LONGEST_WAIT_SECONDS or tries == _TRIES:
                    raise self._explained(error) from error
                time.sleep(wait)
            except CallError as error:
                raise self._explained(error) from error
        raise AssertionError("unreachable")

    def pages(self, path: str, key: str, **query: object) -> Iterator[dict[str, Any]]:
        """Every item of a paged list, whose answers have the items in `key`, and `following`
        while there are more.

        Raises AdministrationError, UnreachableError.
        """
        after: object = None
        while True:
            page = self.call("GET", path, query={**query, "after": after})
            yield from page[key]
            after = page.get("following")
            if after is None:
                return

    def _explained(self, error: CallError) -> AdministrationError | UnreachableError:
        if isinstance(error, CallUnanswered):
            if error.reason == "ConnectionEnded" and self.identity is not None:
                return self._root_unknown(error)
            if (wrong := _certificate_refused(error)) is not None:
                return AdministrationError(
                    f"the server's certificate is not the cluster agent's: {wrong}. Look at --cluster-agent, "
                    "--ca and --server-name"
                )
            if error.is_away:
                return UnreachableError(f"the cluster agent does not answer: {error}")
            return AdministrationError(_plain(error))
        if isinstance(error, CallRefused) and error.reason == "NotAnAdministrator" and self.directory is None:
            return AdministrationError(
                f"the cluster agent does not let {self.name} administer. Either name your own credentials "
                f"(--credentials), or allow it: kubectl -n {self.system} set env deployment/cluster-agent "
                f"{_SETTING}={self.name} (docs/roots.md, Who administers)"
            )
        return AdministrationError(_plain(error))

    def _root_unknown(self, error: CallUnanswered) -> AdministrationError | UnreachableError:
        """In TLS 1.3 a client learns only by the end of the connection that its certificate was refused."""
        assert self.identity is not None  # noqa: S101 - for mypy
        try:
            answer = self.anonymous.call("GET", "/v1/roots")
            known = Roots.from_json(answer["roots"]) if "roots" in answer else Roots(())
        except (CallError, BlessingsError):
            return UnreachableError(f"the cluster agent ended the connection: {error}")
        ours = fingerprint(public_key_of(self.identity[1].certificates[-1]))
        theirs = ", ".join(f"{one.pattern} {fingerprint(one.facts.public_key)}" for one in known)
        return AdministrationError(
            f"the server does not recognise your root: {self.name} is under the key {ours}, and this cluster "
            f"agent recognises {theirs or 'no identity root'} and the control plane's. Look at --credentials "
            "(vkube principal dump DIRECTORY), and whether this is the cluster that you mean (--context)"
        )


def _plain(error: CallError) -> str:
    """The cluster agent's own sentence, if it said one."""
    return f"{error.said} ({error.reason})" if error.said else str(error)


def _certificate_refused(error: BaseException) -> str | None:
    """Why we did not accept the server's certificate; None when that was not the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message)
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def administering(
    options: argparse.Namespace, directory: DirectoryPrincipal | None = None
) -> Iterator[ClusterAgent]:
    """The cluster agent, with credentials: those of `directory`, if it is open already. Raises VkubeError."""
    with _reached(options, directory or open_credentials(options), anonymous=False) as agent:
        yield agent


@contextmanager
def as_nobody(options: argparse.Namespace) -> Iterator[ClusterAgent]:
    """The cluster agent without credentials, for what anybody may ask, and for a claim. Raises VkubeError."""
    with _reached(options, None, anonymous=True) as agent:
        yield agent


def open_credentials(options: argparse.Namespace) -> DirectoryPrincipal | None:
    """The administrator's directory, of --credentials or $V23_CREDENTIALS. Raises CredentialsError."""
    directory = options.credentials or os.environ.get("V23_CREDENTIALS")
    if not directory:
        return None
    return credentials.open_directory(Path(directory), credentials.read_passphrase(options.passphrase_file))


@contextmanager
def _reached(
    options: argparse.Namespace, directory: DirectoryPrincipal | None, *, anonymous: bool
) -> Iterator[ClusterAgent]:
    with ExitStack() as stack:
        known: list[Cluster] = []

        def cluster() -> Cluster:
            # Only where it is needed: reading a kubeconfig takes longer than the call.
            if not known:
                known.append(stack.enter_context(Cluster.of(options)))
            return known[0]

        roots = _roots(options, cluster)
        identity: tuple[Principal, Blessing] | None = None
        if directory is not None:
            identity = credentials.client_certificate(directory, datetime.now(UTC))
        elif not anonymous:
            identity = _own_right(cluster())
        address, unix_socket = _way(options, cluster, stack)
        context = server_only_tls(roots) if identity is None else mutual_tls(*identity, roots)
        client = ClusterAgentClient(address, context, unix_socket=unix_socket)
        nobody = ClusterAgentClient(address, server_only_tls(roots), unix_socket=unix_socket)
        stack.callback(client.close)
        stack.callback(nobody.close)
        system = known[0].system if known else "vanadium-system"
        yield ClusterAgent(client, nobody, identity, directory, system)


def _way(
    options: argparse.Namespace, cluster: Any, stack: ExitStack
) -> tuple[ClusterAgentAddress, Path | None]:
    if options.cluster_agent:
        server_name = options.server_name or _server_name(options)
        try:
            return ClusterAgentAddress(options.cluster_agent, server_name), None
        except ValueError as error:
            raise UsageError(f"--cluster-agent {options.cluster_agent}: {error}") from error
    reached: Cluster = cluster()
    pod = running_pod(reached, "cluster-agent")
    path = stack.enter_context(forwarded(reached.api, reached.system, pod, PORT))
    name = options.server_name or CLUSTER_AGENT.dns_names(reached.system)[0]
    return ClusterAgentAddress(f"https://localhost:{PORT}", name), path


def running_pod(cluster: Cluster, name: str) -> str:
    """A running Pod of that part of the control plane, a ready one first. Raises NotFoundError."""
    found = []
    path = f"/api/v1/namespaces/{cluster.system}/pods"
    for pod in cluster.items(path, labelSelector=f"app.kubernetes.io/name={name}"):
        status = pod.get("status") or {}
        if status.get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            ready = any(
                one.get("type") == "Ready" and one.get("status") == "True"
                for one in status.get("conditions") or []
            )
            found.append((not ready, pod["metadata"]["name"]))
    if not found:
        raise NotFoundError(
            f"no Pod of {name} runs in the namespace {cluster.system} of context {cluster.context}. Is "
            "the product installed there? clusterAgent.namespace in vkube.cfg names another namespace"
        )
    return str(min(found)[1])


def _server_name(options: argparse.Namespace) -> str:
    from vkube.configuration import load

    return CLUSTER_AGENT.dns_names(load(options.config).cluster_agent.namespace)[0]


def _roots(options: argparse.Namespace, cluster: Any) -> Roots:
    if options.ca is not None:
        try:
            return Roots.from_pem(options.ca.read_bytes())
        except (OSError, BlessingsError) as error:
            raise CredentialsError(f"--ca {options.ca}: {error}") from error
    files = secret_files(cluster(), CLUSTER_AGENT.secret, "to verify the cluster agent; or name --ca")
    try:
        return Roots.from_pem(files[ROOTS])
    except (KeyError, BlessingsError) as error:
        raise CredentialsError(f"Secret {CLUSTER_AGENT.secret} has no usable {ROOTS}: {error}") from error


def _own_right(cluster: Cluster) -> tuple[Principal, Blessing]:
    """A certificate of the control plane's own administrator, for this one command."""
    why = "to administer without --credentials"
    try:
        roots = ControlPlaneRoots.from_files(secret_files(cluster, ROOT_SECRET, why))
        principal = Principal.create()
        blessing = roots.signing.bless(
            principal.public_key, credentials.ADMINISTRATOR, now=datetime.now(UTC), lifetime=_ONE_COMMAND
        )
    except (KeyError, BlessingsError) as error:
        raise CredentialsError(f"Secret {ROOT_SECRET} cannot be used: {error}") from error
    return principal, blessing
