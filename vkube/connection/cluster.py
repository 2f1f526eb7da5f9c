"""The API server, by plain paths and JSON: unknown fields survive, and no class of the client is needed.

with Cluster.of(options) as cluster:
    cluster.get("/api/v1/namespaces/shop/pods/web-1")
    cluster.items("/api/v1/pods", labelSelector="app=web")
"""

from __future__ import annotations

import argparse
import codecs
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from vkube.connection.kubeconfig import connected
from vkube.errors import (
    BusyError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnreachableError,
    cause,
)
from vkube.output.lines import note
from vkube.output.table import visible

if TYPE_CHECKING:
    from kubernetes import client

    from vkube.configuration import Configuration

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 60
_CHANCE = random.SystemRandom().random
_PAGE = 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409
# A ServerTimeout has the status 500. An eviction that a PodDisruptionBudget refuses has 429, too, but is not
# among the calls that are repeated.
_BUSY, _BUSY_STATUSES = frozenset({"ServerTimeout", "Timeout"}), frozenset({429, 504})
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
SERVER_SIDE_APPLY = "application/apply-patch+yaml"

Object = dict[str, Any]


class Cluster:
    """One cluster. Not for use by several threads at once.

    Attributes:
        configuration: vkube.cfg.
        namespace: the one that the user means: that of -n, else the context's.
        context: the context's name, for messages.
        pauses: the seconds before each repetition of a call for which the API server had no time, where it
            asks for no longer ones.
    """

    pauses: Sequence[float] = (1, 2, 4, 8)

    def __init__(
        self, api: client.ApiClient, configuration: Configuration, *, namespace: str, context: str
    ) -> None:
        self.api = api
        self.configuration = configuration
        self.namespace = namespace
        self.context = context

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """The cluster that --context, --kubeconfig and vkube.cfg name. Raises VkubeError."""
        from vkube.configuration import load

        configuration = load(options.config)
        context = options.context or configuration.kubeconfig_context
        api, name, namespace = connected(options.kubeconfig, context)
        return cls(
            api, configuration, namespace=getattr(options, "namespace", None) or namespace, context=name
        )

    @property
    def system(self) -> str:
        """The namespace of the control plane."""
        return self.configuration.cluster_agent.namespace

    def get(self, path: str, **query: object) -> Object:
        """One object, or one page of a list. Raises ClusterError, UnreachableError."""
        return self.call("GET", path, query=query)

    def find(self, path: str) -> Object | None:
        """One object; None when there is none. Raises ClusterError, UnreachableError."""
        try:
            return self.get(path)
        except NotFoundError:
            return None

    def items(self, path: str, **query: object) -> Iterator[Object]:
        """Every object of a list, page by page. Raises ClusterError, UnreachableError."""
        after = ""
        while True:
            page = self.get(path, **{"limit": _PAGE, **query, **({"continue": after} if after else {})})
            yield from page.get("items") or []
            after = (page.get("metadata") or {}).get("continue") or ""
            if not after:
                return

    def create(self, path: str, body: Object, **query: object) -> Object:
        """Creates an object in the collection `path`. Raises ClusterError, UnreachableError."""
        return self.call("POST", path, query=query, body=body)

    def patch(self, path: str, body: object, *, kind: str = MERGE_PATCH, **query: object) -> Object:
        """Patches one object; `kind` is the patch's media type. Raises ClusterError, UnreachableError."""
        return self.call("PATCH", path, query=query, body=body, media_type=kind)

    def delete(self, path: str, body: Object | None = None, **query: object) -> Object:
        """Deletes one object. Raises ClusterError, UnreachableError."""
        return self.call("DELETE", path, query=query, body=body)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        media_type: str = JSON,
    ) -> Object:
        """The answer to one call. Raises ClusterError, UnreachableError."""
        text = self.text(method, path, query=query, body=body, media_type=media_type)
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise ClusterError(f"{method} {path}: the API server's answer is not JSON") from error
        if not isinstance(answer, dict):
            raise ClusterError(f"{method} {path}: the API server's answer is no object")
        return answer

    def text(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        media_type: str = JSON,
    ) -> str:
        """As `call`, for answers that are no JSON: logs. Raises ClusterError, UnreachableError."""

        deadline = time.monotonic() + _ANSWER_SECONDS

        def once() -> str:
            with self._failing():
                left = max(deadline - time.monotonic(), 0.1)
                answer = self._answer(method, path, query, body, media_type, left)
                return bytes(answer.read()).decode(errors="replace")

        # These two mean the same when they were done already.
        for seconds in self.pauses if method == "GET" or media_type == SERVER_SIDE_APPLY else ():
            try:
                return once()
            except BusyError as error:
                # A fifth by chance: those that were refused together do not come again together.
                pause = max(seconds, error.after) * (1 + _CHANCE() / 5)
                if time.monotonic() + pause >= deadline:
                    raise
                note(visible(f"{method} {path}: {error}; again in {pause:.1f} s"))
                time.sleep(pause)
        return once()

    def stream(self, path: str, *, query: Mapping[str, object] | None = None) -> Iterator[str]:
        """The parts of an answer that has no end, as they come. Raises ClusterError, UnreachableError."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._failing():
            answer = self._answer("GET", path, query, None, JSON, None)
            for part in answer.response.stream():
                yield decoder.decode(part)

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: object,
        media_type: str,
        seconds: float | None,
    ) -> Any:
        """The answer, when it is a good one, before its body is read."""
        request = self.api.param_serialize(
            method,
            quote(path, safe="/:"),  # a name in it may be what the user typed
            query_params=[(name, _spelled(value)) for name, value in (query or {}).items()],
            header_params={"Accept": JSON, "Content-Type": media_type},
            # The client writes JSON itself; JSON is YAML too.
            body=json.dumps(body) if media_type == SERVER_SIDE_APPLY else body,
            auth_settings=["BearerToken"],
        )
        answer: Any = self.api.call_api(*request, _request_timeout=(_CONNECT_SECONDS, seconds))
        if not 200 <= answer.status < 300:
            error = _refused(answer.status, bytes(answer.read()), f"{method} {path}")
            asked = answer.headers.get("Retry-After", "")
            if isinstance(error, BusyError) and asked.isascii() and asked.isdigit():
                error.after = float(asked)
            raise error
        return answer

    @contextmanager
    def _failing(self) -> Iterator[None]:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        try:
            yield
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(
                f"the API server of context {self.context} does not answer: {cause(error)}. "
                "Look at --context and --kubeconfig (kubectl config get-contexts)"
            ) from error

    def close(self) -> None:
        self.api.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refused(status: int, content: bytes, call: str) -> ClusterError:
    reason = None
    try:
        answer = json.loads(content)
        message, reason = str(answer["message"]), answer.get("reason")
    except (ValueError, KeyError, TypeError):
        message = f"{call}: {status} {content[:200].decode(errors='replace')}"
    if status == _UNAUTHORIZED:
        message = f"the API server does not accept your credentials ({message}): log in again, or choose "
        return ClusterError(message + "another --context")
    if status == _FORBIDDEN:
        return ForbiddenError(message)
    if reason in _BUSY or status in _BUSY_STATUSES:
        return BusyError(message)
    kind = {_NOT_FOUND: NotFoundError, _CONFLICT: ConflictError}.get(status, ClusterError)
    return kind(message)
