"""Services in local mode: how Pods find them, and where a connection goes."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vkube.local.service_addresses import ServiceAddresses
from vkube.runner import RunningPod

# Of this process alone: others may run these tests at the same time.
ADDRESS = str(IPv4Address("127.32.0.0") + os.getpid() % (1 << 20))
WEB = {
    "metadata": {"name": "web-ui", "namespace": "shop"},
    "spec": {
        "selector": {"app": "web"},
        "ports": [{"name": "https", "port": 8443, "targetPort": "tls"}, {"port": 53, "protocol": "UDP"}],
    },
}
POD = {"metadata": {"namespace": "shop"}, "spec": {}}


def pod(name: str, *, ready: bool = True, port: int = 1, app: str = "web") -> RunningPod:
    spec = {"containers": [{"ports": [{"name": "tls", "containerPort": port}]}]}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    labels = {"app": app, "other": "label"}
    found = SimpleNamespace(
        name=name, namespace="shop", ip="127.0.0.1", pod={"metadata": {"labels": labels}, "spec": spec},
        status={"conditions": conditions},
    )  # fmt: skip
    return cast(RunningPod, found)


async def services(*pods: RunningPod, notes: list[str] | None = None) -> ServiceAddresses:
    made = ServiceAddresses(lambda: pods, lambda: ADDRESS, (notes if notes is not None else []).append)
    await made.add(WEB)
    return made


async def test_pods_have_the_variables_of_kubernetes() -> None:
    made = await services()
    assert made.variables(POD) == {
        "WEB_UI_SERVICE_HOST": ADDRESS,
        "WEB_UI_SERVICE_PORT": "8443",
        "WEB_UI_SERVICE_PORT_HTTPS": "8443",
    }
    assert made.variables({"metadata": {"namespace": "other"}, "spec": {}}) == {}
    assert made.variables({**POD, "spec": {"enableServiceLinks": False}}) == {}
    made.close()


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("https://web-ui.shop.svc:8443/x", "https://ADDRESS:8443/x"),
        ("web-ui.shop.svc.cluster.local", "ADDRESS"),
        ("http://web-ui:8443", "http://ADDRESS:8443"),
        ("--peer=web-ui:8443,web-ui:8443", "--peer=ADDRESS:8443,ADDRESS:8443"),
        ("my-web-ui.shop.svc web-ui.shop.svc.example web-ui:84430 web-ui:80 web-ui xweb-ui:8443", None),
        ("acme:prod:shop:web-ui", None),
    ],
)
async def test_names_in_texts_are_replaced_where_they_mean_the_service(text: str, local: str | None) -> None:
    made = await services()
    assert made.addressed(text, "shop") == (local or text).replace("ADDRESS", ADDRESS)
    assert made.addressed("web-ui:8443", "other") == "web-ui:8443"
    made.close()


async def test_connections_go_to_the_ready_pods_in_turn_and_end_without_one() -> None:
    async def name_of_port(reader: Any, writer: Any) -> None:
        writer.write(await reader.read(3) + str(writer.get_extra_info("sockname")[1]).encode())
        writer.close()

    servers = [await asyncio.start_server(name_of_port, "127.0.0.1", 0) for _ in range(3)]
    ports = [one.sockets[0].getsockname()[1] for one in servers]
    pods = [pod("a", port=ports[0]), pod("b", port=ports[1]), pod("c", port=ports[2], ready=False)]
    made = await services(*pods, pod("d", app="other", port=ports[2]))

    async def asked() -> str:
        reader, writer = await asyncio.open_connection(ADDRESS, 8443)
        writer.write(b"at ")
        try:
            return (await reader.read()).decode()
        except ConnectionError:
            return ""
        finally:
            writer.close()

    assert {await asked() for _ in range(4)} == {f"at {ports[0]}", f"at {ports[1]}"}
    made.close()
    none = await services(pod("c", ready=False))
    assert await asked() == ""
    none.close()
    for one in servers:
        one.close()


async def test_a_port_that_cannot_be_had_is_told() -> None:
    notes: list[str] = []
    first = await services(notes=notes)
    second = await services(notes=notes)
    assert notes == [
        f"Service shop/web-ui at {ADDRESS}:8443",
        "Service shop/web-ui does not listen at its port 8443: Address already in use",
    ]
    first.close()
    second.close()
