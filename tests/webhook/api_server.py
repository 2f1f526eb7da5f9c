"""As much of an API server as the webhook's background tasks use, in memory: what no real one would answer,
and Secrets as hostile as a tenant can make them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from certs.api_server import Access, BoundedApiClient
from tests.web_servers import answering

CONFIGURATION = "vanadium-webhook"


class ApiServer:
    """Namespaces with one service account each, Secrets, and one webhook configuration."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.broken_lists = 0
        """So many lists are answered with something that is none."""
        self.ca_bundle: str | None = None
        self.has_configuration = True
        self._namespaces: list[str] = []
        self._changed = asyncio.Condition()
        self._version = 1
        self._ended = False

    async def add_namespace(self, name: str) -> None:
        async with self._changed:
            self._namespaces.append(name)
            self._changed.notify_all()

    def put_secret(self, namespace: str, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self._version += 1
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(self._version)}
        self.secrets[namespace, name] = {"metadata": metadata, "data": encoded}

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[BoundedApiClient]:
        async with answering(self._answer) as url:
            api = BoundedApiClient(Access(url))
            yield api
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/").split("/")
        if path[-1] in ("namespaces", "serviceaccounts"):
            return await self._list(request, path[-1])
        if "events" in path:
            return await self._event(request, path)
        if "secrets" in path:
            return await self._secret(request, path[3], path[5] if len(path) > 5 else None)
        if not self.has_configuration:
            return web.json_response({"code": 404}, status=404)
        if request.method == "PATCH":
            self.ca_bundle = (await request.json())[-1]["value"]
        entry = {
            "name": "pods.vanadium.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"caBundle": self.ca_bundle},
        }
        return web.json_response({"metadata": {"resourceVersion": "1"}, "webhooks": [entry]})

    async def _list(self, request: web.Request, kind: str) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request, kind)
        if self.broken_lists:
            self.broken_lists -= 1
            return web.Response(text="{" * 100, content_type="application/json")
        items = [_item(kind, name) for name in self._namespaces]
        return web.json_response({"metadata": {"resourceVersion": str(len(items))}, "items": items})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        while not self._ended:
            async with self._changed:
                while len(self._namespaces) <= seen and not self._ended:
                    await self._changed.wait()
            for name in self._namespaces[seen:]:
                seen += 1
                event = {"type": "ADDED", "object": _item(kind, name, str(seen))}
                await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def _event(self, request: web.Request, path: list[str]) -> web.Response:
        body = await request.json()
        name = (path[3], body["metadata"]["name"])
        if request.method == "POST" and name in self.events:
            return web.json_response({"code": 409}, status=409)
        self.events[name] = body
        return web.json_response(body)

    async def _secret(self, request: web.Request, namespace: str, name: str | None) -> web.Response:
        if request.method in ("POST", "PUT"):
            body = await request.json()
            name = body["metadata"]["name"]
            data = {key: value.encode() for key, value in body["stringData"].items()}
            self.put_secret(namespace, name, data)
        found = self.secrets.get((namespace, str(name)))
        if found is None:
            return web.json_response({"code": 404}, status=404)
        return web.json_response(found)


def _item(kind: str, namespace: str, version: str = "1") -> dict[str, Any]:
    name = namespace if kind == "namespaces" else "default"
    metadata = {"name": name, "resourceVersion": version}
    if kind == "serviceaccounts":
        metadata["namespace"] = namespace
    return {"metadata": metadata}
